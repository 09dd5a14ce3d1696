# Every way in which a guest or its owner ends a VM, each with exit code 0 and a whole log; the
# console in a file (serial_out_path); pause and resume.
# Needs: mote kernel:6.1 disk:plain
. /mote/lab/svm/monitors.sh

# guest_with KERNEL_ARGUMENT...: a guest with its root disk that does what the arguments say.
guest_with() {
  plain_guest 6.1
  cp "$guests/disk-plain.ext4" "$work/disk.ext4"
  drives=("$work/disk.ext4")
  args+=" $*"
}

log_is_whole() {
  grep -q 'exiting with code 0' "$work/log" && return 0
  reason="the log has no last line"
  return 1
}

# ends REBOOT_METHOD REQUEST: the guest asks for its own end.
ends() {
  guest_with mote.mode=boot "mote.end=$2"
  args=${args/reboot=k/reboot=$1}
  rm -f "$work/log"
  start_monitor mote
  ended_well 60 && log_is_whole
}

console_in_file() {
  guest_with mote.mode=boot
  serial=$work/serial
  : >"$serial"
  start_monitor mote
  ended_well 60 "$serial" || return 1
  [ ! -s "$work/console" ] && return 0
  reason="the console came out on standard output too"
  return 1
}

# A guest that ticks, behind an API.
start_ticking() {
  guest_with mote.mode=tick
  rm -f "$work/log"
  : >"$work/console"
  mote_config >"$work/config.json"
  start_mote --config-file "$work/config.json"
  wait_for 'guest: tick 3' "$work/console" 60 && return 0
  reason="the guest does not tick"
  kill -9 "$mote_pid"
  return 1
}

ended_with_zero() {
  local code=0
  wait_for_end 30 || code=$?
  [ $code -eq 0 ] && log_is_whole && return 0
  reason="mote ended with code $code"
  return 1
}

ctrl_alt_del() {
  start_ticking || return 1
  api PUT /actions '{"action_type":"SendCtrlAltDel"}'
  ended_with_zero
}

terminated() {
  start_ticking || return 1
  kill -TERM "$mote_pid"
  ended_with_zero
}

last_tick() { grep -c 'guest: tick' "$work/console"; }

paused_and_resumed() {
  local before after
  start_ticking || return 1
  api PATCH /vm '{"state":"Paused"}'
  before=$(last_tick)
  sleep 1
  after=$(last_tick)
  if [ "$before" -ne "$after" ]; then
    reason="a paused guest ticked from $before to $after"
  elif ! api GET / | grep -q '"state":"Paused"'; then
    reason="GET / does not say Paused"
  else
    api PATCH /vm '{"state":"Resumed"}'
    if wait_for "guest: tick $((after + 3))" "$work/console" 20; then
      kill -TERM "$mote_pid"
      ended_with_zero
      return
    fi
    reason="a resumed guest does not tick"
  fi
  kill -9 "$mote_pid"
  return 1
}

check end-reset-i8042 ends k reboot
check end-reset-acpi ends a reboot
check end-triple-fault ends t reboot
check end-acpi-poweroff ends k poweroff
check end-ctrl-alt-del ctrl_alt_del
check end-sigterm terminated
check console-in-file console_in_file
check pause-resume paused_and_resumed
[ "$broken" -eq 0 ]
