#!/bin/bash
# Brings up Tryton 6 (Debian's packages) on a PostgreSQL of its own. Safe to run again.
#
#   peer.sh prepare   create and fill what is missing, start nothing
#   peer.sh up        create and fill what is missing, start; prints URL and credentials
#   peer.sh stop      stop both servers
#   peer.sh down      end the ERP in an orderly way, its database stays
#   peer.sh kill      end the ERP as a power cut would (kill -9), its database stays
#   peer.sh pause     the ERP hangs: it takes connections and does nothing; peer.sh resume: it goes on
#   peer.sh restore   back to the data as first filled, and start (seconds)
#   peer.sh configure DIR   write this database's ids into DIR/connectors/tryton/connector.yaml
#   peer.sh reset     stop, delete the data folder
#
# TRYTON_HOME     data folder (build-peers/tryton)
# TRYTON_WORKERS  processes of the ERP (1)
# The ports are free ones, kept in the data folder's file `ports` while a server runs.
#
# Packages: scripts/setup.sh peers
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${TRYTON_HOME:=$here/../../build-peers/tryton}"
: "${TRYTON_WORKERS:=1}"
mkdir -p "$TRYTON_HOME"
TRYTON_HOME=$(cd "$TRYTON_HOME" && pwd)
export TRYTON_HOME
home=$TRYTON_HOME
prefix=TRYTON
# shellcheck source=peers/lib.sh
. "$here/../lib.sh"
turn_take
ports_take
db=retail
conf=$home/trytond.conf

answers() {
    curl -sf -m 3 -H 'Content-Type: application/json' -o /dev/null \
        -d '{"id":0,"method":"common.server.version","params":[]}' "http://127.0.0.1:$port/"
}

configure() {
    cat >"$conf" <<CONF
[web]
listen = 127.0.0.1:$port
[database]
uri = postgresql://postgres@127.0.0.1:$pg_port/
language = en
list = False
[session]
timeout = 3600
[queue]
worker = False
CONF
}

# Two steps, each kept as a database of its own: the modules' tables, then the retailer's data.
# `filled` has the name of what it was filled with: another fill.py fills anew.
fill() {
    local filling; filling=$(sha256sum <"$here/fill.py")
    [ "$(cat "$TRYTON_HOME/filled" 2>/dev/null)" != "$filling" ] || return 0
    rm -f "$TRYTON_HOME/filled"
    server_end TERM
    if [ ! -e "$TRYTON_HOME/made" ]; then
        say "Tryton: making the database (two minutes, once) ..."
        copy_of template0 "$db"
        (umask 077; printf 'Admin-of-Tryton-7\n' >"$TRYTON_HOME/admin.password")
        TRYTONPASSFILE=$TRYTON_HOME/admin.password $python /usr/bin/trytond-admin -c "$conf" -d "$db" \
            --email admin@example.org -u sale --activate-dependencies \
            >"$TRYTON_HOME/admin.log" 2>&1 </dev/null || log_and_fail "no database" "$TRYTON_HOME/admin.log"
        copy_of "$db" "${db}_made"
        touch "$TRYTON_HOME/made"
    fi
    copy_of "${db}_made" "$db"
    $python "$here/fill.py" "$conf" "$db" >"$TRYTON_HOME/fill.log" 2>&1 ||
        log_and_fail "the database could not be filled" "$TRYTON_HOME/fill.log"
    copy_of "$db" "${db}_filled"
    printf '%s\n' "$filling" >"$TRYTON_HOME/filled"
}

erp_start() {
    ! answers || { alive || { say "port $port is taken by another"; exit 1; }; return 0; }
    TRYTOND_CONFIG=$conf TRYTOND_DATABASE_NAMES=$db nohup $python -m gunicorn \
        --bind "127.0.0.1:$port" --workers "$TRYTON_WORKERS" --threads 8 --timeout 120 \
        trytond.application:app >"$TRYTON_HOME/trytond.log" 2>&1 </dev/null 9>&- &
    echo $! >"$pid"
    server_wait Tryton "$TRYTON_HOME/trytond.log"
}

erp_signal() {
    alive || { say "Tryton does not run"; exit 1; }
    local main; main=$(cat "$pid")
    kill "-$1" "$main" $(pgrep -P "$main")
}

configure_hub() {
    $python - "$TRYTON_HOME/ids.json" "$1/connectors/tryton/connector.yaml" <<'SETTINGS'
import json, re, sys
settings = json.load(open(sys.argv[1], encoding="utf-8"))["settings"]
text = open(sys.argv[2], encoding="utf-8").read()
for name, value in settings.items():
    text, found = re.subn(rf"(?m)^  {name}: .*$", lambda line: f"  {name}: {json.dumps(value)}", text)
    if found != 1:
        sys.exit(f"{sys.argv[2]} has no setting {name}")
open(sys.argv[2], "w", encoding="utf-8").write(text)
SETTINGS
}

stop_all() {
    server_end TERM
    database_stop
}

case "${1:-up}" in
up)
    database_start; configure; fill; erp_start
    printf 'url=http://127.0.0.1:%s/%s/\nuser=hub\npassword=Hub-Signs-In-42\nids=%s\n' \
        "$port" "$db" "$TRYTON_HOME/ids.json" ;;
prepare) database_start; configure; fill; stop_all ;;
stop) stop_all ;;
down) server_end TERM ;;
kill) server_end KILL ;;
pause) erp_signal STOP ;;
resume) erp_signal CONT ;;
configure) configure_hub "${2:?peer.sh configure DIR}" ;;
restore)
    server_end TERM; database_start; configure; fill
    copy_of "${db}_filled" "$db"
    erp_start ;;
reset) stop_all; rm -rf "$TRYTON_HOME" ;;
*) sed -n '2,/^set/p' "$0" | grep '^#' >&2; exit 2 ;;
esac
