# A guest with two vCPUs: INIT, SIPI, IPIs. For a host with two CPUs: lab/vmx/run --cpus 2.
# Needs: mote guest-6.1
# shellcheck shell=dash
cat >/tmp/config.json <<END
{"boot-source": {"kernel_image_path": "/g/6.1/vmlinux", "initrd_path": "/g/6.1/initrd.cpio",
  "boot_args": "console=ttyS0 loglevel=7 panic=-1 reboot=k mote.mode=initrd"},
 "machine-config": {"vcpu_count": 2, "mem_size_mib": 160}, "drives": [], "network-interfaces": []}
END
/g/mote --kvm-device /dev/kvm-lite --no-api --config-file /tmp/config.json >/tmp/console 2>&1
code=$?
cat /tmp/console
if [ $code -eq 0 ] && grep -q 'Brought up 1 node, 2 CPUs' /tmp/console && grep -q 'guest: end' /tmp/console; then
  echo "ok kvm-lite-smp-2"
else
  echo "not ok kvm-lite-smp-2: mote ended with code $code"
  exit 1
fi
