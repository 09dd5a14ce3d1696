# Where a guest's boot under Mote spends its time: initcalls and pauses between kernel messages, the longest
# first, with the console kept quiet so that printing does not count.
# Arguments: [SERIES [KERNEL_ARGUMENT...]]
# Needs: mote kernel:6.1 kernel:6.12
. /mote/lab/svm/monitors.sh
series=${1:-6.1}
shift
plain_guest "$series"
args+=" mote.mode=initrd mote.dmesg initcall_debug log_buf_len=4M $*"
start_monitor mote
reason=''
ended_well 60 || die "$reason: $(tail -n 5 "$work/console" "$work/stderr")"
tr -d '\r' <"$work/console" >"$work/text"

echo "initcalls, in microseconds:"
sed -n 's/.*initcall \([^ ]*\)+.* returned .* after \([0-9]*\) usecs.*/\2 \1/p' "$work/text" | sort -rn | head -n 15
echo "pauses between messages, in seconds:"
awk 'match($0, /^\[ *[0-9]+\.[0-9]+\]/) {
    t = substr($0, 2, RLENGTH - 2) + 0
    if (t - before > 0.005) printf "%.3f at %.3f  %.60s -> %.60s\n", t - before, t, last, substr($0, RLENGTH + 2)
    before = t; last = substr($0, RLENGTH + 2)
  }' "$work/text" | sort -rn | head -n 20
grep -m1 'Run /init' "$work/text"
sed 's/.*"boot"/"boot"/; s/"get_api.*"uart"/"uart"/' "$work/metrics" | head -n 1
