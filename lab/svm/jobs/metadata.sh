# A Linux guest reads its metadata (MMDS V2) by its own TCP, with the offloads that it negotiates.
# Needs: mote kernel:6.1 disk:plain
. /mote/lab/svm/monitors.sh

large_bytes=40000
read_metadata() {
  plain_guest 6.1
  cp "$guests/disk-plain.ext4" "$work/disk.ext4"
  drives=("$work/disk.ext4") tap=tap0
  args+=" mote.mode=metadata mote.ip=$guest_ip/30"
  mote_config | sed 's/^"metrics"/"mmds-config":{"version":"V2","network_interfaces":["eth0"]},&/' \
    >"$work/config.json"
  printf '{"latest":{"name":"clone-7","large":"%s"}}' "$(head -c "$large_bytes" /dev/zero | tr '\0' x)" \
    >"$work/metadata.json"
  : >"$work/console"
  start_mote --metadata "$work/metadata.json" --config-file "$work/config.json"
  ended_well 60 || return 1
  grep -q "guest: metadata: name clone-7, large $large_bytes bytes" "$work/console" && return 0
  reason="the guest read something else: $(grep -m1 'guest: metadata' "$work/console")"
  return 1
}

make_tap tap0
check metadata-v2 read_metadata
[ "$broken" -eq 0 ]
