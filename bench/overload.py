"""python3 bench/overload.py: what customers at the checkout notice when five times as much comes as the
hub can do.

A polite shop sends orders at a pace well below what the hub can do. First it is alone; then
others of less important classes ask for five times of what the hub could do for them; then
greedy callers send orders, five times as many as the hub can take. What counts is the polite shop:
its p99 against the one it has alone, its answered orders a second likewise. Load generators and
hub share the CPUs, so that part of the difference is theirs: what calls of the checkout took inside
the hub, by its own histogram (header to answer; of the greedy ones as well), is told beside.

Prints a table for docs/performance.md, section "Overload".
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import data  # noqa: E402
from rig import Broken, Hub, cpu_seconds  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
SKUS, LOCATIONS = 1000, 2
MARK = "@" * 16


def say(text):
    print(text, file=sys.stderr, flush=True)


class Flow:
    """One wrk: a key, a method, a file of what to send, connections, a pause."""

    runs = 10

    def __init__(self, bench, name, key, method, file, connections, threads=1):
        self.bench, self.name, self.key = bench, name, key
        self.method, self.file = method, file
        self.connections, self.threads = connections, threads

    def start(self, seconds, rate=None):
        """`rate`: so many a second in all; None: as fast as it goes."""
        Flow.runs += 1
        pause = 0 if rate is None else max(1, round(self.connections / rate * 1000))
        env = {**os.environ, "BENCH_DIR": os.path.join(HERE, "wrk"), "BENCH_FILE": self.file,
               "BENCH_KEY": self.key, "BENCH_METHOD": self.method, "BENCH_RUN": f"{Flow.runs:02d}",
               "BENCH_PAUSE_MS": str(pause)}
        self.process = subprocess.Popen(
            ["wrk", "-t", str(self.threads), "-c", str(self.connections), "-d", f"{seconds}s",
             "--timeout", "10s", "-s", os.path.join(HERE, "wrk", "paced.lua"),
             f"http://127.0.0.1:{self.bench.hub.port}/"],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return self

    def end(self):
        text = self.process.communicate(timeout=120)[0].decode(errors="replace")
        result = next((l[7:] for l in text.split("\n") if l.startswith("RESULT ")), None)
        if self.process.returncode != 0 or not result:
            raise Broken(f"wrk {self.name}: {text[-600:]}")
        result = json.loads(result)
        seconds = result["duration_us"] / 1e6
        failed = result["status_errors"] + result["socket_errors"]
        return {"per_s": (result["requests"] - failed) / seconds, "failed": failed,
                "asked_per_s": result["requests"] / seconds,
                "p50_ms": result["p50_us"] / 1000, "p99_ms": result["p99_us"] / 1000}


class Bench:
    def __init__(self, given, dir_):
        self.given, self.dir = given, dir_
        self.hub = Hub(os.path.abspath(given.penstock), dir_, LOCATIONS)
        self.hub.count_stock(SKUS, LOCATIONS, lambda text: None)
        orders = [f"/v1/orders {body}" for body in data.orders(2000, SKUS, LOCATIONS)]
        adjust = ['/v1/stock/adjustments {"sku":"%s","location":"%s","delta":"1","reason":"found"}'
                  % (data.sku_name(n % SKUS), data.location_name(0)) for n in range(1000)]
        self.files = {
            "orders": self.write("orders", orders), "adjust": self.write("adjust", adjust),
            "list": self.write("list", [f"/v1/orders?limit={n}" for n in (20, 50, 100)]),
            "ops": self.write("ops", ["/ops/overview"])}

    def write(self, name, lines):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return path

    def key(self, name):
        done = subprocess.run([self.given.penstock, "key", "create", "-C", self.hub.configuration,
                               "--name", name, "--scope", "*"], check=True, stdout=subprocess.PIPE)
        return done.stdout.decode().strip()

    def flow(self, name, kind, connections, threads=1):
        method = "GET" if kind in ("list", "ops") else "POST"
        return Flow(self, name, self.key(name), method, self.files[kind], connections, threads)

    def figures(self):
        """Calls shed so far, by class, and the hub's own histogram of checkout: {bound: count}."""
        text = self.hub.request("GET", "/metrics", headers=self.hub.headers())[1].decode()
        shed, bounds = {}, {}
        for line in text.split("\n"):
            if line.startswith("penstock_admission_shed_total{"):
                shed[line.split('"')[1]] = int(float(line.split()[-1]))
            if line.startswith('penstock_http_request_seconds_bucket{class="checkout"'):
                bounds[float(line.split('"')[3].replace("+Inf", "inf"))] = float(line.split()[-1])
        return shed, bounds

    def load(self, polite, rate, others, seconds):
        """Others first, so that the hub has found its way when the polite one is measured."""
        cpu = cpu_seconds(self.hub.pid)
        running = [flow.start(seconds + 4, offered) for flow, offered in others]
        if running:
            time.sleep(3)
        before, bounds = self.figures()
        result = polite.start(seconds, rate).end()
        after, bounds_after = self.figures()
        result["inside"] = [1000 * quantile({b: n - bounds[b] for b, n in bounds_after.items()}, q)
                            for q in (0.5, 0.99)]
        for flow, _ in others:
            figures = flow.end()
            say(f"    {flow.name}: asked {figures['asked_per_s']:.0f}/s, "
                f"answered {figures['per_s']:.0f}/s")
            result["offered"] = result.get("offered", 0) + figures["asked_per_s"]
        result["shed"] = {c: n - before.get(c, 0) for c, n in after.items() if n > before.get(c, 0)}
        result["cpu"] = (cpu_seconds(self.hub.pid) - cpu) / (seconds + (4 if running else 0))
        self.hub.settle()
        say(f"  polite: {result['per_s']:.0f}/s of {rate:.0f}, p50 {result['p50_ms']:.2f} ms, "
            f"p99 {result['p99_ms']:.2f} ms, inside the hub {result['inside'][0]:.2f} and "
            f"{result['inside'][1]:.2f} ms, failed {result['failed']}, shed {result['shed']}, "
            f"hub {result['cpu']:.2f} CPUs")
        return result

    def capacity(self, kind, connections=64):
        return self.flow("capacity-" + kind, kind, connections).start(2).end()["per_s"]

    def run(self):
        seconds = self.given.seconds
        can = {kind: self.capacity(kind) for kind in ("orders", "adjust", "list", "ops")}
        say("  the hub can do: " + ", ".join(f"{k} {v:.0f}/s" for k, v in can.items()))
        rate = can["orders"] * self.given.part
        polite = self.flow("polite", "orders", 32)
        polite.start(2, rate).end()
        alone = self.load(polite, rate, [], seconds)
        rows = [("alone", alone)]
        others = [(self.flow("reader", "list", 128), 2 * can["list"]),
                  (self.flow("stock", "adjust", 128), 2 * can["adjust"]),
                  (self.flow("dashboard", "ops", 64), 1 * can["ops"])]
        rows.append(("5 x of less important classes", self.load(polite, rate, others, seconds)))
        greedy = [(self.flow(f"greedy-{n}", "orders", 100), can["orders"] * 5 / 4) for n in range(4)]
        rows.append(("5 x of orders by greedy callers", self.load(polite, rate, greedy, seconds)))
        rows.append(("alone again", self.load(polite, rate, [], seconds)))
        return can, rows

    def stop(self):
        self.hub.stop()


