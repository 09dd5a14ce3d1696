# Stock kernels boot from both image forms, with disk and network, and end cleanly. The argument says
# under which monitor: mote, or qemu to check the guests themselves.
# Needs: mote kernel:6.1 kernel:6.12 disk:plain
. /mote/lab/svm/monitors.sh
monitor=${1:-mote}
serve_page

boots() {
  plain_guest "$1"
  kernel=$kernels/$1/$2
  # An image is unpacked into memory, or into a cache.
  kernel_cache=''
  if [ "$1/$2" = 6.12/vmlinuz ]; then
    kernel_cache=$work/cache
    mkdir -m 755 "$kernel_cache"
  fi
  cp "$guests/disk-plain.ext4" "$work/disk.ext4"
  drives=("$work/disk.ext4") tap=tap0
  args+=" mote.mode=check mote.ip=$guest_ip/30 mote.host=$host_ip mote.token=$token"
  start_monitor "$monitor"
  ended_well 90 || return 1
  if [ "$(debugfs -R 'cat /data/token' "$work/disk.ext4" 2>/dev/null)" != "$token" ]; then
    reason="what the guest wrote is not on the disk"
    return 1
  fi
}

for series in 6.1 6.12; do
  for image in vmlinux vmlinuz; do
    check "boot-$series-$image" boots "$series" "$image"
  done
done
[ "$broken" -eq 0 ]
