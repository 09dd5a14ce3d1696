# A verbose boot, for finding where time goes: lab/svm/run verbose [mote|qemu [SERIES [ARGUMENT...]]]
# Needs: mote kernel:6.1 kernel:6.12
. /mote/lab/svm/monitors.sh
monitor=${1:-mote} series=${2:-6.1}
shift 2
plain_guest "$series"
args="${args/ quiet/} mote.mode=initrd $*"
check_start=$EPOCHREALTIME reason=
start_monitor "$monitor"
if ended_well 120; then ok verbose; else not_ok verbose "$reason"; fi
cat "$work/console"
cat "$work/log" 2>/dev/null
cat "$work/metrics" 2>/dev/null
