# How a client drives one mote process: start it, PUT JSON to its socket, follow the guest's console,
# wait for its end. Sourced by scripts/demo and by the lab's jobs. Uses:
#   $work  a folder of the caller's own, removed by the caller
# shellcheck shell=bash

mote=${MOTE:-$repo/build/release/monitor/mote}

# Address plan of one TAP: the host's side and the guest's.
host_ip=172.16.0.1
guest_ip=172.16.0.2
kernel_args="console=ttyS0 quiet reboot=k panic=-1 ${MOTE_GUEST_ARGS:-}"

# make_tap NAME [OPTION...]: a TAP with the host's address, gone with the network namespace.
make_tap() {
  ip tuntap add dev "$1" mode tap vnet_hdr "${@:2}"
  ip addr add "$host_ip/30" dev "$1"
  ip link set "$1" up
}

# start_mote [ARGUMENT...]: returns when its API answers. Console in $work/console, log in $work/log.
start_mote() {
  rm -f "$work/ready" "$work/api.sock"
  mkfifo "$work/ready"
  "$mote" --api-sock "$work/api.sock" --id demo --log-path "$work/log" --show-level \
    --ready-fd 3 "$@" 3>"$work/ready" </dev/null >"$work/console" 2>"$work/stderr" &
  mote_pid=$!
  local byte
  if ! read -r -N 1 -t 20 byte <"$work/ready"; then
    cat "$work/stderr" >&2
    die "mote did not become ready"
  fi
}

# api METHOD PATH [JSON]: prints the answer's body; fails, telling why, unless its status is 2xx.
api() {
  local answer status
  answer=$(curl -sS --max-time 20 --unix-socket "$work/api.sock" -X "$1" "http://localhost$2" \
    ${3:+-H 'Content-Type: application/json' -d "$3"} -w '\n%{http_code}') || return 1
  status=${answer##*$'\n'}
  answer=${answer%$'\n'*}
  [ -z "${api_verbose:-}" ] || note "$1 $2 ${3:-} -> $status"
  case $status in
    2*) printf '%s' "$answer" ;;
    *)
      note "$1 $2 answered $status: $answer"
      return 1
      ;;
  esac
}

# wait_for PATTERN FILE SECONDS: until a line matches; fails when mote ends first or the time is up.
wait_for() {
  local deadline=$((SECONDS + $3))
  until grep -q -e "$1" "$2" 2>/dev/null; do
    if ! kill -0 "$mote_pid" 2>/dev/null && ! grep -q -e "$1" "$2"; then
      note "mote ended before \"$1\" was seen"
      return 1
    fi
    if [ "$SECONDS" -ge "$deadline" ]; then
      note "\"$1\" was not seen within $3 s"
      return 1
    fi
    sleep 0.05
  done
}

# wait_for_end SECONDS: until mote ends; returns its exit code, or 124 (and kills it) when it does not.
wait_for_end() {
  local deadline=$((SECONDS + $1)) code=0
  while kill -0 "$mote_pid" 2>/dev/null; do
    if [ "$SECONDS" -ge "$deadline" ]; then
      kill -9 "$mote_pid" 2>/dev/null
      wait "$mote_pid" 2>/dev/null
      return 124
    fi
    sleep 0.02
  done
  wait "$mote_pid" || code=$?
  return "$code"
}

# boot_phase NAME: microseconds since process start at which the phase was reached, from the last
# metrics line.
boot_phase() {
  sed -n 's/.*"boot":{\([^}]*\)}.*/\1/p' "$work/metrics" | tail -n 1 | tr ',' '\n' |
    sed -n "s/\"$1\"://p"
}
