#!/bin/busybox sh
# shellcheck shell=dash
# /init of the emulated VMX host: loads kvm-lite, runs /job.sh, unloads, and turns the machine off.
# "@@end CODE" is the job's exit code, 1 if the host's kernel complained on the way.
export PATH=/bin HOME=/
/bin/busybox mkdir -p /proc /sys /dev /tmp
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp

# What the kernel said of the emulated machine before is not the module's doing (6.12 dislikes its topology).
dmesg -c >/dev/null
code=1
if insmod /modules/kvm-lite.ko; then
  sh /job.sh
  code=$?
  rmmod kvm_lite || code=1
fi
# What a host's kernel says when a module has damaged it; a debug kernel (lockdep, KASAN, ODEBUG) says more. Hung tasks and
# stalls do not count: they go by a clock that runs ahead of what the emulated CPUs get done.
complaints='BUG:|WARNING:|Oops|general protection|refcount_t|KASAN|ODEBUG|suspicious RCU'
complaints="$complaints|possible (recursive|circular|irq)|inconsistent lock|sleeping function called"
if dmesg | grep -E "$complaints"; then
  dmesg | tail -n 60
  code=1
fi
# Lockdep looks no further after its first complaint, whoever caused that.
if grep 'debug_locks: *0' /proc/lockdep_stats 2>/dev/null; then
  echo "lockdep is off: it says nothing of the module"
  code=1
fi
echo "@@end $code"
/bin/leave
poweroff -f
