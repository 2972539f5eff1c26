# lib.sh: what the peers have in common. Sourced by peers/NAME/peer.sh, which has set
#
#   home     the data folder, absolute
#   prefix   of the names in the file `ports`: PREFIX_PORT (the system's), PREFIX_PG_PORT (its database's)
#
# Owns: the PostgreSQL cluster in $home/pg, the file $home/ports, the turn ($home/lock), the server whose
# process id is in $home/server.pid. Every port is on loopback.

python=/usr/bin/python3 # Debian's: it has the modules of the packages
postgres=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
pid=$home/server.pid

say() { printf '%s\n' "$*" >&2; }
log_and_fail() { say "$1:"; tail -30 "$2" >&2; exit 1; }
alive() { [ -s "$pid" ] && kill -0 "$(cat "$pid")" 2>/dev/null; }
# PostgreSQL refuses to run as root.
as_postgres() { if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }

# One command at a time; servers do not inherit the lock: start them with 9>&-.
turn_take() {
    exec 9>"$home/lock"
    flock 9
}

# Free ports, kept while the database runs: port and pg_port.
ports_take() {
    local file=$home/ports
    if [ ! -f "$file" ] || ! as_postgres "$postgres/pg_ctl" -D "$home/pg" status >/dev/null 2>&1; then
        $python - "$file" "$prefix" <<'PORTS'
import socket, sys
servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
with open(sys.argv[1], "w") as file:
    for name, server in zip(("PORT", "PG_PORT"), servers):
        file.write(f"{sys.argv[2]}_{name}={server.getsockname()[1]}\n")
PORTS
    fi
    port=$(sed -n "s/^${prefix}_PORT=//p" "$file")
    pg_port=$(sed -n "s/^${prefix}_PG_PORT=//p" "$file")
}

database_start() {
    if [ ! -f "$home/pg/PG_VERSION" ]; then
        mkdir -p "$home/pg"
        [ "$(id -u)" != 0 ] || chown postgres "$home/pg"
        chmod 700 "$home/pg"
        as_postgres "$postgres/initdb" -D "$home/pg" -U postgres -A trust -E UTF8 \
            --locale=C.UTF-8 >"$home/initdb.log" 2>&1 || log_and_fail "initdb failed" "$home/initdb.log"
    fi
    as_postgres "$postgres/pg_ctl" -D "$home/pg" status >/dev/null 2>&1 && return
    # no fsync: made-up data, which outlives killed processes, not a power cut
    as_postgres "$postgres/pg_ctl" -D "$home/pg" -w -l "$home/pg/server.log" \
        -o "-c listen_addresses=127.0.0.1 -c port=$pg_port -c unix_socket_directories='' -c fsync=off \
            -c full_page_writes=off -c synchronous_commit=off -c jit=off" \
        start >/dev/null 9>&- || log_and_fail "PostgreSQL does not start" "$home/pg/server.log"
}

database_stop() { as_postgres "$postgres/pg_ctl" -D "$home/pg" -m fast -w stop >/dev/null 2>&1 || true; }

sql() { psql -h 127.0.0.1 -p "$pg_port" -U postgres -d postgres -qAtc "$1"; }
# copy_of FROM TO: a database becomes a copy of another.
copy_of() { sql "drop database if exists \"$2\" with (force)" 2>/dev/null; sql "create database \"$2\" template \"$1\""; }

# Waits until the function `answers` says that the server does, which was started as $pid.
server_wait() {
    for _ in $(seq 600); do
        answers && return
        alive || break
        sleep 0.1
    done
    log_and_fail "$1 does not start" "$2"
}

# server_end TERM|KILL: the main process and its workers. One that hangs can not end: it goes on first.
server_end() {
    alive || { rm -f "$pid"; return 0; }
    local main; main=$(cat "$pid")
    kill -CONT "$main" $(pgrep -P "$main") 2>/dev/null || true
    if [ "$1" = KILL ]; then kill -KILL "$main" $(pgrep -P "$main") 2>/dev/null || true
    else kill -TERM "$main" 2>/dev/null || true; fi
    for _ in $(seq 200); do alive || break; sleep 0.1; done
    rm -f "$pid"
}
