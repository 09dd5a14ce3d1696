# Stock 6.1 under Mote to its init, on Debian's kvm-intel and on kvm-lite: instructions since the VM was made, as
# the guest's TSC counts them (its 0 is the VM's creation; a tick is one instruction of host or guest).
# Needs: mote guest-6.1 kvm-intel
# shellcheck shell=dash
. /hosts.sh
cat >/tmp/config.json <<END
{"boot-source": {"kernel_image_path": "/g/6.1/vmlinux", "initrd_path": "/g/6.1/initrd.cpio",
  "boot_args": "console=ttyS0 quiet panic=-1 reboot=k mote.mode=initrd"},
 "machine-config": {"vcpu_count": 1, "mem_size_mib": 160}, "drives": [], "network-interfaces": []}
END

# boot DEVICE NAME: the console in /tmp/NAME. Twice: the first run brings the files into the page cache.
boot() {
  for try in 1 2; do
    /g/mote --kvm-device "$1" --no-api --config-file /tmp/config.json >/tmp/"$2" 2>&1 || {
      cat /tmp/"$2"
      return 1
    }
  done
}
ticks() { sed -n 's/^guest: init runs, TSC \([0-9]*\).*/\1/p' /tmp/"$1"; }

on_kvm_intel 'boot /dev/kvm intel' && boot /dev/kvm-lite lite || {
  echo "not ok init: a guest does not come up"
  exit 1
}
echo "$(ticks intel) $(ticks lite)" | awk 'NF != 2 { exit 1 } { printf "%-26s %10s %10s %6s\n%-26s %10d %10d %6.2f\n",
  "instructions to init", "kvm-intel", "kvm-lite", "ratio", "VM made to guest init", $1, $2, $2 / $1 }' || {
  echo "not ok init: a guest did not say when its init ran"
  exit 1
}
echo "ok init"
