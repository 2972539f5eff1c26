"""What TLS and connections cost: plain and TLS in turn, in one run, on one hub.

    ninja -C build bench/tls_clients && python3 bench/bench_tls.py [--quick]

Orders over kept connections (wrk), connections made anew (whole handshakes and resumed ones),
and the memory of idle ones. CPU per unit is that of all the hub's threads. Prints Markdown.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data  # noqa: E402
from rig import Broken, Hub, cpu_seconds, free_port  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SETTLE_S = 8  # idle connections have given back by then what they do not need


def say(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--penstock", default=os.path.join(ROOT, "build", "penstock"))
    parser.add_argument("--clients", default=os.path.join(ROOT, "build", "bench", "tls_clients"))
    parser.add_argument("--quick", action="store_true", help="1 s a point, one round")
    parser.add_argument("--seconds", type=int, help="of one point in one round (3)")
    parser.add_argument("--rounds", type=int, help="(3)")
    parser.add_argument("--connections", type=int, default=64, help="that are kept, for orders")
    parser.add_argument("--idle", type=int, help="connections (10000; 2000 with --quick)")
    given = parser.parse_args()
    given.seconds = given.seconds or (1 if given.quick else 3)
    given.rounds = given.rounds or (1 if given.quick else 3)
    given.idle = given.idle or (2000 if given.quick else 9000 if limited(10100) else 10000)
    return given


def limited(files):
    """Raises the limit of open files; true where it stays below."""
    import resource
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard != resource.RLIM_INFINITY and hard < files


def certificate(dir_):
    cert, key = os.path.join(dir_, "hub.pem"), os.path.join(dir_, "hub.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
                    "-nodes", "-keyout", key, "-out", cert, "-days", "30", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost"],
                   check=True, stderr=subprocess.DEVNULL)
    return cert, key


def anonymous_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("RssAnon"))


class Bench:
    def __init__(self, given, dir_):
        self.given, self.dir, self.run = given, dir_, 10
        self.cert, self.key = certificate(dir_)
        self.tls_port = free_port()
        self.hub = Hub(os.path.abspath(given.penstock), dir_, 2,
                       ["--tls-listen", f"127.0.0.1:{self.tls_port}", "--tls-cert", self.cert,
                        "--tls-key", self.key], {"PENSTOCK_CONNECTIONS_MAX": "30000"})
        self.orders_file = os.path.join(dir_, "orders")
        with open(self.orders_file, "w", encoding="utf-8") as file:
            for line in data.orders(5000, 2000, 2):
                file.write(line + "\n")
        self.hub.count_stock(2000, 2, say)
        self.hub.settle()

    def orders(self, tls):
        """One load of orders over kept connections: (per second, CPU us each)."""
        given = self.given
        self.run += 1
        env = {**os.environ, "BENCH_DIR": os.path.join(HERE, "wrk"), "BENCH_FILE": self.orders_file,
               "BENCH_KEY": self.hub.key, "BENCH_RUN": f"{self.run:02d}"}
        url = f"https://localhost:{self.tls_port}/" if tls else f"http://127.0.0.1:{self.hub.port}/"
        before = cpu_seconds(self.hub.pid)
        done = subprocess.run(
            ["wrk", "-t", "2", "-c", str(given.connections), "-d", f"{given.seconds}s", "-s",
             os.path.join(HERE, "wrk", "orders.lua"), url],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60 + given.seconds,
            check=False)
        text = done.stdout.decode(errors="replace")
        result = next((line[7:] for line in text.split("\n") if line.startswith("RESULT ")), None)
        if not result:
            raise Broken(f"wrk: {text[-600:]}")
        result = json.loads(result)
        self.hub.settle()
        if result["status_errors"] or result["socket_errors"]:
            raise Broken(f"answers failed: {result}")
        cpu = cpu_seconds(self.hub.pid) - before
        return result["requests"] / (result["duration_us"] / 1e6), cpu / result["requests"] * 1e6

    def clients(self, *args):
        done = subprocess.run([self.given.clients, *map(str, args)], stdout=subprocess.PIPE,
                              timeout=120, check=True)
        return json.loads(done.stdout)

    def connects(self, port, *more):
        """Connections made anew, one request each: (per second, CPU us of the hub, of the client)."""
        before = cpu_seconds(self.hub.pid)
        got = self.clients("connect", port, self.given.seconds, 8, *more)
        cpu = cpu_seconds(self.hub.pid) - before
        if got["failed"] or not got["done"]:
            raise Broken(f"connections failed: {got}\n{self.hub.tail()}")
        if "resume" in more and got["resumed"] < got["done"] * 0.95:
            raise Broken(f"not resumed: {got}")
        return got["done"] / got["seconds"], cpu / got["done"] * 1e6, got["cpu_s"] / got["done"] * 1e6

    def idle(self, tls):
        """KiB of the hub's own memory for each connection that is open and idle: of a hub that has
        done nothing else, so that nothing freed before is used again."""
        self.hub.stop()
        tls_port = free_port()
        folder = os.path.join(self.dir, "idle-tls" if tls else "idle-plain")
        os.makedirs(folder)
        hub = Hub(os.path.abspath(self.given.penstock), folder, 2,
                  ["--tls-listen", f"127.0.0.1:{tls_port}", "--tls-cert", self.cert, "--tls-key", self.key],
                  {"PENSTOCK_CONNECTIONS_MAX": "30000"})
        port, more = (tls_port, [self.cert]) if tls else (hub.port, [])
        try:
            for number in (100, self.given.idle):  # the first alone makes what stays
                before = anonymous_kib(hub.pid)
                with subprocess.Popen([self.given.clients, "idle", str(port), str(number), *more],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
                    opened = json.loads(client.stdout.readline())["opened"]
                    if opened != number:
                        raise Broken(f"{opened} of {number} connections could be opened")
                    time.sleep(SETTLE_S)
                    kib = (anonymous_kib(hub.pid) - before) / number
                    client.stdin.close()
                time.sleep(1)
        finally:
            hub.stop()
        return kib

    def stop(self):
        self.hub.stop()


def median(rows):
    return [statistics.median(column) for column in zip(*rows)]


def main():
    given = arguments()
    dir_ = tempfile.mkdtemp(prefix="penstock-bench-", dir=os.environ.get("TMPDIR", "/var/tmp"))
    bench = Bench(given, dir_)
    try:
        rows = {}
        for number in range(given.rounds):
            for name, run in {
                "orders plain": lambda: bench.orders(False),
                "orders TLS": lambda: bench.orders(True),
                "connections plain": lambda: bench.connects(bench.hub.port),
                "connections TLS, whole": lambda: bench.connects(bench.tls_port, bench.cert),
                "connections TLS, resumed": lambda: bench.connects(bench.tls_port, bench.cert, "resume"),
            }.items():
                rows.setdefault(name, []).append(run())
                say(f"{number + 1}/{given.rounds} {name}: " + ", ".join(f"{x:.1f}" for x in rows[name][-1]))
        plain_kib, tls_kib = bench.idle(False), bench.idle(True)
        middle = {name: median(values) for name, values in rows.items()}
        ratio = statistics.median(t[0] / p[0] for p, t in zip(rows["orders plain"], rows["orders TLS"]))
        print("| | per s | CPU us of the hub each | CPU us of the client each |\n| --- | ---: | ---: | ---: |")
        for name, values in middle.items():
            print(f"| {name} | {values[0]:.0f} | {values[1]:.1f} | "
                  f"{f'{values[2]:.1f}' if len(values) > 2 else '-'} |")
        both = middle["connections TLS, resumed"]
        by_cpu = statistics.median(p[1] / t[1] for p, t in zip(rows["orders plain"], rows["orders TLS"]))
        print(f"\nOrders over TLS run at {ratio:.2f} of plain, by CPU {by_cpu:.2f}. "
              f"An idle connection takes {plain_kib:.1f} KiB in plain, {tls_kib:.1f} KiB with TLS "
              f"({given.idle} of each). By CPU, two cores that nothing else uses would make "
              f"{2e6 / (both[1] + both[2]):.0f} resumed connections/s, clients included.")
    finally:
        bench.stop()
        shutil.rmtree(dir_, ignore_errors=True)


if __name__ == "__main__":
    main()
