"""make bench: how fast the hub is, measured beside nginx on the same machine in the same run.

nginx answers the same requests with fixed texts: what remains of a figure when the machine is
taken out of it is the ratio. The hub runs as in production: fsync, reservations, idempotency
and read model on. Rounds alternate between the two, the median counts. CPU per unit is that
of all threads of the hub, until it is quiet again after the load.

Writes the table between the markers of docs/performance.md; what stands around it is by hand.
"""
import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bulk  # noqa: E402
import data  # noqa: E402
from rig import Broken, Hub, WEBHOOK_SECRET, cpu_seconds, memory_mib, start_nginx  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
TEMPLATES = 20000
SHOP_TEMPLATES = 2000
BULK_CONNECTIONS = 4
# What a point must hold: (name, figure, at least / at most, value)
GOALS = {
    "orders": [("ratio", ">=", 0.4), ("cpu_us", "<=", 45), ("p99_ms", "<=", 25)],
    "availability": [("ratio", ">=", 0.8)],
    "bulk": [("per_s", ">=", 40000)],
    "webhook": [("per_s", ">=", 8000)],
    "jwt": [("of_key", ">=", 0.9)],
}
UNITS = {"of_key": "of the rate with an API key", "ratio": "of nginx", "cpu_us": "us CPU",
         "p99_ms": "ms p99", "per_s": "/s"}
POINTS = {
    "orders": "POST /v1/orders",
    "availability": "GET /v1/availability",
    "webhook": "POST /x/shopify/orders-create",
    "bulk": "POST /v1/orders, NDJSON",
    "jwt": "POST /v1/orders with a JWT",
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--penstock", default=os.path.join(ROOT, "build", "penstock"))
    parser.add_argument("--quick", action="store_true",
                        help="3 s a point, one round, a tenth of the stock")
    parser.add_argument("--seconds", type=int, help="of one point in one round (10)")
    parser.add_argument("--rounds", type=int, help="of each server (3)")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2, help="of wrk")
    parser.add_argument("--skus", type=int, default=100000)
    parser.add_argument("--locations", type=int, help="(20; 2 with --quick)")
    parser.add_argument("--bulk-orders", type=int, help="(200000; 60000 with --quick)")
    parser.add_argument("--only", choices=list(POINTS), action="append",
                        help="this point alone; may be given several times")
    parser.add_argument("--webhook-path", default="/x/shopify/orders-create")
    parser.add_argument("--dir", help="where data and logs go; must be on a real disk")
    parser.add_argument("--keep", action="store_true", help="keep that folder")
    parser.add_argument("--json", action="store_true", help="results as JSON on stdout")
    parser.add_argument("--strict", action="store_true", help="exit 1 where a goal is missed")
    parser.add_argument("--no-docs", action="store_true", help="leave docs/performance.md alone")
    given = parser.parse_args()
    given.seconds = given.seconds or (3 if given.quick else 10)
    given.rounds = given.rounds or (1 if given.quick else 3)
    given.locations = given.locations or (2 if given.quick else 20)
    given.bulk_orders = given.bulk_orders or (60000 if given.quick else 200000)
    given.only = given.only or list(POINTS)
    return given


