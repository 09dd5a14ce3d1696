# The same boot under Mote with Debian's stock kernel and with the small one of guest/kernel, in
# interleaved runs. Arguments: [RUNS]
# Needs: mote kernel:6.1 kernel:tuned disk:plain
. /mote/lab/svm/monitors.sh
. /mote/lab/svm/timing.sh

time_boots kernels "${1:-5}" mote:6.1 mote:tuned
s=$(median "$work/mote:6.1.kernels.start_to_init") t=$(median "$work/mote:tuned.kernels.start_to_init")
echo "median InstanceStart to init: stock $s ms, tuned $t ms, ratio $(ratio "$t" "$s")"
