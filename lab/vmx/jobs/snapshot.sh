# A running guest is saved and goes on in another process, twice: registers, LAPIC, timers, clock.
# Needs: mote guest-6.1 disk curl
# shellcheck shell=dash
cp /g/disk.ext4 /tmp/disk.ext4
cat >/tmp/config.json <<END
{"boot-source": {"kernel_image_path": "/g/6.1/vmlinux", "initrd_path": "/g/6.1/initrd.cpio",
  "boot_args": "console=ttyS0 quiet panic=-1 reboot=k mote.mode=tick"},
 "machine-config": {"vcpu_count": 1, "mem_size_mib": 128},
 "drives": [{"drive_id": "disk0", "path_on_host": "/tmp/disk.ext4", "is_root_device": false, "is_read_only": false}]}
END
fail() {
  cat /tmp/console
  echo "not ok kvm-lite-snapshot: $1"
  exit 1
}
api() { /usr/bin/curl -sS --fail-with-body --max-time 100 --unix-socket /tmp/api -X "$1" "http://mote$2" -d "$3"; }
ticks() { sed -n 's/^guest: tick \([0-9]*\).*/\1/p' /tmp/console | tail -n 1; }

# wait_for_ticks N: the guest has counted to N.
wait_for_ticks() {
  local tries=0
  until [ "$(ticks)" ] && [ "$(ticks)" -ge "$1" ]; do
    tries=$((tries + 1))
    [ $tries -lt 3000 ] || fail "the guest counted to \"$(ticks)\" and not to $1"
    usleep 100000
  done
}

# start ARGUMENT...: mote with its API.
start() {
  rm -f /tmp/api
  /g/mote --kvm-device /dev/kvm-lite --api-sock /tmp/api "$@" >>/tmp/console 2>&1 &
  mote=$!
  local tries=0
  until [ -S /tmp/api ]; do
    tries=$((tries + 1))
    [ $tries -lt 1000 ] || fail "mote does not start"
    usleep 100000
  done
}

: >/tmp/console
start --config-file /tmp/config.json
goal=3
wait_for_ticks $goal
for round in 1 2; do
  api PATCH /vm '{"state":"Paused"}' || fail "round $round: no pause"
  api PUT /snapshot/create '{"snapshot_path":"/tmp/state","mem_file_path":"/tmp/memory"}' || fail "round $round: no snapshot"
  kill -9 $mote
  wait $mote
  before=$(ticks)
  start
  api PUT /snapshot/load '{"snapshot_path":"/tmp/state","mem_backend":{"backend_type":"File","backend_path":"/tmp/memory"},"resume_vm":true}' ||
    fail "round $round: not restored"
  goal=$((before + 4))
  wait_for_ticks $goal
  echo "round $round: saved at tick $before, restored, went on to $(ticks)"
done
kill -9 $mote
wait $mote
echo "ok kvm-lite-snapshot"
