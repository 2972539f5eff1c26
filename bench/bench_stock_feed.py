"""How soon a change of stock is at a channel's sink, and how far behind the truth a slow sink is.

    python3 bench/bench_stock_feed.py [--penstock build/penstock] [--rate 5000] [--seconds 8]
                                      [--burst 200000] [--skus 1000]

First changes come at --rate a second, and the sink takes 100 at a time without limit: the time from the moment a
change is sent to the hub until the sink has it, or a newer one. Then --burst changes as fast as the hub takes
them, while the sink allows 10 calls a second of 100: with 1000 SKUs a value can be a second old, plus the call
on its way. Reported is how old the oldest was, whether the sink never got an older value after a newer one, and
how long after the burst the sink was exact. Each change is a count whose quantity is its number, so what the
sink gets says which change it is. Prints the machine's load, for other programs' work counts in it.
"""
import argparse
import json
import os
import re
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "blackbox"))

import docs  # noqa: E402
from hub import Binary, Hub  # noqa: E402
from sink import MAPPINGS  # noqa: E402

CONNECTOR = """\
connector: sink
version: "1.0.0"
owner: bench
send:
  - subscription: sink-stock
    events: [availability.changed]
    conflate: latest
    mapping: quantity.lua
    batch: {{max_items: 100, linger_ms: {linger_ms}, mapping: quantities.lua}}
    request: {{url: "{url}"}}
    limits: {{concurrency: {concurrency}, rate_per_s: {rate}}}
"""


class Channel:
    """Answers at once, remembers when each number of each SKU came."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}/"
        self.lock = threading.Lock()
        self.got, self.calls, self.back = {}, [], 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            one, _ = self.socket.accept()
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self.serve, args=(one,), daemon=True).start()

    def serve(self, one):
        data = b""
        while True:
            while b"\r\n\r\n" not in data:
                more = one.recv(262144)
                if not more:
                    return
                data += more
            head, data = data.split(b"\r\n\r\n", 1)
            length = int(re.search(rb"(?i)content-length: *(\d+)", head).group(1))
            while len(data) < length:
                data += one.recv(262144)
            body, data = data[:length], data[length:]
            one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            self.take(json.loads(body)["members"])

    def take(self, members):
        now = time.monotonic()
        with self.lock:
            self.calls.append((now, len(members)))
            for member in members:
                seen = self.got.setdefault(member["key"], [])
                self.back += bool(seen) and int(member["quantity"]) < seen[-1][1]
                seen.append((now, int(member["quantity"])))


def change(hub, skus, count, rate, chunk=50):
    """When each change was sent: {key: [(at, number)]}."""
    sent, client = {}, hub.client()
    began = time.monotonic()
    for first in range(0, count, chunk):
        if rate:
            time.sleep(max(0.0, began + first / rate - time.monotonic()))
        now = time.monotonic()
        lines = []
        for number in range(first, min(first + chunk, count)):
            sku = f"SKU-{number % skus:05}"
            sent.setdefault(f"{sku}@WH-HAM", []).append((now, number))
            lines.append(docs.count(sku, number))
        answers = client.bulk("/v1/stock/counts", lines).lines
        assert all(x["status"] == 201 for x in answers), answers[:3]
    return sent, time.monotonic() - began


def ages(sent, got):
    """For each change, how long until the sink had it or a newer one; and when the last came."""
    found, last = [], 0.0
    for key, changes in sent.items():
        seen, at = got.get(key, []), 0
        for when, number in changes:
            while at < len(seen) and seen[at][1] < number:
                at += 1
            if at == len(seen):
                raise SystemExit(f"{key}: change {number} never came")
            found.append(seen[at][0] - when)
        last = max(last, seen[-1][0])
    return sorted(found), last


def run(binary, name, args, count, per_s, chunk, **values):
    with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
        channel = Channel()
        hub = Hub(binary, Path(folder))
        path = hub.config / "connectors" / "sink"
        path.mkdir(parents=True)
        (path / "connector.yaml").write_text(CONNECTOR.format(url=channel.url, **values))
        for mapping in ("quantity", "quantities"):
            (path / f"{mapping}.lua").write_text(MAPPINGS[mapping])
        hub.start()
        try:
            sent, took = change(hub, args.skus, count, per_s, chunk)
            ended = time.monotonic()
            want = {key: changes[-1][1] for key, changes in sent.items()}
            while time.monotonic() < ended + 30:
                with channel.lock:
                    if all(channel.got.get(key, [(0, -1)])[-1][1] == number for key, number in want.items()):
                        break
                time.sleep(0.005)
            found, last = ages(sent, channel.got)
            items = sum(n for _, n in channel.calls)
            span = channel.calls[-1][0] - channel.calls[0][0]
            print(f"{name}: {count} changes of {args.skus} SKUs in {took:.1f} s ({count / took:.0f}/s); "
                  f"{len(channel.calls)} calls ({len(channel.calls) / max(span, 0.1):.1f}/s) of {items} values")
            print(f"  at the sink after p50 {1e3 * found[len(found) // 2]:.1f} ms, "
                  f"p99 {1e3 * found[len(found) * 99 // 100]:.1f} ms, most {1e3 * found[-1]:.1f} ms; "
                  f"older after newer: {channel.back}; exact {max(0.0, last - ended):.2f} s after the last change; "
                  f"load {os.getloadavg()[0]:.1f}")
        finally:
            hub.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--penstock", default=str(ROOT / "build" / "penstock"))
    parser.add_argument("--rate", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--burst", type=int, default=200000)
    parser.add_argument("--skus", type=int, default=1000)
    args = parser.parse_args()
    binary = Binary(args.penstock)
    run(binary, "stream", args, args.rate * args.seconds, args.rate, 25, linger_ms=1, concurrency=4, rate=0)
    run(binary, "burst", args, args.burst, 0, 1000, linger_ms=0, concurrency=1, rate=10)


if __name__ == "__main__":
    main()
