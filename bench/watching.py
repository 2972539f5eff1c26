"""What watching the hub costs: instructions per captured order spent on counting, on deciding what is
traced, and on recording and sending spans, counted by callgrind, which no neighbour disturbs.

    python3 bench/watching.py [--penstock build/penstock] [--orders N]

Prints, without a collector and with one at 1 % and at 100 %, instructions per order in all and of
each source file that only watches (inlined code counts where it was written; with what it calls).
"""
import argparse
import collections
import glob
import http.client
import http.server
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

import data
import rig

CONNECTIONS = 16
SKUS, LOCATIONS = 2000, 2
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
# under callgrind everything waits too long
SLOW = {"PENSTOCK_ADMISSION_ENABLED": "0"}
# files whose code is there for watching alone
WATCHING = ("metric.h", "metric.c", "gateway/metrics.c", "call_log.c", "span.h", "span.c",
            "call_span.c", "command_span.c", "otlp.c", "otlp_encode.c", "log.c", "figures.c",
            "process.c")
NOT_ITS_OWN = ("core_decide",)  # what is only timed


class Sink(http.server.BaseHTTPRequestHandler):
    """A collector that takes everything."""
    protocol_version = "HTTP/1.1"
    taken = 0

    def log_message(self, *args):
        pass

    def do_POST(self):
        Sink.taken += self.rfile.read(int(self.headers["Content-Length"])).count(b'"spanId"')
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


def send(hub, orders, run, start):
    """`orders` orders over CONNECTIONS connections; all must be taken."""
    failed = []

    def one(number):
        link = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=120)
        for n in range(number, orders, CONNECTIONS):
            mark = f"{run}{start + n:0{16 - len(run)}d}"
            body = texts[n % len(texts)].replace(data.ID_MARK, mark)
            link.request("POST", "/v1/orders", body.encode(),
                         {**hub.headers(), "Idempotency-Key": mark})
            answer = link.getresponse()
            answer.read()
            if answer.status != 201:
                failed.append(answer.status)
                return
        link.close()

    demand = data.Demand(SKUS, data.SEED)
    texts = [data.order(demand, n % LOCATIONS) for n in range(200)]
    threads = [threading.Thread(target=one, args=(n,)) for n in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise rig.Broken(f"an order was answered {failed[0]}")


class Profile:
    """One thread's callgrind profile: own instructions by source file, and what code that watches
    calls elsewhere, with all below it. Costs belong to the file that fl=, fi= or fe= named last; the
    line behind calls= is the callee's with all below it."""

    def __init__(self, path):
        self.own, self.below, self.names = collections.Counter(), collections.Counter(), {}
        file = callee_file = callee = ""
        called = False
        with open(path, encoding="utf-8", errors="replace") as profile:
            for line in profile:
                key, _, value = line.rstrip("\n").partition("=")
                if key in ("fl", "fi", "fe"):
                    file = callee_file = self.name("f" + value)
                elif key in ("cfi", "cfl"):
                    callee_file = self.name("f" + value)
                elif key == "fn":
                    self.name("n" + value)
                elif key == "cfn":
                    callee = self.name("n" + value)
                elif key == "calls":
                    called = True
                elif re.match(r"[+\-*\d]", line):
                    cost = int(line.split()[1])
                    if not called:
                        self.own[file] += cost
                    elif watches(file) and not watches(callee_file) and callee not in NOT_ITS_OWN:
                        self.below[file] += cost
                    if called:
                        called, callee_file = False, file
        self.total = sum(self.own.values())

    def name(self, text):
        """"(12) x.c" defines, "(12)" repeats."""
        match = re.match(r"(.\(\d+\))(?: (.*))?", text)
        if match[2]:
            self.names[match[1]] = match[2]
        return self.names[match[1]]


def watches(file):
    return "src/" in file and file.endswith(WATCHING)


def measure(penstock, orders, env):
    """The profiles of `orders` orders after as many to warm up."""
    with tempfile.TemporaryDirectory(prefix="penstock-watching-") as dir_:
        wrapper = os.path.join(dir_, "penstock")
        with open(wrapper, "w", encoding="utf-8") as file:
            file.write(f"#!/bin/sh\n[ \"$1\" = serve ] || exec {penstock} \"$@\"\n"
                       f"exec valgrind --tool=callgrind --instr-atstart=no --separate-threads=yes --fair-sched=yes "
                       f"--callgrind-out-file={dir_}/profile {penstock} \"$@\" 2>{dir_}/valgrind\n")
        os.chmod(wrapper, 0o755)
        env = {**SLOW, **env}
        os.environ.update(env)
        hub = rig.Hub(wrapper, dir_, LOCATIONS)
        for name in env:
            del os.environ[name]
        try:
            hub.count_stock(SKUS, LOCATIONS, lambda text: None)
            send(hub, orders, "w", 0)
            control = ["callgrind_control", "-i"]
            hub.settle()
            Sink.taken = 0
            subprocess.run([*control, "on", str(hub.pid)], check=True, **QUIET)
            send(hub, orders, "m", 0)
            hub.settle()
            subprocess.run([*control, "off", str(hub.pid)], check=True, **QUIET)
            subprocess.run(["callgrind_control", "-d", str(hub.pid)], check=True, **QUIET)
        finally:
            hub.stop()
        return [Profile(path) for path in glob.glob(f"{dir_}/profile*")]


def report(name, profiles, orders):
    total = sum(profile.total for profile in profiles) / orders
    found, exporter = collections.Counter(), 0
    for profile in profiles:
        if any(file.endswith("ops/otlp.c") for file in profile.own):
            exporter += profile.total / orders
            continue
        for file in [*profile.own, *profile.below]:
            if watches(file):
                found[file.rsplit("src/", 1)[1]] += profile.own[file] / orders
                found[file.rsplit("src/", 1)[1]] += profile.below[file] / orders
                profile.own[file] = profile.below[file] = 0
    mine = sum(found.values()) + exporter
    print(f"{name}: {total:.0f} instructions an order, {mine:.0f} of them "
          f"({100 * mine / total:.2f} %) to watch")
    for file, n in sorted(found.items(), key=lambda item: -item[1]):
        if n >= 1:
            print(f"    {n:8.0f}  {file}")
    if exporter:
        print(f"    {exporter:8.0f}  the thread that sends spans")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--penstock", default="build/penstock")
    parser.add_argument("--orders", type=int, default=1600)
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed")
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{collector.server_address[1]}"
    runs = [("no collector", {})]
    for ratio in (10000, 1000000):
        runs.append((f"collector, {ratio // 10000} % sampled", {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url, "PENSTOCK_TRACE_SAMPLE_PER_MILLION": str(ratio),
            "PENSTOCK_TRACE_RING_SPANS": "65536"}))
    for name, env in runs:
        report(name, measure(os.path.abspath(args.penstock), args.orders, env), args.orders)
        if env:
            print(f"    {Sink.taken} spans taken")


if __name__ == "__main__":
    main()
