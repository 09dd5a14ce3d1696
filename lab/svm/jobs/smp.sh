# Guests with several vCPUs, with disk and network.
# Needs: mote kernel:6.1 kernel:6.12 disk:plain
. /mote/lab/svm/monitors.sh
serve_page multi_queue

# boots_smp SERIES VCPUS
boots_smp() {
  plain_guest "$1"
  cp "$guests/disk-plain.ext4" "$work/disk.ext4"
  vcpus=$2 memory_mib=256 drives=("$work/disk.ext4") tap=tap0
  args+=" mote.mode=check mote.ip=$guest_ip/30 mote.host=$host_ip mote.token=$token"
  start_monitor mote
  ended_well 120 || return 1
  grep -q "guest: .* $2 vCPU online" "$work/console" && return 0
  reason="not all $2 vCPUs came online"
  return 1
}

check smp-6.1-2 boots_smp 6.1 2
check smp-6.12-2 boots_smp 6.12 2
check smp-6.1-8 boots_smp 6.1 8
[ "$broken" -eq 0 ]
