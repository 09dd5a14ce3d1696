# A Linux guest with a busy disk and network is saved again and again. Of every snapshot one clone
# must answer HTTP, end cleanly and leave a whole filesystem; another goes on and is saved next.
# The guest is a 6.12: Debian's 6.1 has no driver for generation ids. Arguments: [ROUNDS]
# Needs: mote kernel:6.12 disk:plain
. /mote/lab/svm/monitors.sh
rounds=${1:-3}

serve_page
start_template() {
  plain_guest 6.12
  cp "$guests/disk-plain.ext4" "$work/disk.ext4"
  drives=("$work/disk.ext4") tap=tap0
  args+=" mote.mode=busy mote.ip=$guest_ip/30 mote.host=$host_ip mote.token=$token"
  args+=" mote.patience=$((60 + rounds * 10))"  # The same guest goes on from round to round.
  mote_config >"$work/config.json"
  start_mote --config-file "$work/config.json"
  wait_for 'guest: net: serving' "$work/console" 60 && return 0
  reason="the guest does not serve"
  return 1
}

page_answers() {
  local tries=0
  until curl -s --max-time 2 "http://$guest_ip/" | grep -q 'Served by a microVM'; do
    tries=$((tries + 1))
    if [ $tries -ge 10 ]; then
      reason="the guest does not answer HTTP"
      return 1
    fi
  done
}

# Saves the running guest with its disk as it is then, and takes it away.
save() {
  api PATCH /vm '{"state":"Paused"}' &&
    api PUT /snapshot/create "{\"snapshot_path\":\"$work/state\",\"mem_file_path\":\"$work/memory\"}" || {
    reason="no snapshot was made"
    return 1
  }
  cp "${current_disk:-$work/disk.ext4}" "$work/saved.ext4"
  kill -9 "$mote_pid"
  wait "$mote_pid" 2>/dev/null
  return 0
}

# load DISK: a clone of the last snapshot on a disk of its own, running.
load() {
  cp "$work/saved.ext4" "$1"
  current_disk=$1
  start_mote
  api PUT /snapshot/load "{\"snapshot_path\":\"$work/state\",
    \"mem_backend\":{\"backend_type\":\"File\",\"backend_path\":\"$work/memory\"},\"resume_vm\":true,
    \"drive_overrides\":[{\"drive_id\":\"disk0\",\"path_on_host\":\"$1\"}]}" && return 0
  reason="the snapshot does not load"
  return 1
}

clone_is_whole() {
  load "$work/clone.ext4" && page_answers || return 1
  curl -s -o /dev/null --max-time 5 "http://$guest_ip/cgi-bin/stop"
  ended_well 60 || return 1
  if ! grep -q 'guest: busy: .*reseeded [1-9]' "$work/console"; then
    reason="the clone did not hear of its new generation: $(grep 'guest: busy' "$work/console")"
    return 1
  fi
  e2fsck -fn "$work/clone.ext4" >"$work/stderr" 2>&1 && return 0
  reason="the clone's filesystem is damaged"
  return 1
}

round() {
  sleep 0.3
  page_answers && save && clone_is_whole && load "$work/next$(($1 % 2)).ext4" && page_answers
}

check snapshot-template start_template
for i in $(seq "$rounds"); do
  [ "$broken" -eq 0 ] || break
  check "snapshot-$i" round "$i"
done
kill -9 "$mote_pid" 2>/dev/null
[ "$broken" -eq 0 ]
