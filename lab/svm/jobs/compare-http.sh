# Cold start as a caller sees it: from exec of the monitor to the first byte of an HTTP answer that
# the guest serves, Mote and QEMU microvm, same kernel and disk, interleaved. Arguments: [RUNS]
# Needs: mote kernel:6.1 disk:plain
. /mote/lab/svm/monitors.sh
. /mote/lab/svm/timing.sh
runs=${1:-5}

serve_page
# Asks until the guest answers; each try ends soon, as the guest's address is silent at first.
first_answer() {
  local tries=0
  until curl -s -o /dev/null --connect-timeout 0.1 --max-time 2 "http://$guest_ip/"; do
    tries=$((tries + 1))
    [ $tries -lt 400 ] && kill -0 "$mote_pid" 2>/dev/null || return 1
  done
}

for run in $(seq 0 "$runs"); do
  for monitor in mote qemu; do
    prepare_case $monitor:6.1 demo
    tap=tap0
    args+=" mote.ip=$guest_ip/30 mote.host=$host_ip mote.token=$token"
    ip neigh flush dev tap0
    start=$EPOCHREALTIME
    start_monitor $monitor
    first_answer || die "$monitor: no answer: $(tail -n 5 "$work/console" "$work/stderr")"
    ms=$(ms_between "$start" "$EPOCHREALTIME")
    curl -s -o /dev/null --max-time 5 "http://$guest_ip/cgi-bin/stop"
    ended_well 60 || die "$monitor: $reason"
    [ "$run" -gt 0 ] || continue
    echo "run $run $monitor: exec to first HTTP byte $ms ms"
    keep $monitor:6.1 http.first_byte "$ms"
  done
done
m=$(median "$work/mote:6.1.http.first_byte") q=$(median "$work/qemu:6.1.http.first_byte")
echo "median exec to first HTTP byte: mote $m ms, qemu microvm $q ms, ratio $(ratio "$m" "$q")"
