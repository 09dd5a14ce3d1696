# Cold start of Mote and of QEMU microvm: same kernel, initrd and disk, interleaved runs. Times are
# from exec of the monitor to the first line of the guest's init as it comes out of the monitor; for
# Mote also from InstanceStart to the guest's store into the boot timer, by its own clock.
# Arguments: [RUNS [SERIES [METRIC]]]
# Needs: mote kernel:6.1 kernel:6.12 disk:plain
. /mote/lab/svm/monitors.sh
. /mote/lab/svm/timing.sh
runs=${1:-5} series=${2:-6.1} metric=${3:-boot}

time_boots "$metric" "$runs" "mote:$series" "qemu:$series"
m=$(median "$work/mote:$series.$metric.exec_to_init") q=$(median "$work/qemu:$series.$metric.exec_to_init")
i=$(median "$work/mote:$series.$metric.start_to_init")
echo "median exec to init: mote $m ms, qemu microvm $q ms, ratio $(ratio "$m" "$q")"
echo "median mote InstanceStart to init: $i ms, ratio to qemu's exec to init $(ratio "$i" "$q")"
