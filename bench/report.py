#!/usr/bin/env python3
"""Draws the report from what the measuring programs wrote.

report.py FOLDER: reads FOLDER/figures.jsonl (one series a line: subject, metric, unit, values),
FOLDER/micro-*.json (Google Benchmark) and FOLDER/host.json; writes FOLDER/report.html, which needs
nothing else, and FOLDER/report.json. Only Python's own library is used.
"""

import glob
import html
import json
import os
import sys

COLORS = ["#0f62fe", "#da1e28", "#198038", "#8a3ffc", "#b28600", "#007d79"]


class Figures:
    """All series of a run, by (metric, subject). Series of the same name are joined."""

    def __init__(self, path):
        self.series = {}
        self.units = {}
        with open(path, encoding="utf-8") as file:
            for line in file:
                one = json.loads(line)
                self.series.setdefault((one["metric"], one["subject"]), []).extend(one["values"])
                self.units[one["metric"]] = one["unit"]

    def values(self, metric, subject):
        return sorted(self.series.get((metric, subject), []))

    def median(self, metric, subject):
        return quantile(self.values(metric, subject), 0.5)

    def subjects(self, metric):
        return [s for (m, s) in self.series if m == metric]

    def metrics(self, prefix):
        return sorted({m for (m, _) in self.series if m.startswith(prefix)})


def quantile(values, part):
    if not values:
        return None
    at = part * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (at - low)


