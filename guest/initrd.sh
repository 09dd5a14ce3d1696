#!/bin/busybox sh
# shellcheck shell=dash
# The initrd's script (as /init.sh): loads the drivers that a stock kernel has as modules, mounts the
# root disk and hands over to it. With mote.mode=initrd it stops here: the shortest whole boot;
# mote.dmesg then shows the kernel's messages first.
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
for module in $($b cat /modules/order); do
  $b insmod "/modules/$module.ko" || $b echo "guest: cannot load $module"
done

if $b grep -q 'mote.mode=initrd' /proc/cmdline; then
  if $b grep -q 'mote.dmesg' /proc/cmdline; then $b dmesg; fi
  $b echo "guest: end"
  exec $b reboot -f
fi

tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 500 ]; do
  $b usleep 10000
  tries=$((tries + 1))
done
if ! $b mount -t ext4 -o noatime /dev/vda /root; then
  $b echo "guest: FAILED no root disk"
  exec $b reboot -f
fi
for folder in dev proc sys; do $b mount --move /$folder /root/$folder; done
exec $b switch_root /root /sbin/init
