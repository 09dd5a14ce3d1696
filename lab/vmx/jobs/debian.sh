# Stock Debian under Mote on kvm-lite, with disk and network: 6.1 and 6.12.
# Needs: mote guest-6.1 guest-6.12 disk tap
# shellcheck shell=dash
insmod /modules/tun.ko
mkdir -p /dev/net /tmp/www
[ -c /dev/net/tun ] || mknod /dev/net/tun c 10 200
tunctl -t tap0 >/dev/null
ip addr add 172.30.0.1/30 dev tap0
ip link set lo up
ip link set tap0 up
echo "hello from the host, token vmxlab" >/tmp/www/page
httpd -p 172.30.0.1:80 -h /tmp/www

# boot SERIES
boot() {
  cp /g/disk.ext4 /tmp/disk.ext4
  cat >/tmp/config.json <<END
{"boot-source": {"kernel_image_path": "/g/$1/vmlinux", "initrd_path": "/g/$1/initrd.cpio",
  "boot_args": "console=ttyS0 quiet panic=-1 reboot=k mote.mode=check mote.ip=172.30.0.2/30 mote.host=172.30.0.1 mote.token=vmxlab"},
 "machine-config": {"vcpu_count": 1, "mem_size_mib": 160},
 "drives": [{"drive_id": "disk0", "path_on_host": "/tmp/disk.ext4", "is_root_device": false, "is_read_only": false}],
 "network-interfaces": [{"iface_id": "eth0", "host_dev_name": "tap0"}]}
END
  /g/mote --kvm-device /dev/kvm-lite --no-api --config-file /tmp/config.json >/tmp/console 2>&1
  code=$?
  cat /tmp/console
  if [ $code -eq 0 ] && grep -q 'net: fetched' /tmp/console && grep -q 'read back' /tmp/console &&
    grep -q "Linux $1\." /tmp/console && grep -q 'guest: end' /tmp/console && ! grep -q 'guest: FAILED' /tmp/console; then
    echo "ok kvm-lite-debian-$1"
  else
    echo "not ok kvm-lite-debian-$1: mote ended with code $code"
    failed=1
  fi
}

failed=0
boot 6.1
boot 6.12
exit $failed
