#!/bin/busybox sh
# shellcheck shell=dash
# First process of the emulated host's root: runs the job named on the kernel's command line as
# mote.job="NAME ARGUMENT..." and ends the host with a line that carries the job's exit code.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /dev/pts /dev/shm /dev/net
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
ip link set lo up
dmesg -n 1
ulimit -c 0

# QEMU 7.2 can lose what tells an emulated CPU that an interrupt waits: VMRUN sets the bit beside it without a
# lock (svm_helper.c; later releases do so atomically). The next interrupt makes up for it; but when it was the
# timer's, there is no next one, and the host stands still. While the RTC has an alarm to watch for,
# Linux has the HPET interrupt 64 times a second, too.
echo +86000 >/sys/class/rtc/rtc0/wakealarm

job=$(sed -n 's/.*mote\.job="\([^"]*\)".*/\1/p' /proc/cmdline)
name=${job%% *}
case $job in *' '*) arguments=${job#* } ;; *) arguments= ;; esac
cd /tmp || exit
# The lab's CPU model does not let a guest set XCR0, so Linux guests must not use XSAVE.
export MOTE_LAB=svm MOTE_GUEST_ARGS=noxsave
# shellcheck disable=SC2086  # The arguments are words.
bash "/mote/lab/svm/jobs/$name.sh" $arguments
code=$?
echo "@@end $code"
sync
poweroff -f