def show(value):
    if value is None:
        return "–"
    if value >= 10000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def table(head, rows):
    cells = "".join(f"<th>{html.escape(h)}</th>" for h in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table>"


def svg(width, height, parts, label):
    return (f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
            f'aria-label="{html.escape(label)}">{"".join(parts)}</svg>')


def text(x, y, words, anchor="start", css=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{css}">{html.escape(words)}</text>'


def legend(subjects, x, y):
    parts = []
    for i, subject in enumerate(subjects):
        parts.append(f'<rect x="{x}" y="{y + 18 * i - 9}" width="10" height="10" fill="{COLORS[i % 6]}"/>')
        parts.append(text(x + 16, y + 18 * i, subject))
    return parts


def bars(groups, subjects, value_of, unit, label):
    """Horizontal bars: one block a group, one bar a subject, each with its number."""
    present = [(g, [s for s in subjects if value_of(g, s) is not None]) for g in groups]
    present = [(g, s) for g, s in present if s]
    if not present:
        return ""
    top = max(value_of(g, s) for g, ss in present for s in ss)
    left, width, y, parts = 190, 760, 14 + 18 * len(subjects), []
    parts += legend(subjects, left, 14)
    for group, its in present:
        parts.append(text(left - 8, y + 8 + 8 * len(its), group, "end"))
        for subject in its:
            value = value_of(group, subject)
            length = max(1, (width - left - 130) * value / top)
            color = COLORS[subjects.index(subject) % 6]
            parts.append(f'<rect x="{left}" y="{y + 2}" width="{length:.1f}" height="13" fill="{color}"/>')
            parts.append(text(left + length + 6, y + 13, f"{show(value)} {unit}", css="small"))
            y += 17
        y += 9
    return svg(width, y + 4, parts, label)


def cdf(series, unit, label):
    """Share of runs (vertical) that took at most so long (horizontal, logarithmic)."""
    import math
    series = [(name, values) for name, values in series if values]
    if not series:
        return ""
    low = math.log10(min(v[0] for _, v in series) * 0.9)
    high = math.log10(max(v[-1] for _, v in series) * 1.1)
    top = 8 + 18 * len(series)
    width, height, left, bottom = 760, 290 + top, 50, 40
    plot_x = lambda v: left + (width - left - 20) * (math.log10(v) - low) / (high - low)
    plot_y = lambda p: height - bottom - (height - bottom - 15 - top) * p
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line x1="{left}" x2="{width - 20}" y1="{plot_y(share):.1f}" y2="{plot_y(share):.1f}" class="grid"/>')
        parts.append(text(left - 6, plot_y(share) + 4, f"{share:.0%}", "end", "small"))
    for exponent in range(math.floor(low), math.ceil(high) + 1):
        for digit in (1, 2, 5):
            value = digit * 10.0 ** exponent
            if low <= math.log10(value) <= high:
                parts.append(f'<line x1="{plot_x(value):.1f}" x2="{plot_x(value):.1f}" y1="{15 + top}" y2="{height - bottom}" class="grid"/>')
                parts.append(text(plot_x(value), height - bottom + 16, f"{value:g}", "middle", "small"))
    parts.append(text((left + width) / 2, height - 6, unit, "middle", "small"))
    for i, (name, values) in enumerate(series):
        points = [f"{plot_x(v):.1f},{plot_y((k + 1) / len(values)):.1f}" for k, v in enumerate(values)]
        parts.append(f'<polyline points="{" ".join(points)}" fill="none" stroke="{COLORS[i % 6]}" stroke-width="2"/>')
    parts += legend([name for name, _ in series], left, 14)
    return svg(width, height, parts, label)


def waterfall(figures, job):
    """One line a kernel: the phases of a cold start one after another, medians."""
    phases = [("process start → API ready", "exec_to_api"),
              ("InstanceStart → vCPU runs", "start_to_vcpu"),
              ("vCPU runs → guest's init", None)]
    subjects = [s for s in figures.subjects(job + ".start_to_init")]
    if not subjects:
        return ""
    rows = []
    for subject in subjects:
        api = figures.median(job + ".exec_to_api", subject) or 0
        built = figures.median(job + ".start_to_vcpu", subject) or 0
        init = figures.median(job + ".start_to_init", subject)
        rows.append((subject, [api, built, max(0, init - built)]))
    top = max(sum(steps) for _, steps in rows)
    left, width, y, parts = 120, 760, 14 + 18 * len(phases), []
    parts += legend([name for name, _ in phases], left, 14)
    for subject, steps in rows:
        parts.append(text(left - 8, y + 15, subject, "end"))
        x = float(left)
        for i, step in enumerate(steps):
            length = (width - left - 90) * step / top
            parts.append(f'<rect x="{x:.1f}" y="{y + 2}" width="{max(length, 0.5):.1f}" height="18" fill="{COLORS[i]}"/>')
            if length > 48:
                parts.append(text(x + length / 2, y + 15, show(step), "middle", "onbar"))
            x += length
        parts.append(text(x + 6, y + 15, f"{show(sum(steps))} ms", css="small"))
        y += 30
    return svg(width, y + 4, parts, "Boot phases")


def density(figures):
    points = []
    for metric in figures.metrics("idle.pss."):
        count = int(metric.rsplit(".", 1)[1])
        for subject in figures.subjects(metric):
            points.append((subject, count, figures.median(metric, subject),
                           figures.median(f"idle.host_memory.{count}", subject),
                           figures.median(f"idle.start_all.{count}", subject)))
    points.sort()
    rows = [[html.escape(s), str(c), show(p), show(h if h and h > 0 else None), show(t / 1000 if t else None)] for s, c, p, h, t in points]
    return points, table(["monitor", "idle VMs at once", "PSS each (KiB)",
                          "host memory each, guest's pages included (KiB)", "all started in (s)"], rows)


def density_curve(points):
    """Host memory for all VMs together against their number."""
    curves = {}
    for subject, count, _, host, _ in points:
        if host and host > 0:
            curves.setdefault(subject, []).append((count, host * count / 1024))
    curves = {s: sorted(c) for s, c in curves.items()}
    if not curves:
        return ""
    most = max(c for curve in curves.values() for c, _ in curve)
    high = max(m for curve in curves.values() for _, m in curve) * 1.1
    width, height, left, bottom = 760, 280, 70, 40
    plot_x = lambda c: left + (width - left - 30) * c / most
    plot_y = lambda m: height - bottom - (height - bottom - 15) * m / high
    parts = []
    for part in (0, 0.25, 0.5, 0.75, 1):
        parts.append(f'<line x1="{left}" x2="{width - 30}" y1="{plot_y(high * part):.1f}" y2="{plot_y(high * part):.1f}" class="grid"/>')
        parts.append(text(left - 6, plot_y(high * part) + 4, f"{high * part:,.0f}", "end", "small"))
        parts.append(text(plot_x(most * part), height - bottom + 16, f"{most * part:,.0f}", "middle", "small"))
    parts.append(text((left + width) / 2, height - 6, "idle VMs at once", "middle", "small"))
    parts.append(text(left - 60, 10, "MiB", css="small"))
    for i, (subject, curve) in enumerate(curves.items()):
        path = " ".join(f"{plot_x(c):.1f},{plot_y(m):.1f}" for c, m in [(0, 0)] + curve)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{COLORS[i % 6]}" stroke-width="2"/>')
        for c, m in curve:
            parts.append(f'<circle cx="{plot_x(c):.1f}" cy="{plot_y(m):.1f}" r="3.5" fill="{COLORS[i % 6]}"/>')
    parts += legend(list(curves), left + 20, 24)
    return svg(width, height, parts, "Host memory by number of VMs")


def judge(promise, figures):
    """(measured, text, kept?) of one promise; kept is None when it was not measured."""
    value = figures.median(promise["metric"], promise["subject"])
    if "peer" in promise:
        other = figures.median(promise.get("against", promise["metric"]), promise["peer"])
        value = value / other if value is not None and other else None
    if value is None:
        return None, None
    return value, value <= promise["limit"] if "limit" in promise else value >= promise["least"]


def promises_table(promises, figures):
    rows = []
    for promise in promises:
        value, kept = judge(promise, figures)
        bound = (f"at most {promise['limit']}" if "limit" in promise else f"at least {promise['least']}")
        verdict = {True: '<span class="yes">kept</span>', False: '<span class="no">missed</span>',
                   None: "not measured here"}[kept]
        unit = promise.get("unit", "")
        rows.append([html.escape(promise["promise"]), f"{bound} {unit}", f"{show(value)} {unit}", verdict])
    return table(["promise", "limit", "measured (median)", ""], rows)


def all_figures_table(figures):
    rows = []
    for (metric, subject) in sorted(figures.series):
        values = figures.values(metric, subject)
        rows.append([metric, html.escape(subject), figures.units[metric], str(len(values))] +
                    [show(quantile(values, p)) for p in (0, 0.1, 0.5, 0.9, 0.99, 1)])
    return table(["metric", "subject", "unit", "n", "min", "p10", "median", "p90", "p99", "max"], rows)


def micro_table(folder):
    rows = []
    for path in sorted(glob.glob(os.path.join(folder, "micro-*.json"))):
        with open(path, encoding="utf-8") as file:
            runs = [r for r in json.load(file)["benchmarks"] if not r.get("error_occurred")]
        rows += [[html.escape(r["name"]), f'{r["real_time"]:.1f} {r["time_unit"]}',
                  f'{r["cpu_time"]:.1f} {r["time_unit"]}', f'{r["iterations"]:,}',
                  ", ".join(f"{k} {v:,.1f}" for k, v in r.items()
                            if isinstance(v, float) and k not in ("cpu_time", "real_time"))] for r in runs]
    return table(["step", "time", "CPU time", "iterations", "counters"], rows) if rows else ""


STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:1000px;margin:2em auto;padding:0 1em;color:#161616}
h1{font-size:1.6em}h2{margin-top:2em;font-size:1.2em;border-bottom:1px solid #ddd}
table{border-collapse:collapse;margin:.6em 0;font-size:13px}td,th{padding:.25em .7em;border-bottom:1px solid #e4e4e4;text-align:left;vertical-align:top}
td:nth-child(n+3){font-variant-numeric:tabular-nums}.note{color:#525252;font-size:13px}
svg{max-width:100%;height:auto;display:block;margin:.6em 0}svg text{font:13px system-ui,sans-serif;fill:#161616}svg text.small{font-size:11.5px;fill:#525252}svg text.onbar{fill:#fff}
.grid{stroke:#e8e8e8}.yes{color:#198038;font-weight:600}.no{color:#da1e28;font-weight:600}
"""


def page(figures, host, promises, folder):
    launch_subjects = figures.subjects("launch.first_byte")
    io_value = lambda prefix: (lambda g, s: figures.median(prefix + g, s))
    points, density_table = density(figures)
    parallel = [m.split(".")[1] for m in figures.metrics("parallel.")]
    parallel.sort(key=int)
    sections = [
        ("Promises", promises_table(promises, figures)),
        ("Launch: process start to the guest's first byte",
         cdf([(s, figures.values("launch.first_byte", s)) for s in launch_subjects], "milliseconds (logarithmic)",
             "Launch latency")),
        ("Launches a second, by launchers at work at once",
         bars(parallel, launch_subjects, io_value("parallel."), "/s", "Parallel launches")),
        ("Density", density_curve(points) + density_table),
        ("Restore of a snapshot: load and resume to the guest's output",
         cdf([(m, figures.values(m, "mote")) for m in figures.metrics("restore.load_and") + figures.metrics("restore.resume.")],
             "milliseconds (logarithmic)", "Restore latency")),
        ("Clones of one snapshot, held at once and then resumed one by one",
         table(["clones", "PSS each (KiB)", "host memory each (KiB)", "all loaded in (s)"],
               [[m.split(".")[2], show(figures.median(m, "mote")),
                 show(figures.median(m.replace("pss", "host_memory"), "mote")),
                 show((figures.median(m.replace("pss", "load_all"), "mote") or 0) / 1000)]
                for m in figures.metrics("clones.pss.")]) if figures.metrics("clones.pss.") else ""),
        ("Disk: a polling guest through virtio-blk, beside fio on the same file",
         bars([m[4:] for m in figures.metrics("blk.")], ["mote", "host"], io_value("blk."), "IOPS", "Disk")),
        ("Network: a polling guest through virtio-net, beside plain reads and writes on the TAP",
         bars([m[4:] for m in figures.metrics("net.")], ["mote", "host"], io_value("net."), "packets/s", "Network")),
        ("Linux cold start in the emulated host, by phase (milliseconds of emulated time)",
         waterfall(figures, "kernels") or waterfall(figures, "boot")),
        ("Linux cold start in the emulated host, monitors",
         bars(["boot.exec_to_init", "http.first_byte"], sorted(set(figures.subjects("boot.exec_to_init"))),
              lambda g, s: figures.median(g, s), "ms", "Cold start")),
        ("The same in executed instructions (millions; exact, whatever else the machine does)",
         bars(["instructions.exec_to_init"], sorted(set(figures.subjects("instructions.exec_to_init"))),
              lambda g, s: figures.median(g, s), "million", "Instructions")),
        ("fio in a Linux guest in the emulated host",
         bars([m[4:] for m in figures.metrics("fio.")], ["mote:6.1", "qemu:6.1"], io_value("fio."), "IOPS", "fio")),
        ("TCP in a Linux guest in the emulated host",
         bars([m[4:] for m in figures.metrics("tcp.")], ["mote:6.1", "qemu:6.1"], io_value("tcp."), "Mbit/s", "TCP")),
        ("Steps: hot paths, KVM set-up, network (Google Benchmark)", micro_table(folder)),
        ("Every figure", all_figures_table(figures)),
    ]
    facts = "<br>".join(f"{html.escape(k)}: {html.escape(str(v))}" for k, v in host.items())
    body = "".join(f"<h2>{html.escape(title)}</h2>{content}" for title, content in sections if content)
    return (f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Mote: measured</title>'
            f"<style>{STYLE}</style><h1>Mote: measured</h1><p class='note'>{facts}</p>"
            "<p class='note'>Native figures come from a guest of a few instructions: they compare monitors on "
            "this host, not guests. Figures of the emulated host say which monitor is quicker, not how quick "
            f"either is on hardware. Compare only within this one report.</p>{body}</html>")


def main():
    folder = sys.argv[1]
    here = os.path.dirname(os.path.abspath(__file__))
    figures = Figures(os.path.join(folder, "figures.jsonl"))
    with open(os.path.join(folder, "host.json"), encoding="utf-8") as file:
        host = json.load(file)
    with open(os.path.join(here, "promises.json"), encoding="utf-8") as file:
        promises = json.load(file)
    with open(os.path.join(folder, "report.html"), "w", encoding="utf-8") as file:
        file.write(page(figures, host, promises, folder))
    summary = [{"metric": m, "subject": s, "unit": figures.units[m], "n": len(v),
                **{name: quantile(sorted(v), p) for name, p in
                   (("min", 0), ("p10", .1), ("median", .5), ("p90", .9), ("p99", .99), ("max", 1))}}
               for (m, s), v in sorted(figures.series.items())]
    judged = [{**p, **dict(zip(("measured", "kept"), judge(p, figures)))} for p in promises]
    with open(os.path.join(folder, "report.json"), "w", encoding="utf-8") as file:
        json.dump({"host": host, "promises": judged, "figures": summary}, file, indent=1)
    for promise in judged:
        state = {True: "kept  ", False: "MISSED", None: "  -   "}[promise["kept"]]
        bound = f"<= {promise['limit']}" if "limit" in promise else f">= {promise['least']}"
        print(f"{state} {promise['promise']}: {show(promise['measured'])} {promise.get('unit', '')} ({bound})")


if __name__ == "__main__":
    main()
