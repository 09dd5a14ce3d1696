# Times guests' boots, case by case, in interleaved runs. Sourced by jobs after monitors.sh. A case is
# MONITOR:SERIES, like mote:6.1. Values are kept in $work/CASE.METRIC, one a line, and printed as
# "@@figure SUBJECT METRIC UNIT VALUE" for the report.
# shellcheck shell=bash

median() { sort -n "$1" | awk '{ v[NR] = $1 } END { m = int((NR + 1) / 2); print NR % 2 ? v[m] : (v[m] + v[m + 1]) / 2 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.3f", a / b }'; }
ms_between() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f\n", (b - a) * 1000 }'; }

# keep CASE METRIC MS
keep() {
  echo "$3" >>"$work/$1.$2"
  echo "@@figure $1 $2 ms $3"
}

# prepare_case CASE MODE: a guest from memory, not from the emulated disk.
prepare_case() {
  local series=${1#*:} file
  plain_guest "$series"
  args+=" mote.mode=$2"
  for file in "$kernel" "$initrd"; do
    [ -f "$work/$series-$(basename "$file")" ] || cp "$file" "$work/$series-$(basename "$file")"
  done
  [ -f "$work/disk.ext4" ] || cp "$guests/disk-plain.ext4" "$work/disk.ext4"
  kernel=$work/$series-vmlinux initrd=$work/$series-$(basename "$initrd") drives=("$work/disk.ext4")
}

# time_boot CASE: prints milliseconds from exec to init; the monitor has ended when it returns.
time_boot() {
  local start line init='' monitor=${1%%:*}
  "${monitor}_command"
  [ -p "$work/pipe" ] || mkfifo "$work/pipe"
  echo "@@mark start $1" >&2
  start=$EPOCHREALTIME
  "${command[@]}" </dev/null >"$work/pipe" 2>"$work/stderr" &
  : >"$work/console"
  while IFS= read -r line; do
    echo "$line" >>"$work/console"
    case $line in *'guest: init runs'*) init=$EPOCHREALTIME && echo "@@mark init $1" >&2 ;; esac
  done <"$work/pipe"
  wait $! && [ -n "$init" ] || {
    tail -n 80 "$work/console" "$work/stderr" "$work/log" >&2
    return 1
  }
  ms_between "$start" "$init"
}

# time_boots METRIC RUNS CASE...
time_boots() {
  local metric=$1 runs=$2 run case ms
  shift
  shift
  for run in $(seq 0 "$runs"); do # Run 0 warms the page cache and does not count.
    for case; do
      prepare_case "$case" boot
      ms=$(time_boot "$case") || die "$case did not boot"
      [ "$run" -gt 0 ] || continue
      echo "run $run $case: exec to init $ms ms"
      keep "$case" "$metric".exec_to_init "$ms"
      case $case in
        mote:*)
          keep "$case" "$metric".start_to_init "$(awk -v a="$(boot_phase instance_start_us)" \
            -v b="$(boot_phase guest_init_us)" 'BEGIN { print (b - a) / 1000 }')"
          keep "$case" "$metric".exec_to_api "$(awk -v b="$(boot_phase api_ready_us)" 'BEGIN { print b / 1000 }')"
          keep "$case" "$metric".start_to_vcpu "$(awk -v a="$(boot_phase instance_start_us)" \
            -v b="$(boot_phase vcpu_run_us)" 'BEGIN { print (b - a) / 1000 }')"
          ;;
      esac
    done
  done
}
