# A monitor that nobody here wrote: Debian's QEMU, -M microvm, takes kvm-lite for /dev/kvm and boots stock 6.1 to
# its init.
# Needs: guest-6.1 qemu
# shellcheck shell=dash
ln -s /dev/kvm-lite /dev/kvm
timeout 1200 /usr/bin/qemu-system-x86_64-microvm -accel kvm -cpu host -nodefaults -no-user-config -nographic -no-reboot \
  -M microvm,kernel-irqchip=split,x-option-roms=off,pit=off,pic=off,rtc=on,auto-kernel-cmdline=off \
  -bios /g/qboot.rom -serial stdio -m 160 -kernel /g/6.1/vmlinux -initrd /g/6.1/initrd.cpio \
  -append "console=ttyS0 quiet reboot=t panic=-1 mote.mode=initrd" </dev/null >/tmp/console 2>&1
code=$?
cat /tmp/console
if [ $code -eq 0 ] && grep -q 'guest: end' /tmp/console && ! grep -q 'guest: FAILED' /tmp/console; then
  echo "ok kvm-lite-qemu-6.1"
else
  echo "not ok kvm-lite-qemu-6.1: QEMU ended with code $code"
  exit 1
fi
