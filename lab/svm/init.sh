#!/bin/busybox sh
# shellcheck shell=dash
# /init of the emulated host: loads its modules, mounts the root disk and the repository's files
# under it, and goes on with lab/svm/enter.sh.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
for module in $($b cat /modules/order); do
  $b insmod "/modules/$module.ko" || $b echo "lab: cannot load $module"
done
$b mount -t ext4 -o ro /dev/vda /root && $b mount -t ext4 -o ro /dev/vdb /root/mote ||
  exec $b poweroff -f
for folder in dev proc sys; do $b mount --move /$folder /root/$folder; done
exec $b switch_root /root /bin/busybox sh /mote/lab/svm/enter.sh
