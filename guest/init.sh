#!/bin/busybox sh
# shellcheck shell=dash
# /sbin/init of the guest's root disk. The kernel's command line says what to do:
#   mote.mode=boot|demo|check|busy|metadata|tick|fio|copy|shell   mote.ip=ADDRESS/BITS   mote.host=ADDRESS
#   mote.end=reboot|poweroff              mote.token=WORD   mote.patience=SECONDS
# Every line that a driver of this guest may wait for begins with "guest: "; a failed check prints a
# line "guest: FAILED ..." and the guest still ends in good order.
export PATH=/bin:/sbin HOME=/root
/bin/busybox mount -t tmpfs tmp /tmp
/bin/busybox mount -t tmpfs run /run

say() { echo "guest: $*"; }
failed() { say "FAILED $*"; }
argument() { sed -n "s/.*\bmote\.$1=\([^ ]*\).*/\1/p" /proc/cmdline; }

mode=$(argument mode)
host=$(argument host)
guest_ip=$(argument ip)

for part in disk net modes; do . "/lib/mote/$part.sh"; done

finish() {
  cd /
  sync
  mount -o remount,ro / 2>/dev/null
  say "end (up $(cut -d ' ' -f 1 /proc/uptime) s)"
  if [ "$(argument end)" = poweroff ]; then exec poweroff -f; fi
  exec reboot -f
}

say "Linux $(uname -r), $(nproc) vCPU, $(($(sed -n 's/MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024)) MiB, up $(cut -d ' ' -f 1 /proc/uptime) s"
case $mode in
  boot) ;; # The way here was all.
  demo) demo ;;
  check) check ;;
  busy) busy ;;
  metadata) metadata ;;
  tick) tick ;;
  fio) fio_runs ;;
  copy) copy ;;
  shell) setsid cttyhack sh ;;
  *) failed "mote.mode=\"$mode\" is not known" ;;
esac
finish
