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

code=1
# What the kernel says from here on counts.
dmesg -c >/dev/null
if insmod /modules/kvm-lite.ko; then
  sh /job.sh
  code=$?
  rmmod kvm_lite || code=1
fi
# What a host's kernel says when a module has damaged it.
if dmesg | grep -E 'BUG:|WARNING:|Oops|general protection|refcount_t|ODEBUG|suspicious RCU|possible (recursive|circular)|inconsistent lock'; then
  dmesg | tail -n 60
  code=1
fi
echo "@@end $code"
/bin/leave
poweroff -f
