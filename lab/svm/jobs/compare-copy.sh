# TCP through virtio-net and a TAP, each way (iperf3): Mote against QEMU microvm (user-space virtio-net,
# no vhost), same kernel and disk, interleaved. Arguments: [ROUNDS]
# Needs: mote kernel:6.1 disk:bench
. /mote/lab/svm/monitors.sh
rounds=${1:-3}

make_tap tap0
iperf3 -s >"$work/server" 2>&1 &
cp "$guests/disk-bench.ext4" "$work/disk.ext4"
for round in $(seq "$rounds"); do
  for monitor in mote qemu; do
    plain_guest 6.1
    memory_mib=256 drives=("$work/disk.ext4") tap=tap0
    args+=" mote.mode=copy mote.ip=$guest_ip/30 mote.host=$host_ip"
    start_monitor $monitor
    reason=''
    ended_well 120 || die "$monitor: $reason: $(tail -n 5 "$work/console" "$work/stderr")"
    tr -d '\r' <"$work/console" | sed -n "s/^guest: copy \(.*\)/$monitor \1/p" >"$work/round"
    awk '{ print "@@figure", $1 ":6.1", "tcp." $2, "Mbit/s", $3 / 1000 }' "$work/round"
    cat "$work/round" >>"$work/figures"
    echo "round $round $monitor done"
  done
done
awk 'function median(k,   i, j, t) {
    for (i = 1; i <= n[k]; i++) for (j = i + 1; j <= n[k]; j++)
      if (v[k, j] < v[k, i]) { t = v[k, i]; v[k, i] = v[k, j]; v[k, j] = t }
    return v[k, int((n[k] + 1) / 2)]
  }
  { k = $1 " " $2; v[k, ++n[k]] = $3 / 1000 }
  END {
    printf "%-10s %12s %12s %8s\n", "guest", "mote Mbit/s", "qemu Mbit/s", "ratio"
    for (i = split("receive send", ways, " "); i > 0; i--) {
      m = median("mote " ways[i]); q = median("qemu " ways[i])
      printf "%-10s %12.1f %12.1f %8.2f\n", ways[i], m, q, m / q
    }
  }' "$work/figures"
