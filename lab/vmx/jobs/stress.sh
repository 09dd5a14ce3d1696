# Monitors killed in the middle, many VMs at once, memory that changes under a guest, the module unloaded and loaded,
# CPUs that come and go, a machine that sleeps. For lab/vmx/run --cpus 2, on any host.
# Needs: abi kvm-abi
# shellcheck shell=dash
quiet_run() { kvm-real-mode /dev/kvm-lite "$1" >/dev/null; }

# verdict NAME STATUS
verdict() {
  if [ "$2" -eq 0 ]; then
    echo "ok kvm-lite-$1"
  else
    echo "not ok kvm-lite-$1: see above"
    failures=$((failures + 1))
  fi
}

# A VM that goes on until it is killed, its process in $victim.
start_victim() {
  kvm-real-mode /dev/kvm-lite 100000000 >/dev/null &
  victim=$!
}
# Fails if it had ended before, by itself.
kill_victim() {
  kill -9 $victim
  wait $victim
  [ $? -eq 137 ]
}

# Every second one has threads, slots and memory that change when it dies.
killed() {
  i=0
  while [ $i -lt 15 ]; do
    start_victim
    # From before the VM is made to long after it runs.
    usleep $((i * 5000))
    kill_victim
    kvm-abi /dev/kvm-lite --stress 100000 &
    victim=$!
    usleep $((i * 10000))
    kill_victim
    i=$((i + 1))
  done
  quiet_run 100
}

concurrent() {
  local failed=0 pids=
  for i in 1 2 3; do
    kvm-real-mode /dev/kvm-lite 3000 >/dev/null &
    pids="$pids $!"
    kvm-abi /dev/kvm-lite --stress 60 &
    pids="$pids $!"
  done
  for pid in $pids; do wait "$pid" || failed=1; done
  return $failed
}

unloaded() {
  start_victim
  usleep 100000
  # EAGAIN, which is what Linux answers where references are left.
  if rmmod kvm_lite 2>/tmp/rmmod || ! grep -q 'temporarily unavailable' /tmp/rmmod; then
    echo "rmmod while a VM runs: $(cat /tmp/rmmod)"
    return 1
  fi
  i=0
  while [ $i -lt 10 ]; do
    kill_victim
    # What the killed monitor held is given back in its own time.
    tries=0
    until rmmod kvm_lite 2>/dev/null; do
      tries=$((tries + 1))
      [ $tries -lt 100 ] || { echo "the module does not go" && return 1; }
      usleep 10000
    done
    insmod /modules/kvm-lite.ko || return 1
    start_victim
    usleep 50000
    i=$((i + 1))
  done
  kill_victim
}

hotplug() {
  local other=/sys/devices/system/cpu/cpu1/online failed=0
  start_victim
  kvm-abi /dev/kvm-lite --stress 200 &
  stress=$!
  i=0
  while [ $i -lt 5 ]; do
    echo 0 >$other && echo 1 >$other || failed=1
    i=$((i + 1))
  done
  echo 0 >$other
  quiet_run 100 || failed=1
  echo 1 >$other
  quiet_run 100 || failed=1
  kill_victim || failed=1
  wait $stress || failed=1
  return $failed
}

# The kernel goes to sleep as far as its last CPU's own state, and comes back after five seconds.
suspended() {
  local failed=0
  start_victim
  kvm-abi /dev/kvm-lite --stress 200 &
  stress=$!
  usleep 100000
  kill -0 $stress || failed=1
  echo core >/sys/power/pm_test && echo "$1" >/sys/power/state || {
    echo "the host does not sleep"
    failed=1
  }
  kill_victim || failed=1
  wait $stress || failed=1
  quiet_run 100 || failed=1
  return $failed
}

failures=0
killed
verdict killed $?
kvm-abi /dev/kvm-lite --stress 1000
verdict memory-changes $?
concurrent
verdict concurrent $?
unloaded
verdict unloaded $?
if [ -e /sys/devices/system/cpu/cpu1/online ]; then
  hotplug
  verdict hotplug $?
else
  echo "skip kvm-lite-hotplug: this host has one CPU"
fi
# Not freeze: it leaves the CPUs' own state, which is what VMX is, alone.
sleep_state=$(grep -o 'mem\|standby' /sys/power/state 2>/dev/null | head -n 1)
if [ "$sleep_state" ] && grep -q core /sys/power/pm_test 2>/dev/null; then
  suspended "$sleep_state"
  verdict suspended $?
else
  echo "skip kvm-lite-suspended: this host cannot try to sleep"
fi
exit $failures
