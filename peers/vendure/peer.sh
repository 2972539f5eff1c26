#!/bin/bash
# Brings up Vendure, a web shop, from npm's registry by the lock file on a PostgreSQL of its own. Safe to
# run again.
#
#   peer.sh prepare   fetch, create and fill what is missing, start nothing
#   peer.sh up        fetch, create and fill what is missing, start; prints URL and credentials
#   peer.sh stop      stop both servers
#   peer.sh kill      end the shop as a power cut would (kill -9), its database stays
#   peer.sh restore   back to the data as first filled, and start (seconds)
#   peer.sh reset     stop, delete the data folder
#
# VENDURE_HOME             data folder (build-peers/vendure)
# NODE                     the program to run it with (node), 18 or later
# PENSTOCK_VENDURE_HOOK    where the shop's plug-in sends its messages (webhook.js); with …_SECRET
# The ports are free ones, kept in the data folder's file `ports` while a server runs.
#
# Packages: scripts/setup.sh test peers. Exits 3 where Node or npm's registry is missing.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${VENDURE_HOME:=$here/../../build-peers/vendure}"
: "${NODE:=node}"
mkdir -p "$VENDURE_HOME"
VENDURE_HOME=$(cd "$VENDURE_HOME" && pwd)
home=$VENDURE_HOME
prefix=VENDURE
# shellcheck source=peers/lib.sh
. "$here/../lib.sh"
turn_take
ports_take
db=shop

answers() { curl -sf -m 3 -o /dev/null "http://127.0.0.1:$port/health"; }

fetch() {
    command -v "$NODE" >/dev/null || { say "Node is not installed: scripts/setup.sh test brings it"; exit 3; }
    [ -e "$home/packages/installed" ] || say "Vendure: fetching its packages (half a minute, once) ..."
    local done=0
    $python "$here/../../scripts/npm_fetch.py" "$here" "$home/packages" || done=$?
    [ "$done" != 2 ] || exit 3
    [ "$done" = 0 ] || exit 1
}

# Starts the shop; with `schema` it makes its tables first.
shop_start() {
    ! answers || { alive || { say "port $port is taken by another"; exit 1; }; return 0; }
    VENDURE_PORT=$port VENDURE_PG_PORT=$pg_port VENDURE_DB=$db VENDURE_SCHEMA=$([ "${1:-}" != schema ] || echo 1) \
        VENDURE_DISABLE_TELEMETRY=true NODE_ENV=production NODE_PATH=$home/packages/node_modules \
        nohup "$NODE" --max-old-space-size=512 "$here/server.js" >"$home/vendure.log" 2>&1 </dev/null 9>&- &
    echo $! >"$pid"
    server_wait Vendure "$home/vendure.log"
}

fill() {
    # what is filled depends on the packages and on fill.js
    local mark; mark=$(cat "$here/package-lock.json" "$here/fill.js" | sha256sum)
    [ "$(cat "$home/filled" 2>/dev/null)" != "$mark" ] || return 0
    say "Vendure: making the shop (once) ..."
    server_end TERM
    rm -f "$home/filled"
    copy_of template0 "$db"
    PENSTOCK_VENDURE_HOOK='' shop_start schema
    "$NODE" "$here/fill.js" "http://127.0.0.1:$port" >"$home/fill.log" 2>&1 ||
        log_and_fail "the shop could not be filled" "$home/fill.log"
    server_end TERM
    copy_of "$db" "${db}_filled"
    printf '%s\n' "$mark" >"$home/filled"
}

stop_all() {
    server_end TERM
    database_stop
}

case "${1:-up}" in
up)
    fetch; database_start; fill; shop_start
    printf 'url=http://127.0.0.1:%s\nuser=hub@example.org\npassword=Hub-Signs-In-42\n' "$port" ;;
prepare) fetch; database_start; fill; stop_all ;;
stop) stop_all ;;
kill) server_end KILL ;;
restore)
    fetch; server_end TERM; database_start; fill
    copy_of "${db}_filled" "$db"
    shop_start
    printf 'url=http://127.0.0.1:%s\nuser=hub@example.org\npassword=Hub-Signs-In-42\n' "$port" ;;
reset) stop_all; rm -rf "$VENDURE_HOME" ;;
*) sed -n '2,/^set/p' "$0" | grep '^#' >&2; exit 2 ;;
esac
