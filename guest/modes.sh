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

# Reads what the monitor knows of this guest: a token first, then a short and a long value with it.
metadata() {
  bring_up_net
  ip route add 169.254.169.254 dev eth0
  token=$(printf 'PUT /latest/api/token HTTP/1.1\r\nConnection: close\r\n%s\r\n\r\n' \
    'X-metadata-token-ttl-seconds: 60' | timeout 10 nc 169.254.169.254 80 | tail -n 1)
  say "metadata: name $(metadata_value name), large $(metadata_value large | wc -c) bytes"
  if timeout 10 wget -q -O /dev/null http://169.254.169.254/latest/name; then
    failed "metadata: answered without a token"
  fi
}

metadata_value() {
  timeout 20 wget -q -O - --header "X-metadata-token: $token" "http://169.254.169.254/latest/$1"
}

# Serves its page while it writes files, reads them back from the device and compares.
busy() {
  bring_up_net
  mkdir -p /data
  keep_disk_busy &
  writer=$!
  serve_until_stopped
  wait $writer
  say "busy: $(cat /run/rounds) rounds, reseeded $(dmesg | grep -c "virtual machine fork") times"
}

keep_disk_busy() {
  round=0
  while [ ! -e /run/stop ]; do
    round=$((round + 1))
    file=/data/busy$((round % 4))
    dd if=/dev/urandom of=$file bs=16k count=8 2>/dev/null
    before=$(sha256sum <$file)
    drop_caches
    [ "$(sha256sum <$file)" = "$before" ] || failed "busy: round $round read back something else"
    echo $round >/run/rounds
  done
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

# TCP each way for a few seconds, with a server on the host: "guest: copy DIRECTION KBIT_PER_S".
copy() {
  bring_up_net
  for way in receive send; do
    option=
    [ $way = send ] || option=-R
    # shellcheck disable=SC2086  # No option is no word.
    if iperf3 -c "$host" -t 4 -f k $option >/run/iperf.out 2>&1; then
      say "copy $way $(sed -n 's/.* \([0-9.]*\) Kbits.*receiver.*/\1/p' /run/iperf.out)"
    else
      failed "copy: $(tail -n 1 /run/iperf.out)"
    fi
  done
}
