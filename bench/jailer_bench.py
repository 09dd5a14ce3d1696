#!/usr/bin/env python3
"""Times whole jailer runs: CPU and wall from the jailer's start to the end of an empty program in its
jail, with few and with many mounts on the host, alone and ten at a time.

usage: jailer_bench.py JAILER PROGRAM [--runs N] [--json FILE]
Needs root. Takes a mount namespace of its own, so the host sees none of the mounts."""

import argparse
import ctypes
import json
import os
import shutil
import statistics
import tempfile
import time

MOUNTS = (0, 500)
PARALLEL = (1, 10)
CLONE_NEWNS = 0x20000
MS_REC_PRIVATE = 0x4000 | 0x40000
libc = ctypes.CDLL(None, use_errno=True)


def check(outcome, what):
    if outcome != 0:
        raise OSError(ctypes.get_errno(), what)


def mount(source, target, kind, flags=0):
    check(libc.mount(source.encode(), target.encode(), kind.encode(), flags, None), "mount " + target)


def start(jailer, program, base, name):
    words = [jailer, "--id", name, "--exec-file", program, "--uid", "65534", "--gid", "65534",
             "--chroot-base-dir", base]
    return os.posix_spawn(jailer, words, {})


def one_round(jailer, program, base, count, number):
    """Runs `count` jailers at once; CPU milliseconds of each, and wall of the round."""
    begin = time.monotonic()
    children = [start(jailer, program, base, f"vm{number}-{i}") for i in range(count)]
    cpu = []
    for _ in children:
        _, status, usage = os.wait4(-1, 0)
        if status != 0:
            raise SystemExit("a jailer failed")
        cpu.append((usage.ru_utime + usage.ru_stime) * 1000)
    return cpu, (time.monotonic() - begin) * 1000 / count


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("jailer")
    arguments.add_argument("program")
    arguments.add_argument("--runs", type=int, default=100)
    arguments.add_argument("--json")
    given = arguments.parse_args()

    check(libc.unshare(CLONE_NEWNS), "unshare")
    mount("none", "/", "", MS_REC_PRIVATE)
    work = tempfile.mkdtemp(prefix="mote-jailer-")
    mount("none", work, "tmpfs")
    base = os.path.join(work, "jails")
    os.mkdir(base, 0o755)
    medians = {}
    figures = []
    made = 0
    for mounts in MOUNTS:
        while made < mounts:
            point = os.path.join(work, f"mount{made}")
            os.mkdir(point)
            mount("none", point, "tmpfs")
            made += 1
        for count in PARALLEL:
            cpu, wall = [], []
            for number in range(max(1, given.runs // count)):
                round_cpu, round_wall = one_round(given.jailer, given.program, base, count, number)
                cpu += round_cpu
                wall.append(round_wall)
                shutil.rmtree(base)
                os.mkdir(base, 0o755)
            metric = f"jailer.{mounts}_mounts_{count}_at_once"
            medians[mounts, count] = statistics.median(cpu)
            print(f"{mounts:4} more mounts, {count:2} at once: CPU {statistics.median(cpu):.2f} ms each "
                  f"(p99 {sorted(cpu)[int(len(cpu) * 0.99) - 1]:.2f}), wall {statistics.median(wall):.2f} ms each")
            figures.append({"subject": "mote", "metric": metric + ".cpu", "unit": "ms", "values": cpu})
            figures.append({"subject": "mote", "metric": metric + ".wall", "unit": "ms", "values": wall})
    ratio = medians[MOUNTS[-1], PARALLEL[-1]] / medians[0, 1]
    print(f"CPU with {MOUNTS[-1]} mounts, {PARALLEL[-1]} at once, to the empty case: {ratio:.2f}")
    if given.json:
        with open(given.json, "a", encoding="utf-8") as file:
            for figure in figures:
                file.write(json.dumps(figure) + "\n")
    libc.umount2(work.encode(), 2)
    os.rmdir(work)


if __name__ == "__main__":
    main()