def quantile(buckets, q):
    """Of cumulated counts by upper bound, even within a bucket."""
    total, below, last = max(buckets.values()), 0, 0.0
    for bound, count in sorted(buckets.items()):
        if count >= q * total:
            if bound == float("inf"):
                return last
            return last + (bound - last) * (q * total - below) / max(count - below, 1)
        below, last = count, bound
    return last


def table(can, rows):
    alone = rows[0][1]
    lines = ["| | polite orders/s | of alone | p50 ms | p99 ms | of alone | inside p50 | inside p99 |"
             " of alone | failed | others asked/s | shed | hub CPUs |", "| --- |" + " ---: |" * 12]
    for name, row in rows:
        shed = ", ".join(f"{c} {n}" for c, n in row["shed"].items()) or "-"
        lines.append(f"| {name} | {row['per_s']:.0f} | {row['per_s'] / alone['per_s']:.2f} | "
                     f"{row['p50_ms']:.2f} | {row['p99_ms']:.2f} | "
                     f"{row['p99_ms'] / alone['p99_ms']:.2f} | {row['inside'][0]:.2f} | "
                     f"{row['inside'][1]:.2f} | {row['inside'][1] / alone['inside'][1]:.2f} | "
                     f"{row['failed']} | "
                     f"{row.get('offered', 0):.0f} | {shed} | {row['cpu']:.2f} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--penstock", default=os.path.join(ROOT, "build", "penstock"))
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--part", type=float, default=0.15, help="of capacity, for the polite shop")
    parser.add_argument("--dir", help="where data goes; must be on a real disk")
    given = parser.parse_args()
    given.penstock = os.path.abspath(given.penstock)
    dir_ = tempfile.mkdtemp(prefix="penstock-overload-", dir=given.dir)
    bench = None
    try:
        bench = Bench(given, dir_)
        print(table(*bench.run()))
    finally:
        if bench:
            bench.stop()
        shutil.rmtree(dir_, ignore_errors=True)


if __name__ == "__main__":
    main()
