# One function for each mote.mode.

demo() {
  check_disk
  bring_up_net
  check_fetch
  serve_until_stopped
}

# As demo, without the host having to drive it: the whole guest side of one boot check.
check() {
  check_disk
  bring_up_net
  check_fetch
  say "interrupts: $(grep -c virtio /proc/interrupts) virtio lines, $(nproc) vCPU online"
}

# Shows that it runs until somebody ends it.
tick() {
  ticks=0
  while [ $ticks -lt 1200 ]; do
    say "tick $ticks"
    ticks=$((ticks + 1))
    usleep 100000
  done
  failed "nobody ended me"
}

# Runs each fio job file of /etc/fio on the second disk; the host reads the terse lines.
fio_runs() {
  for job in /etc/fio/*.fio; do
    # FIELDS of terse format 3: read bandwidth KiB/s 7, IOPS 8; write 48 and 49.
    fio --minimal "$job" >/run/fio.out 2>/run/fio.err || failed "fio: $(head -1 /run/fio.err)"
    say "fio $(basename "$job" .fio) $(awk -F ';' '{ r += $7; ri += $8; w += $48; wi += $49 }
      END { print r + w, ri + wi }' /run/fio.out)"
  done
}

# A plain TCP copy each way; the host counts and times the bytes it sends and takes.
copy() {
  bring_up_net
  size_mib=$(argument mib)
  say "copy: up"
  nc "$host" 5001 >/dev/null && say "copy: received"
  dd if=/dev/zero bs=64k count=$((size_mib * 16)) 2>/dev/null | nc "$host" 5002 && say "copy: sent"
}
