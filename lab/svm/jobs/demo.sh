# The demonstration of ./quickstart, inside the emulated host.
# Needs: mote kernel:6.1 disk:plain
exec /mote/scripts/demo /mote/build/cache/kernels/6.1/vmlinuz /mote/build/guest/initrd-6.1.cpio \
  /mote/build/guest/disk-plain.ext4
