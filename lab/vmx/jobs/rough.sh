# Monitors killed in the middle, many VMs at once, CPUs that come and go. For lab/vmx/run --cpus 2.
# Needs: abi
# shellcheck shell=dash
quiet_run() { kvm-real-mode /dev/kvm-lite "$1" >/dev/null; }

i=0
while [ $i -lt 20 ]; do
  kvm-real-mode /dev/kvm-lite 100000000 >/dev/null &
  victim=$!
  usleep 30000
  kill -9 $victim
  wait $victim
  i=$((i + 1))
done
if quiet_run 100; then echo "ok kvm-lite-killed"; else echo "not ok kvm-lite-killed: no VM runs afterwards"; exit 1; fi

failed=0
pids=
for i in 1 2 3 4 5 6 7 8; do
  kvm-real-mode /dev/kvm-lite 2000 >/dev/null &
  pids="$pids $!"
done
for pid in $pids; do wait "$pid" || failed=1; done
if [ $failed -eq 0 ]; then echo "ok kvm-lite-concurrent"; else echo "not ok kvm-lite-concurrent: see above"; exit 1; fi

other=/sys/devices/system/cpu/cpu1/online
if [ ! -e $other ]; then
  echo "skip kvm-lite-hotplug: this host has one CPU"
  exit 0
fi
kvm-real-mode /dev/kvm-lite 100000000 >/dev/null &
runner=$!
i=0
while [ $i -lt 3 ]; do
  echo 0 >$other && echo 1 >$other || failed=1
  i=$((i + 1))
done
echo 0 >$other
quiet_run 100 || failed=1
echo 1 >$other
quiet_run 100 || failed=1
kill -0 $runner || failed=1
kill -9 $runner
wait $runner
if [ $failed -eq 0 ]; then echo "ok kvm-lite-hotplug"; else echo "not ok kvm-lite-hotplug: see above"; exit 1; fi