class Bench:
    """One run: the servers, the templates, the rounds."""

    def __init__(self, given, dir_):
        self.given, self.dir = given, dir_
        self.run_number = 10
        self.files = {}

    def write(self, name, lines):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as file:
            for line in lines:
                file.write(line + "\n")
        self.files[name] = path

    def prepare(self):
        given = self.given
        say("preparing what will be sent")
        self.write("orders", data.orders(TEMPLATES, given.skus, given.locations))
        self.write("availability",
                   data.availability_paths(TEMPLATES, given.skus, given.locations))
        self.write("webhook", data.shop_orders(SHOP_TEMPLATES, given.skus))
        self.nginx = start_nginx(self.dir)
        self.hub = Hub(os.path.abspath(given.penstock), self.dir, given.locations)
        say(f"counting stock: {given.skus} SKUs at {given.locations} locations")
        self.count_rate = self.hub.count_stock(given.skus, given.locations, say)
        self.hub.settle()

    def wrk(self, server, point, seconds, key=None):
        """One load of one server, with the API key or another credential; answers the figures."""
        given = self.given
        self.run_number += 1
        env = {**os.environ, "BENCH_DIR": os.path.join(HERE, "wrk"),
               "BENCH_FILE": self.files[point], "BENCH_KEY": key or self.hub.key,
               "BENCH_RUN": f"{self.run_number:02d}", "BENCH_SECRET": WEBHOOK_SECRET,
               "BENCH_TARGET": given.webhook_path}
        server.settle()
        before = cpu_seconds(server.pid)
        done = subprocess.run(
            ["wrk", "-t", str(given.threads), "-c", str(given.connections), "-d", f"{seconds}s",
             "--timeout", "10s", "-s", os.path.join(HERE, "wrk", point + ".lua"),
             f"http://127.0.0.1:{server.port}/"],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds + 120)
        text = done.stdout.decode(errors="replace")
        result = next((l[7:] for l in text.split("\n") if l.startswith("RESULT ")), None)
        if done.returncode != 0 or not result:
            raise Broken(f"wrk: {text[-600:]}")
        result = json.loads(result)
        if not result["requests"]:
            raise Broken(f"{server.name} answered nothing to {point}:\n{server.tail()}")
        server.settle()
        cpu = cpu_seconds(server.pid) - before
        failed = result["status_errors"] + result["socket_errors"]
        return {"per_s": result["requests"] / (result["duration_us"] / 1e6),
                "cpu_us": cpu / result["requests"] * 1e6, "p50_ms": result["p50_us"] / 1000,
                "p99_ms": result["p99_us"] / 1000, "failed": failed,
                "requests": result["requests"], "rss_mib": memory_mib(server.pid)}

    def point(self, name):
        """Alternates the servers round by round; the median of each figure."""
        rounds = {"nginx": [], "hub": []}
        self.wrk(self.hub, name, 1)  # caches warm, connections made once
        for number in range(self.given.rounds):
            for server in (self.nginx, self.hub):
                figures = self.wrk(server, name, self.given.seconds)
                rounds[server.name].append(figures)
                say(f"  {name} {number + 1}/{self.given.rounds} {server.name:5} "
                    f"{figures['per_s']:9.0f}/s  {figures['cpu_us']:6.1f} us CPU  "
                    f"p50 {figures['p50_ms']:.2f} ms  p99 {figures['p99_ms']:.2f} ms  "
                    f"failed {figures['failed']}")
        median = {side: {key: statistics.median(r[key] for r in list_) for key in list_[0]}
                  for side, list_ in rounds.items()}
        result = median["hub"]
        result["ratio"] = statistics.median(
            h["per_s"] / n["per_s"] for h, n in zip(rounds["hub"], rounds["nginx"]))
        result["nginx_per_s"] = median["nginx"]["per_s"]
        result["nginx_cpu_us"] = median["nginx"]["cpu_us"]
        result["failed"] = sum(r["failed"] for r in rounds["hub"])
        return result

    def jwt(self):
        """Orders with a token and with an API key, in turn: what a token costs."""
        token, rounds = self.hub.token(), {"key": [], "token": []}
        self.wrk(self.hub, "orders", 1, token)
        for number in range(self.given.rounds):
            for side, credential in (("key", self.hub.key), ("token", token)):
                figures = self.wrk(self.hub, "orders", self.given.seconds, credential)
                rounds[side].append(figures)
                say(f"  jwt {number + 1}/{self.given.rounds} {side:5} {figures['per_s']:9.0f}/s  "
                    f"{figures['cpu_us']:6.1f} us CPU  failed {figures['failed']}")
        result = {key: statistics.median(r[key] for r in rounds["token"])
                  for key in rounds["token"][0]}
        result["failed"] = sum(r["failed"] for list_ in rounds.values() for r in list_)
        result["of_key"] = statistics.median(
            t["per_s"] / k["per_s"] for t, k in zip(rounds["token"], rounds["key"]))
        result["key_per_s"] = statistics.median(r["per_s"] for r in rounds["key"])
        result["key_cpu_us"] = statistics.median(r["cpu_us"] for r in rounds["key"])
        result["token_bytes"] = len(token)
        return result

    def bulk_bodies(self, number):
        """Bodies for the connections, every order with a number of its own."""
        given, count = self.given, self.given.bulk_orders // BULK_CONNECTIONS
        with open(self.files["orders"], encoding="utf-8") as file:
            templates = file.read().split("\n")[:-1]
        bodies = []
        for link in range(BULK_CONNECTIONS):
            parts = []
            for line in range(count):
                body = templates[(link * count + line) % len(templates)]
                parts.append(body.replace(data.ID_MARK, f"B{number:02d}L{link}{line:011d}"))
            bodies.append(("\n".join(parts) + "\n").encode())
        return bodies, count * BULK_CONNECTIONS

    def bulk(self):
        rounds = []
        for number in range(self.given.rounds):
            bodies, total = self.bulk_bodies(number)
            self.hub.settle()
            before = cpu_seconds(self.hub.pid)
            taken, seconds, wrong = bulk.push(self.hub.port, self.hub.key, bodies)
            if wrong:
                raise Broken(f"bulk: {wrong}")
            self.hub.settle()
            cpu = cpu_seconds(self.hub.pid) - before
            rounds.append({"per_s": taken / seconds, "cpu_us": cpu / total * 1e6,
                           "failed": total - taken, "requests": total,
                           "rss_mib": memory_mib(self.hub.pid)})
            say(f"  bulk {number + 1}/{self.given.rounds} hub   {taken / seconds:9.0f}/s  "
                f"{cpu / total * 1e6:6.1f} us CPU  failed {total - taken}")
        result = {key: statistics.median(r[key] for r in rounds) for key in rounds[0]}
        result["failed"] = sum(r["failed"] for r in rounds)
        return result

    def stop(self):
        for server in (getattr(self, "nginx", None), getattr(self, "hub", None)):
            if server:
                server.stop()


