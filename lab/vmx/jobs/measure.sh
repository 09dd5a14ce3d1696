# Instructions per exit, on Debian's kvm-intel and on kvm-lite, and their ratio.
# Needs: kvm-abi kvm-intel
# shellcheck shell=dash
. /hosts.sh
on_kvm_intel 'kvm-abi /dev/kvm --measure >/tmp/intel 2>&1' || exit 1
kvm-abi /dev/kvm-lite --measure >/tmp/lite 2>&1 || {
  cat /tmp/lite
  exit 1
}
printf '%-26s %10s %10s %6s\n' "instructions per" kvm-intel kvm-lite ratio
awk '$1 != "measure" { next }
  FNR == NR { intel[$2] = $3; next }
  { printf "%-26s %10d %10d %6.2f\n", $2, intel[$2], $3, $3 / intel[$2]; lines++ }
  END { exit lines < 9 }' /tmp/intel /tmp/lite || {
  echo "not ok measure: something was not measured"
  exit 1
}
echo "ok measure"
