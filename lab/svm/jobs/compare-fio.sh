# Block throughput in the guest: Mote against QEMU microvm (virtio-blk on its default threads), same
# kernel, disk images and fio jobs (guest/fio), interleaved. Arguments: [ROUNDS]
# Needs: mote kernel:6.1 disk:bench
. /mote/lab/svm/monitors.sh
rounds=${1:-3}

dd if=/dev/urandom of="$work/data" bs=1M count=64 2>/dev/null
cp "$guests/disk-bench.ext4" "$work/root.ext4"
for round in $(seq "$rounds"); do
  for monitor in mote qemu; do
    plain_guest 6.1
    memory_mib=256 drives=("$work/root.ext4" "$work/data") args+=" mote.mode=fio"
    start_monitor $monitor
    reason=''
    ended_well 120 || die "$monitor: $reason: $(tail -n 5 "$work/console" "$work/stderr")"
    tr -d '\r' <"$work/console" | sed -n "s/^guest: fio \(.*\)/$monitor \1/p" >"$work/round"
    awk '{ print "@@figure", $1 ":6.1", "fio." $2, "IOPS", $4 }' "$work/round"
    cat "$work/round" >>"$work/figures"
    echo "round $round $monitor done"
  done
done
# Medians of the rounds by job, and their ratio.
awk 'function median(k,   i, j, t) {
    for (i = 1; i <= n[k]; i++) for (j = i + 1; j <= n[k]; j++)
      if (v[k, j] < v[k, i]) { t = v[k, i]; v[k, i] = v[k, j]; v[k, j] = t }
    return v[k, int((n[k] + 1) / 2)]
  }
  { k = $1 " " $2; v[k, ++n[k]] = $4; if (!($2 in jobs)) jobs[$2] = 1 }
  END {
    printf "%-10s %12s %12s %8s\n", "fio job", "mote IOPS", "qemu IOPS", "ratio"
    for (job in jobs) {
      m = median("mote " job); q = median("qemu " job)
      printf "%-10s %12d %12d %8.2f\n", job, m, q, m / q
    }
  }' "$work/figures"