def judge(name, result):
    """[(text, held)] for the goals of a point; answers that failed spoil all of them."""
    rows = []
    for figure, sense, value in GOALS[name]:
        held = result[figure] >= value if sense == ">=" else result[figure] <= value
        sign = "at least" if sense == ">=" else "at most"
        rows.append((f"{sign} {value:g} {UNITS[figure]}", held and not result["failed"]))
    return rows


def machine():
    model = ""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{os.cpu_count()} CPUs ({model}), Linux {platform.release().split('-')[0]}"


def table(given, results, count_rate):
    """The generated part of docs/performance.md."""
    lines = [BEGIN, "",
             f"Measured {time.strftime('%Y-%m-%d')} on {machine()}, with "
             f"`make bench{' ARGS=--quick' if given.quick else ''}`: {given.skus} SKUs at "
             f"{given.locations} locations, {given.connections} keep-alive connections, "
             f"{given.rounds} x {given.seconds} s a point, nginx and hub in turn, medians. "
             "Load generator, nginx and hub share the CPUs.", "",
             "| | per s | nginx per s | ratio | CPU us each | nginx CPU us | p50 ms | p99 ms |"
             " failed | RSS MiB |", "| --- |" + " ---: |" * 9]
    for name, result in results.items():
        def cell(key, form):
            return form.format(result[key]) if key in result else "-"
        lines.append(f"| {POINTS[name]} | {result['per_s']:.0f} | {cell('nginx_per_s', '{:.0f}')} "
                     f"| {cell('ratio', '{:.2f}')} | {result['cpu_us']:.1f} | "
                     f"{cell('nginx_cpu_us', '{:.1f}')} | {cell('p50_ms', '{:.2f}')} | "
                     f"{cell('p99_ms', '{:.2f}')} | {result['failed']} | {result['rss_mib']:.0f} |")
    if "jwt" in results:
        jwt = results["jwt"]
        lines += ["", f"Orders with a token of {jwt['token_bytes']} bytes instead of an API key, in "
                  f"turn: {jwt['of_key']:.2f} of the rate ({jwt['per_s']:.0f} of "
                  f"{jwt['key_per_s']:.0f}/s), {jwt['cpu_us']:.1f} us CPU instead of "
                  f"{jwt['key_cpu_us']:.1f}."]
    lines += ["", f"Stock counts by NDJSON bulk, one connection: {count_rate:.0f}/s.", "",
              "| point | goal | held |", "| --- | --- | --- |"]
    for name, result in results.items():
        for text, held in judge(name, result):
            lines.append(f"| {POINTS[name]} | {text} | {'yes' if held else '**no**'} |")
    return "\n".join(lines + ["", END])


def write_docs(text):
    path = os.path.join(ROOT, "docs", "performance.md")
    with open(path, encoding="utf-8") as file:
        page = file.read()
    if BEGIN not in page or END not in page:
        raise Broken(f"{path} has lost its markers")
    page = page[:page.index(BEGIN)] + text + page[page.index(END) + len(END):]
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


def measure(given, dir_):
    bench, results = Bench(given, dir_), {}
    try:
        bench.prepare()
        for name in POINTS:
            if name not in given.only:
                continue
            say(POINTS[name])
            special = {"bulk": bench.bulk, "jwt": bench.jwt}.get(name)
            results[name] = special() if special else bench.point(name)
    finally:
        bench.stop()
    return results, bench.count_rate


def main():
    given = arguments()
    parent = given.dir or os.path.dirname(os.path.abspath(given.penstock))
    dir_ = tempfile.mkdtemp(prefix="bench-", dir=parent)
    try:
        results, count_rate = measure(given, dir_)
        text = table(given, results, count_rate)
        if not given.no_docs and set(results) == set(POINTS):
            write_docs(text)
        if given.json:
            print(json.dumps({"machine": machine(), "stock_counts_per_s": count_rate,
                              "points": results,
                              "goals": {n: [{"goal": t, "held": h} for t, h in judge(n, r)]
                                        for n, r in results.items()}}, indent=1))
        else:
            print(text.replace(BEGIN + "\n\n", "").replace("\n\n" + END, ""))
        held = all(h for n, r in results.items() for _, h in judge(n, r))
        return 0 if held or not given.strict else 1
    except Broken as problem:
        say(f"bench: {problem}")
        given.keep = True
        say(f"logs are in {dir_}")
        return 1
    finally:
        if not given.keep:
            shutil.rmtree(dir_, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
