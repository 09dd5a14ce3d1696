# A stock Linux guest with disk and network, its monitor in a jail: user 65534, seccomp, Landlock, a
# control group, nothing of the host in sight.
# Needs: mote jailer kernel:6.1 disk:plain
. /mote/lab/svm/monitors.sh
serve_page user 65534
jailer=${mote%/monitor/mote}/jailer/jailer
grep -q ' cgroup2 ' /proc/mounts || mount -t cgroup2 none /sys/fs/cgroup
chmod 755 "$work"
mkdir "$work/jails"

start_jailed() {
  plain_guest 6.1
  cp "$guests/disk-plain.ext4" "$work/disk.ext4"
  chown 65534:65534 "$work/disk.ext4"
  : >"$work/console"
  "$jailer" --id vm1 --exec-file "$mote" --uid 65534 --gid 65534 --chroot-base-dir "$work/jails" \
    --cgroup pids.max=64 --resource-limit no-file=256 \
    --bind "$kernel=vmlinux:ro" --bind "$initrd=initrd:ro" --bind "$work/disk.ext4=disk" \
    -- --api-sock /run/api.sock </dev/null >"$work/console" 2>"$work/stderr" &
  mote_pid=$!
  jail=$work/jails/mote/vm1/root
  local left=200
  until [ -S "$jail/run/api.sock" ]; do
    left=$((left - 1))
    [ $left -gt 0 ] && kill -0 $mote_pid || return 1
    sleep 0.05
  done
  ln -sf "$jail/run/api.sock" "$work/api.sock"
}

boots_in_jail() {
  start_jailed || {
    reason="the jailed monitor did not start"
    return 1
  }
  args+=" mote.mode=check mote.ip=$guest_ip/30 mote.host=$host_ip mote.token=$token"
  api PUT /machine-config '{"vcpu_count":1,"mem_size_mib":128}' &&
    api PUT /boot-source "{\"kernel_image_path\":\"/vmlinux\",\"initrd_path\":\"/initrd\",\"boot_args\":\"$args\"}" &&
    api PUT /drives/root '{"drive_id":"root","path_on_host":"/disk","is_root_device":false,"is_read_only":false}' &&
    api PUT /network-interfaces/eth0 '{"iface_id":"eth0","host_dev_name":"tap0"}' &&
    api PUT /actions '{"action_type":"InstanceStart"}' || return 1
  wait_for 'guest: init runs' "$work/console" 60 || return 1
  cp "/proc/$mote_pid/status" "$work/status"
  cat /proc/"$mote_pid"/task/*/status >"$work/threads"
  cp "/proc/$mote_pid/cgroup" "$work/cgroup"
  ls -A "/proc/$mote_pid/root" | sort | tr '\n' ' ' >"$work/root"
  ended_well 90 || return 1
  if [ "$(debugfs -R 'cat /data/token' "$work/disk.ext4" 2>/dev/null)" != "$token" ]; then
    reason="what the guest wrote is not on the disk"
    return 1
  fi
}

# is PATTERN FILE: said as the reason when it is not so.
is() {
  grep -q -e "$1" "$2" && return
  reason="no \"$1\" in $(tr '\n' ' ' <"$2")"
  return 1
}

is_nobody() {
  is '^Uid:.65534.65534.65534.65534$' "$work/status" && is '^Gid:.65534.65534.65534.65534$' "$work/status" &&
    is '^CapEff:.0*$' "$work/status" && is '^CapBnd:.0*$' "$work/status" &&
    is '^NoNewPrivs:.1$' "$work/status" && is '/mote/vm1$' "$work/cgroup" && is '^dev disk initrd mote.pid run vmlinux $' "$work/root"
}

every_thread_has_filters() {
  # The jail's, the loop's, and on the vCPU's thread its own.
  [ "$(grep -c '^Seccomp:.2$' "$work/threads")" -eq "$(grep -c '^Pid:' "$work/threads")" ] &&
    is '^Seccomp_filters:.2$' "$work/threads" && is '^Seccomp_filters:.3$' "$work/threads"
}

check jail-boot boots_in_jail
check jail-nobody is_nobody
check jail-filters every_thread_has_filters
[ "$broken" -eq 0 ]
