"""The two servers under load and what is read from them: nginx with fixed answers as the
yardstick, the hub with its own configuration in a folder that is thrown away.

Owns the processes; what is started here is ended here. CPU and memory come from /proc.
"""
import http.client
import json
import os
import signal
import socket
import subprocess
import time
import urllib.parse

import data

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
WEBHOOK_SECRET = "bench-webhook-secret"
START_LIMIT_S = 60
# about 300 bytes, the size of the hub's own answer to an order
FIXED_ORDER = json.dumps({
    "order_id": "ord_01jd3f0q5f8x2c9v7w4t6y1z3a", "state": "accepted", "version": 1,
    "correlation_id": "0af7651916cd43dd8448eb211c80319c",
    "reservations": [{"line_id": str(n), "location": "WH-01", "quantity": "1"} for n in range(1, 4)]})
FIXED_AVAILABILITY = json.dumps({"items": [{
    "sku": "SKU-000001", "location": "WH-01", "on_hand": "1000000", "held": "0",
    "committed": "2", "reserved": "2", "safety": "0", "in_transit": "0", "available": "999998",
    "version": 7}]})

NGINX_CONF = """
worker_processes 2;
daemon off;
master_process on;
pid {dir}/nginx.pid;
error_log {dir}/error.log;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type application/json;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
    client_body_buffer_size 64k;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /v1/orders {{ return 201 '{order}'; }}
        location /v1/availability {{ return 200 '{availability}'; }}
        location /x/ {{ return 202 '{order}'; }}
    }}
}}
"""


class Broken(Exception):
    """The measurement can not go on; the text says why."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def process_ids(pid):
    """The process and its children, for servers that fork workers."""
    found = [pid]
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
            for child in file.read().split():
                found += process_ids(int(child))
    except OSError:
        pass
    return found


def cpu_seconds(pid):
    """User and system time of a process, its threads and its children, so far."""
    total = 0
    for each in process_ids(pid):
        try:
            with open(f"/proc/{each}/stat", encoding="ascii") as file:
                fields = file.read().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        except OSError:
            continue
    return total / TICKS_PER_S


def memory_mib(pid, field="VmRSS"):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    return 0


class Server:
    """A process that listens on a port of this machine."""

    def __init__(self, name, args, port, dir_, env=None):
        self.name, self.port, self.dir = name, port, dir_
        self.log = os.path.join(dir_, name + ".log")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=env)

    @property
    def pid(self):
        return self.process.pid

    def await_answer(self, path, headers=None):
        deadline = time.monotonic() + START_LIMIT_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Broken(f"{self.name} ended by itself:\n{self.tail()}")
            try:
                if self.request("GET", path, headers=headers)[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise Broken(f"{self.name} did not answer within {START_LIMIT_S} s:\n{self.tail()}")

    def request(self, method, path, body=None, headers=None, timeout=600):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            link.request(method, path, body=body, headers=headers or {})
            answer = link.getresponse()
            return answer.status, answer.read()
        finally:
            link.close()

    def settle(self, limit_s=60):
        """Waits until the process is quiet: work that follows an answer (the read model, a
        checkpoint) belongs to the request and is waited for, to be counted."""
        deadline, before = time.monotonic() + limit_s, cpu_seconds(self.pid)
        while time.monotonic() < deadline:
            time.sleep(0.5)
            now = cpu_seconds(self.pid)
            if now - before <= 0.02:
                return
            before = now

    def tail(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-20:])

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def start_nginx(dir_):
    port = free_port()
    here = os.path.join(dir_, "nginx")
    os.makedirs(here, exist_ok=True)
    conf = os.path.join(here, "nginx.conf")
    with open(conf, "w", encoding="utf-8") as file:
        file.write(NGINX_CONF.format(dir=here, port=port, order=FIXED_ORDER,
                                     availability=FIXED_AVAILABILITY,
                                     user="user root;" if os.geteuid() == 0 else ""))
    program = next((p for p in ("/usr/sbin/nginx", "/usr/local/sbin/nginx") if os.path.exists(p)),
                   "nginx")
    server = Server("nginx", [program, "-e", os.path.join(here, "error.log"), "-c", conf], port,
                    here)
    server.await_answer("/v1/availability")
    return server


def write_configuration(program, dir_, locations):
    """A hub as `init` writes it, with the benchmark's channels and locations in place."""
    subprocess.run([program, "init", dir_], check=True, stdout=subprocess.DEVNULL)
    with open(os.path.join(dir_, "locations.yaml"), "w", encoding="utf-8") as file:
        for number in range(locations):
            name = data.location_name(number)
            file.write(f"- {{location: {name}, kind: warehouse, name: {name}, "
                       "time_zone: Europe/Berlin}\n")
    with open(os.path.join(dir_, "penstock.yaml"), "w", encoding="utf-8") as file:
        file.write("cell: main\nlocations: locations.yaml\nchannels:\n")
        sources = [(data.channel_name(n), data.location_name(n)) for n in range(locations)]
        # the channel that the shipped shop connector sells for
        sources.append(("web-de", data.location_name(0)))
        for channel, location in sources:
            file.write(f"  - channel: {channel}\n    name: {channel}\n"
                       "    time_zone: Europe/Berlin\n    currency: EUR\n"
                       f"    sourcing: [{location}]\n    on_shortage: refuse\n")


