# A plain TCP copy through virtio-net and a TAP, each way: Mote against QEMU microvm (user-space
# virtio-net, no vhost), same kernel and disk, interleaved. Arguments: [ROUNDS [MIB]]
# Needs: mote kernel:6.1 disk:plain
. /mote/lab/svm/monitors.sh
rounds=${1:-3} mib=${2:-128}

make_tap tap0
cp "$guests/disk-plain.ext4" "$work/disk.ext4"
for round in $(seq "$rounds"); do
  for monitor in mote qemu; do
    plain_guest 6.1
    drives=("$work/disk.ext4") tap=tap0
    args+=" mote.mode=copy mote.ip=$guest_ip/30 mote.host=$host_ip mote.mib=$mib"
    dd if=/dev/zero bs=64k count=$((mib * 16)) 2>/dev/null | nc -l -p 5001 &
    sender=$!
    nc -l -p 5002 -e /bin/busybox wc -c &
    receiver=$!
    start_monitor $monitor
    reason=''
    ended_well 120 || die "$monitor: $reason: $(tail -n 5 "$work/console" "$work/stderr")"
    kill $sender $receiver 2>/dev/null
    tr -d '\r' <"$work/console" | sed -n "s/^guest: copy \(.*\)/$monitor \1/p" >>"$work/figures"
    echo "round $round $monitor done"
  done
done
awk -v want=$((mib * 1048576)) 'function median(k,   i, j, t) {
    for (i = 1; i <= n[k]; i++) for (j = i + 1; j <= n[k]; j++)
      if (v[k, j] < v[k, i]) { t = v[k, i]; v[k, i] = v[k, j]; v[k, j] = t }
    return v[k, int((n[k] + 1) / 2)]
  }
  $3 != want { print "not all arrived: " $0; bad = 1 }
  { k = $1 " " $2; v[k, ++n[k]] = $3 / $4 / 1e6 }
  END {
    printf "%-10s %12s %12s %8s\n", "copy", "mote MB/s", "qemu MB/s", "ratio"
    for (i = split("receive send", ways, " "); i > 0; i--) {
      m = median("mote " ways[i]); q = median("qemu " ways[i])
      printf "%-10s %12.1f %12.1f %8.2f\n", ways[i], m, q, m / q
    }
    exit bad
  }' "$work/figures"
