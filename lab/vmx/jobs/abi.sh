# The same cases on Debian's kvm-intel, the oracle, and on kvm-lite: one line a case, and the table.
# Needs: kvm-abi kvm-intel
# shellcheck shell=dash
. /hosts.sh
failed=0
kvm-abi /dev/kvm-lite --ioctls >/tmp/lite-ioctls
kvm-abi /dev/kvm-lite 2>&1 | tee /tmp/lite | grep -v '^ok' | sed 's/^/kvm-lite: /'
ran=lite
# On the debug host kvm-intel makes lockdep complain, and stop.
if [ ! -e /proc/lockdep_stats ]; then
  on_kvm_intel 'kvm-abi /dev/kvm --ioctls >/tmp/intel-ioctls; kvm-abi /dev/kvm 2>&1 | tee /tmp/intel | grep "^total\|^not ok\|^unable" | sed "s/^/kvm-intel: /"'
  ran='intel lite'
fi
touch /tmp/intel /tmp/intel-ioctls

# outcome FILE CASE: ok, absent, unable, "not ok", or silent when the program ended before.
outcome() {
  line=$(sed -n "s/^\(ok\|not ok\|absent\|unable\) $2\(:.*\)\?\$/\1\2/p" "$1")
  echo "${line:-silent}"
}

sed -n 's/^case //p' /tmp/intel /tmp/lite | awk '!seen[$0]++' >/tmp/names
while read -r name; do
  intel=$(outcome /tmp/intel "$name")
  lite=$(outcome /tmp/lite "$name")
  case $lite in
    ok) echo "ok abi-$name (kvm-intel: $intel)" ;;
    absent*) echo "skip abi-$name: $lite (kvm-intel: $intel)" ;;
    *)
      echo "not ok abi-$name: kvm-lite: $lite (kvm-intel: $intel)"
      failed=1
      ;;
  esac
done </tmp/names
# The matrix: each ioctl's answer to a senseless argument. An unknown one of a vCPU is EINVAL with KVM.
printf '%-7s %-32s %-10s %s\n' level ioctl kvm-intel kvm-lite
awk '$1 != "ioctl" { next }
  FILENAME == ARGV[1] { intel[$2, $3] = $4; next }
  { printf "%-7s %-32s %-10s %s\n", $2, $3, intel[$2, $3], $4 }' /tmp/intel-ioctls /tmp/lite-ioctls
for file in $ran; do
  tail -n 1 /tmp/$file
  grep -q '^total' /tmp/$file && continue
  echo "not ok abi-complete: the program ended on $file in case $(sed -n 's/^case //p' /tmp/$file | tail -n 1)"
  failed=1
done
exit $failed
