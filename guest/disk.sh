# What the guest does to its root disk.

drop_caches() {
  sync
  echo 3 >/proc/sys/vm/drop_caches
}

# Writes files, forgets its caches, and reads them back from the device.
check_disk() {
  mkdir -p /data
  dd if=/dev/urandom of=/data/random bs=64k count=16 2>/dev/null
  sha256sum /data/random >/data/random.sha256
  argument token >/data/token
  drop_caches
  if sha256sum -c -s /data/random.sha256 && [ "$(cat /data/token)" = "$(argument token)" ]; then
    say "disk: 1 MiB written, synced and read back: $(cut -c 1-16 /data/random.sha256)..."
  else
    failed "disk: what was read back is not what was written"
  fi
}
