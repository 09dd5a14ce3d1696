#!/bin/busybox sh
# shellcheck shell=dash
# /init of the emulated host: loads its modules, mounts the root disk and the repository's files
# under it, and goes on with lab/svm/enter.sh.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
# KVM keeps the TSC's frequency that it finds when it is loaded. The kernel's first measurement is
# rough here and refined a second later; with the rough one in KVM, guests' timers can be minutes late.
tsc_is_settled() { $b grep -q '^tsc$' /sys/devices/system/clocksource/clocksource0/current_clocksource; }
settle_tsc() {
  local left=50
  until tsc_is_settled || [ $left -eq 0 ]; do
    $b usleep 100000
    left=$((left - 1))
  done
}
for module in $($b cat /modules/order); do
  case $module in *kvm*) settle_tsc ;; esac
  $b insmod "/modules/$module.ko" || $b echo "lab: cannot load $module"
done
$b mount -t ext4 -o ro /dev/vda /root && $b mount -t ext4 -o ro /dev/vdb /root/mote ||
  exec $b poweroff -f
for folder in dev proc sys; do $b mount --move /$folder /root/$folder; done
exec $b switch_root /root /bin/busybox sh /mote/lab/svm/enter.sh
