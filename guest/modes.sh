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

# Runs each fio job file of /etc/fio on the second disk: "guest: fio NAME KIB_PER_S IOPS".
fio_runs() {
  for job in /etc/fio/*.fio; do
    # Terse format 3: fields 7 and 8 are bandwidth (KiB/s) and IOPS of reads, 48 and 49 of writes.
    if fio --minimal "$job" >/run/fio.out 2>/run/fio.err; then
      say "fio $(basename "$job" .fio) $(awk -F ';' '{ print $7 + $48, $8 + $49 }' /run/fio.out)"
    else
      failed "fio: $(head -n 1 /run/fio.err)"
    fi
  done
}

uptime_seconds() { cut -d ' ' -f 1 /proc/uptime; }

# A plain TCP copy each way, with a server on the host: "guest: copy DIRECTION BYTES SECONDS".
copy() {
  bring_up_net
  mib=$(argument mib)
  begin=$(uptime_seconds)
  bytes=$(nc "$host" 5001 | wc -c)
  say "copy receive $bytes $(awk -v a="$begin" -v b="$(uptime_seconds)" 'BEGIN { print b - a }')"
  begin=$(uptime_seconds)
  # The host answers with what it got, so that the clock stops when all has arrived there.
  bytes=$(dd if=/dev/zero bs=64k count=$((mib * 16)) 2>/dev/null | nc "$host" 5002)
  say "copy send $bytes $(awk -v a="$begin" -v b="$(uptime_seconds)" 'BEGIN { print b - a }')"
}
