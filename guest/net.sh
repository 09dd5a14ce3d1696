# What the guest does with its network card.

bring_up_net() {
  ip link set lo up
  tries=0
  while [ ! -e /sys/class/net/eth0 ] && [ $tries -lt 500 ]; do
    usleep 10000
    tries=$((tries + 1))
  done
  ip addr add "$guest_ip" dev eth0 && ip link set eth0 up || failed "net: eth0 cannot be set up"
}

# Fetches the host's page, which must carry the token of the command line.
check_fetch() {
  page=$(timeout 10 wget -q -O - "http://$host/page")
  case $page in
    *"$(argument token)"*) say "net: fetched http://$host/page: $page" ;;
    *) failed "net: http://$host/page answered \"$page\"" ;;
  esac
}

# Serves a page of its own until somebody asks for /cgi-bin/stop, for a minute at most or as long as
# mote.patience= says.
serve_until_stopped() {
  mkdir -p /run/www/cgi-bin
  echo "Served by a microVM: Linux $(uname -r), token $(cat /data/token), up $(cut -d ' ' -f 1 /proc/uptime) s" \
    >/run/www/index.html
  printf '#!/bin/busybox sh\nprintf "Content-type: text/plain\\r\\n\\r\\nstopping\\n"\n: >/run/stop\n' \
    >/run/www/cgi-bin/stop
  chmod +x /run/www/cgi-bin/stop
  httpd -p 80 -h /run/www
  say "net: serving http://${guest_ip%/*}/"
  tries=0
  patience=$(argument patience)
  while [ ! -e /run/stop ] && [ $tries -lt $((${patience:-60} * 20)) ]; do
    usleep 50000
    tries=$((tries + 1))
  done
  [ -e /run/stop ] || failed "net: nobody fetched my page"
  usleep 100000  # The answer to /cgi-bin/stop is still on its way.
}
