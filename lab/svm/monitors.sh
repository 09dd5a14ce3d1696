# Starts a guest under one of the monitors that the lab compares, all with the same kernel, initrd,
# disks and TAP. Sourced by the jobs; builds on scripts/microvm.sh.
# shellcheck shell=bash

. /mote/scripts/common.sh
. /mote/scripts/microvm.sh

kernels=/mote/build/cache/kernels
guests=/mote/build/guest
work=$(mktemp -d)

# JSON text of a configuration file for mote.
# Uses: kernel initrd args memory_mib vcpus drives (paths) tap (name or nothing) serial (path or nothing)
# kernel_cache (folder or nothing)
mote_config() {
  local i=0 list='' drive
  for drive in "${drives[@]}"; do
    list+="${list:+,}{\"drive_id\":\"disk$i\",\"path_on_host\":\"$drive\",\"is_root_device\":false,\"is_read_only\":false}"
    i=$((i + 1))
  done
  echo "{\"boot-source\":{\"kernel_image_path\":\"$kernel\",\"initrd_path\":\"$initrd\",\"boot_args\":\"$args\"},"
  echo "\"machine-config\":{\"vcpu_count\":$vcpus,\"mem_size_mib\":$memory_mib},"
  [ -z "$serial" ] || echo "\"serial\":{\"serial_out_path\":\"$serial\"},"
  [ -z "$tap" ] || echo "\"network-interfaces\":[{\"iface_id\":\"eth0\",\"host_dev_name\":\"$tap\"}],"
  echo "\"metrics\":{\"metrics_path\":\"$work/metrics\"},\"drives\":[$list]}"
}

mote_command() {
  mote_config >"$work/config.json"
  rm -f "$work/metrics"
  command=("$mote" --no-api --config-file "$work/config.json" --boot-timer --log-path "$work/log"
    ${kernel_cache:+--kernel-cache "$kernel_cache"})
}

qemu_command() {
  # This machine has no keyboard controller to reset it by.
  local i=0 drive args=${args/reboot=k/reboot=t}
  command=(qemu-system-x86_64-microvm -accel kvm -cpu host -nodefaults -no-user-config -nographic
    -M microvm,x-option-roms=off,rtc=on,auto-kernel-cmdline=off
    -bios /usr/share/qemu/qboot.rom -global virtio-mmio.force-legacy=false -serial stdio -no-reboot
    -m "$memory_mib" -smp "$vcpus" -kernel "$kernel" -initrd "$initrd" -append "$args")
  for drive in "${drives[@]}"; do
    command+=(-drive "if=none,id=disk$i,file=$drive,format=raw,cache=writeback"
      -device "virtio-blk-device,drive=disk$i")
    i=$((i + 1))
  done
  [ -z "$tap" ] || command+=(-netdev "tap,id=net0,ifname=$tap,script=no,downscript=no"
    -device virtio-net-device,netdev=net0)
}

# A guest with one vCPU, 128 MiB, no disk and no card; callers change what they need.
plain_guest() {
  kernel=$kernels/$1/vmlinux initrd=$guests/initrd-$1.cpio
  args=$kernel_args memory_mib=128 vcpus=1 drives=() tap='' serial=''
}

# start_monitor mote|qemu: starts the guest; its console goes to $work/console.
start_monitor() {
  : >"$work/console"
  : >"$work/stderr"
  "$1_command"
  "${command[@]}" </dev/null >"$work/console" 2>"$work/stderr" &
  mote_pid=$!
}

# One line for each check, which ./test counts: "ok NAME (SECONDS s)" or "not ok NAME: REASON".
passed=0 broken=0
ok() {
  echo "ok $1 ($(seconds_since "$check_start") s)"
  passed=$((passed + 1))
}
not_ok() {
  echo "not ok $1: $2"
  sed 's/^/    console | /' "$work/console" | tail -n 25
  tail -n 10 "$work/stderr" "$work/log" 2>/dev/null | sed 's/^/    monitor | /'
  broken=$((broken + 1))
}

# check NAME FUNCTION [ARGUMENT...]: the function says why it failed in $reason and returns non-zero.
check() {
  local name=$1
  shift
  check_start=$EPOCHREALTIME reason='the check failed'
  if "$@"; then ok "$name"; else not_ok "$name" "$reason"; fi
}

# The guest ran to its end, found nothing wrong, and its monitor ended with code 0.
ended_well() {
  local code=0
  wait_for_end "$1" || code=$?
  if grep -q 'guest: FAILED' "${2:-$work/console}"; then
    reason=$(grep -m1 'guest: FAILED' "${2:-$work/console}")
  elif [ $code -eq 124 ]; then
    reason="the monitor did not end within $1 s"
  elif [ $code -ne 0 ]; then
    reason="the monitor ended with code $code"
  elif ! grep -q 'guest: end' "${2:-$work/console}"; then
    reason="the guest did not run to its end"
  else
    return 0
  fi
  return 1
}

# serve_page [TAP_OPTION...]: the page that guests fetch, with the token they expect, on a TAP of its own.
serve_page() {
  token=lab$RANDOM$RANDOM
  make_tap tap0 "$@"
  mkdir -p "$work/www"
  echo "hello from the host, token $token" >"$work/www/page"
  busybox httpd -p "$host_ip:80" -h "$work/www"
}