class Hub(Server):
    """The hub under test, with all of its stock counted in."""

    def __init__(self, program, dir_, locations, more=(), env=None):
        self.configuration = os.path.join(dir_, "hub")
        if not os.path.exists(self.configuration):
            write_configuration(program, self.configuration, locations)
        made = subprocess.run([program, "key", "create", "-C", self.configuration, "--name",
                               "bench", "--scope", "*"], check=True, stdout=subprocess.PIPE)
        self.key = made.stdout.decode().strip()
        port = free_port()
        super().__init__("hub", [program, "serve", "-C", self.configuration, "--listen",
                                 f"127.0.0.1:{port}", *more], port, dir_,
                         env={**os.environ, "SHOPIFY_WEBHOOK_SECRET": WEBHOOK_SECRET,
                              "PENSTOCK_TOKEN_SECONDS": "86400", **(env or {})})
        self.await_answer("/readyz")

    def headers(self, kind="application/json"):
        return {"Authorization": "Bearer " + self.key, "Content-Type": kind}

    def token(self):
        """A token of the hub's own with every scope by name: as long as those of identity
        providers are."""
        about = json.loads(self.request("GET", "/.well-known/oauth-authorization-server")[1])
        form = urllib.parse.urlencode({
            "grant_type": "client_credentials", "client_id": self.key[:15],
            "client_secret": self.key[16:], "scope": " ".join(about["scopes_supported"])})
        status, answer = self.request("POST", "/oauth2/token", form.encode(),
                                      {"Content-Type": "application/x-www-form-urlencoded"})
        if status != 200:
            raise Broken(f"no token: {status} {answer!r}")
        return json.loads(answer)["access_token"]

    def count_stock(self, skus, locations, say):
        """Every position of the benchmark gets its stock, by NDJSON bulk, 100 000 to a call."""
        lines, began, total = [], time.monotonic(), skus * locations
        done = 0
        for line in data.counts(skus, locations):
            lines.append(line)
            if len(lines) == 100000 or done + len(lines) == total:
                status, answer = self.request("POST", "/v1/stock/counts", "".join(lines).encode(),
                                              self.headers("application/x-ndjson"))
                good = answer.count(b'"status":201')
                if status != 200 or good != len(lines):
                    raise Broken(f"stock counts: status {status}, {good} of {len(lines)} lines "
                                 f"taken; first: {answer[:300]!r}")
                done += len(lines)
                lines = []
                say(f"  {done} of {total} positions counted")
        return total / (time.monotonic() - began)
