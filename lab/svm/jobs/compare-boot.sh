# Cold start of Mote and of QEMU microvm: same kernel, initrd and disk, interleaved runs. Times are
# from exec of the monitor to the first line of the guest's init as it comes out of the monitor; for
# Mote also from InstanceStart to the guest's store into the boot timer, by its own clock.
# Arguments: [RUNS [SERIES]]
# Needs: mote kernel:6.1 kernel:6.12 disk:plain
. /mote/lab/svm/monitors.sh
runs=${1:-5} series=${2:-6.1}

plain_guest "$series"
args+=" mote.mode=boot"
cp "$kernel" "$initrd" "$guests/disk-plain.ext4" "$work/"
kernel=$work/vmlinux initrd=$work/initrd-$series.cpio drives=("$work/disk-plain.ext4")
mkfifo "$work/pipe"

# Prints milliseconds from exec to init; the monitor has ended when it returns.
time_boot() {
  local start line init=''
  "$1_command"
  echo "@@mark start $1" >&2
  start=$EPOCHREALTIME
  "${command[@]}" </dev/null >"$work/pipe" 2>"$work/stderr" &
  while IFS= read -r line; do
    case $line in *'guest: init runs'*) init=$EPOCHREALTIME && echo "@@mark init $1" >&2 ;; esac
  done <"$work/pipe"
  wait $! && [ -n "$init" ] || {
    cat "$work/stderr" >&2
    return 1
  }
  awk -v a="$start" -v b="$init" 'BEGIN { printf "%.1f\n", (b - a) * 1000 }'
}

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { m = int((NR + 1) / 2); print NR % 2 ? v[m] : (v[m] + v[m + 1]) / 2 }'; }

for run in $(seq 0 "$runs"); do # Run 0 warms the page cache and does not count.
  for monitor in mote qemu; do
    ms=$(time_boot $monitor) || die "$monitor did not boot"
    [ "$run" -gt 0 ] || continue
    echo "$ms" >>"$work/$monitor.ms"
    inner=
    if [ $monitor = mote ]; then
      awk -v a="$(boot_phase instance_start_us)" -v b="$(boot_phase guest_init_us)" \
        'BEGIN { print (b - a) / 1000 }' >>"$work/inner.ms"
      inner=", from InstanceStart $(tail -n 1 "$work/inner.ms") ms"
    fi
    echo "run $run $monitor: exec to init $ms ms$inner"
  done
done
m=$(median "$work/mote.ms") q=$(median "$work/qemu.ms") i=$(median "$work/inner.ms")
echo "median exec to init: mote $m ms, qemu microvm $q ms, ratio $(awk -v m="$m" -v q="$q" 'BEGIN { printf "%.3f", m / q }')"
echo "median mote InstanceStart to init: $i ms, ratio to qemu's exec to init $(awk -v m="$i" -v q="$q" 'BEGIN { printf "%.3f", m / q }')"
