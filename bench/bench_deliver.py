"""What the hub sends: how fast, at what CPU a delivery, and what happens while the other side is slow
or dead. The other side is bench/sink.c, which answers at once and keeps account.

    python3 bench/bench_deliver.py [--only rate,mapped,erp,exact,dead] [--docs]

Points:
  rate    a backlog of stock changes to a sink without limit, the event's data as it is, per key in order
  mapped  orders through the shipped ERP's mapping, the ERP's number recorded for each
  erp     an ERP of 50 postings/s that was away while ORDERS orders came; capture with and without backlog
  exact   as many orders behind, an ERP without limit: to the end, every order once
  dead    one subscriber away for EVENTS events beside one that is there; then it catches up

CPU of a delivery is that of the thread `deliver` and of the whole process, from /proc. With --docs the
part of docs/performance.md between its markers is written; what stands around it is by hand.
"""
import argparse
import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import bulk  # noqa: E402
import data  # noqa: E402
from rig import Broken, Hub, TICKS_PER_S, cpu_seconds, free_port, memory_mib, \
    write_configuration  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
BEGIN, END = "<!-- bench-deliver:begin -->", "<!-- bench-deliver:end -->"
SKUS, LOCATIONS = 1000, 20
LINES = 100000  # of one bulk call
PACE = 300  # orders a second of a shop that sells steadily
WATCH_S = 4  # until changed files of a connector are surely taken up

CONNECTOR = """connector: {name}
version: "1.0.0"
owner: bench
service_level: none
description: Sends to the sink of the benchmark
settings: {{base_url: "http://127.0.0.1:{port}"}}
send:
  - subscription: {name}
    enabled: {enabled}
    events: [{events}]
    key: subject
    personal: {personal}
{more}    request:
      method: POST
      url: "http://127.0.0.1:{port}/x"
      headers: {{Idempotency-Key: "{{event.id}}", X-Key: "{{event.subject}}"}}
    outcome: {{success: [200, 201], final: [400, 422], retryable: [429, "5xx"]}}
    retry: {{first_ms: 50, factor: 2, max_ms: 1000, jitter: full, attempts_max: 0, age_max_s: 604800}}
    limits: {{concurrency: {concurrency}, rate_per_s: {rate}}}
    timeout_ms: 10000
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def thread_seconds(pid):
    """CPU so far, by name of thread."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/stat", encoding="ascii") as file:
                name, rest = file.read().split("(", 1)[1].rsplit(")", 1)
        except OSError:
            continue
        fields = rest.split()
        found[name] = found.get(name, 0) + (int(fields[11]) + int(fields[12])) / TICKS_PER_S
    return found


class Sink:
    """bench/sink.c as a process; it listens after up()."""

    def __init__(self, program, mark):
        self.port = free_port()
        self.process = subprocess.Popen([program, str(self.port)] + ([mark] if mark else []),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def say(self):
        self.tell("say")
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Run:
    """A hub with connectors of the benchmark, each to a sink of its own."""

    def __init__(self, given, parent, name, connectors):
        self.given = given
        self.dir = os.path.join(parent, name)
        os.makedirs(self.dir)
        self.sinks, self.connectors, self.hub, self.bulks, self.wrks = {}, {}, None, 0, 10
        self.paced_orders = 0
        self.where = os.path.join(self.dir, "hub", "connectors")
        write_configuration(given.penstock, os.path.join(self.dir, "hub"), LOCATIONS)
        for shipped in os.listdir(self.where):
            shutil.rmtree(os.path.join(self.where, shipped))
        for each in connectors:
            self.connectors[each["name"]] = {"mapped": False, "rate": 0, "concurrency": 64,
                                             "enabled": "true", "more": "", **each}
            self.connector_make(each["name"])
        self.hub = Hub(given.penstock, self.dir, LOCATIONS)
        self.hub.count_stock(SKUS, LOCATIONS, say)

    def connector_make(self, name):
        about = self.connectors[name]
        folder = os.path.join(self.where, name)
        self.sinks[name] = Sink(self.given.sink, about.pop("mark", ""))
        os.makedirs(folder)
        if about["mapped"]:
            shutil.copy(os.path.join(ROOT, "connectors", "generic-erp", "post_order.lua"), folder)
            about["more"] = "    mapping: post_order.lua\n    reference: /number\n"
        about["personal"] = "true" if about["mapped"] else "false"
        self.connector_write(name)

    def connector_write(self, name, **changed):
        """With other limits, say; a running hub takes it up when the watch comes by."""
        about = self.connectors[name]
        about.update(changed)
        path = os.path.join(self.where, name, "connector.yaml")
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(CONNECTOR.format(port=self.sinks[name].port, **about))
        os.replace(path + ".new", path)
        if self.hub:
            time.sleep(WATCH_S)

    def figure(self, name, **labels):
        """The sum of a metric over those samples that have these labels."""
        answer = self.hub.request("GET", "/metrics", headers=self.hub.headers())[1].decode()
        total = 0.0
        for line in answer.splitlines():
            if line.startswith(name + "{") and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def adjust(self, count):
        """`count` stock changes over all positions, in bulk."""
        done = 0
        while done < count:
            part = min(LINES, count - done)
            lines = "".join(f'{{"sku":"{data.sku_name(n % SKUS)}","location":'
                            f'"{data.location_name(n // SKUS % LOCATIONS)}","delta":"1",'
                            '"reason":"found"}\n' for n in range(done, done + part))
            status, answer = self.hub.request("POST", "/v1/stock/adjustments", lines.encode(),
                                              self.hub.headers("application/x-ndjson"))
            good = answer.count(b'"status":201')
            if status != 200 or good != part:
                raise Broken(f"adjustments: {status}, {good} of {part}: {answer[:300]!r}")
            done += part

    def templates(self):
        path = os.path.join(self.dir, "orders")
        if not os.path.exists(path):
            with open(path, "w", encoding="utf-8") as file:
                file.write("\n".join(data.orders(2000, SKUS, LOCATIONS)) + "\n")
        return path

    def order(self, count):
        """`count` orders by bulk over four connections; seconds it took."""
        with open(self.templates(), encoding="utf-8") as file:
            templates = file.read().split("\n")[:-1]
        self.bulks += 1
        bodies = []
        for link in range(4):
            lines = [templates[n % len(templates)].replace(
                data.ID_MARK, f"B{self.bulks:02d}L{link}{n:011d}") for n in range(count // 4)]
            bodies.append(("\n".join(lines) + "\n").encode())
        taken, seconds, wrong = bulk.push(self.hub.port, self.hub.key, bodies)
        if wrong or taken != count // 4 * 4:
            raise Broken(f"orders: {taken} of {count}: {wrong}")
        return seconds

    def capture(self, seconds):
        """POST /v1/orders over eight connections, as fast as they are answered: per second, p99."""
        self.wrks += 1
        env = {**os.environ, "BENCH_DIR": os.path.join(HERE, "wrk"), "BENCH_FILE": self.templates(),
               "BENCH_KEY": self.hub.key, "BENCH_RUN": f"{self.wrks:02d}"}
        done = subprocess.run(
            ["wrk", "-t", "1", "-c", "8", "-d", f"{seconds}s", "-s",
             os.path.join(HERE, "wrk", "orders.lua"), f"http://127.0.0.1:{self.hub.port}/"],
            env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds + 60)
        text = done.stdout.decode(errors="replace")
        result = next((line[7:] for line in text.split("\n") if line.startswith("RESULT ")), None)
        if not result:
            raise Broken(f"wrk: {text[-600:]}")
        result = json.loads(result)
        if result["status_errors"] + result["socket_errors"]:
            raise Broken(f"orders were not taken: {result}")
        return {"per_s": result["requests"] / (result["duration_us"] / 1e6),
                "p50_ms": result["p50_us"] / 1000, "p99_ms": result["p99_us"] / 1000}

    def paced(self, seconds, per_s=PACE):
        """Orders one after the other at a steady pace, as a shop's peak is; not as many as fit."""
        with open(self.templates(), encoding="utf-8") as file:
            templates = file.read().split("\n")[:-1]
        link = http.client.HTTPConnection("127.0.0.1", self.hub.port, timeout=60)
        headers = self.hub.headers("application/json")
        began, times = time.monotonic(), []
        try:
            for n in range(seconds * per_s):
                time.sleep(max(0, began + n / per_s - time.monotonic()))
                self.paced_orders += 1
                order = templates[n % len(templates)].replace(data.ID_MARK, f"paced{self.paced_orders:011d}")
                sent = time.monotonic()
                link.request("POST", "/v1/orders", body=order.encode(), headers=headers)
                answer = link.getresponse()
                answer.read()
                if answer.status != 201:
                    raise Broken(f"a paced order was answered {answer.status}")
                times.append(time.monotonic() - sent)
        finally:
            link.close()
        times.sort()
        return {"per_s": len(times) / (time.monotonic() - began), "p50_ms": 1000 * times[len(times) // 2],
                "p99_ms": 1000 * times[len(times) * 99 // 100]}

    def drain(self, name, count, limit_s, during=None):
        """Lets the sink be there until `count` have come or the time is up; the figures."""
        sink, pid = self.sinks[name], self.hub.pid
        self.hub.settle(10)
        before, whole = thread_seconds(pid), cpu_seconds(pid)
        rss = [memory_mib(pid)]
        sink.tell("clear")
        base = sink.say()["cpu_s"]
        sink.tell("up")
        until = time.monotonic() + limit_s
        worker = threading.Thread(target=during) if during else None
        if worker:
            worker.start()
        while time.monotonic() < until:
            time.sleep(0.1)
            rss.append(memory_mib(pid))
            now = sink.say()
            if now["taken"] >= count:
                break
        after, whole = thread_seconds(pid), cpu_seconds(pid) - whole
        now = sink.say()
        if worker:
            worker.join()
        taken = max(now["taken"], 1)
        return {"taken": now["taken"], "per_s": now["taken"] / max(now["span_us"], 1) * 1e6,
                "deliver_us": (after.get("deliver", 0) - before.get("deliver", 0)) / taken * 1e6,
                "cpu_us": whole / taken * 1e6, "sink_us": (now["cpu_s"] - base) / taken * 1e6,
                "twice": now["twice"], "disordered": now["disordered"], "refused": now["refused"],
                "requests": now["requests"], "rss": rss, "load": os.getloadavg()[0]}

    def stop(self):
        if self.hub:
            self.hub.stop()
        for sink in self.sinks.values():
            sink.stop()


def point_rate(given, parent):
    run = Run(given, parent, "rate", [{"name": "fast", "events": "stock.adjusted"}])
    try:
        run.adjust(given.changes)
        return run.drain("fast", given.changes, 20)
    finally:
        run.stop()


def point_mapped(given, parent):
    run = Run(given, parent, "mapped", [{"name": "erp", "events": "order.captured", "mapped": True}])
    try:
        run.order(given.orders // 4)
        return run.drain("erp", given.orders // 4, 20)
    finally:
        run.stop()


def point_erp(given, parent):
    """The hour's outage: what it costs while it lasts and how it ends."""
    run = Run(given, parent, "erp", [{"name": "erp", "events": "order.captured", "mapped": True,
                                      "rate": 50, "enabled": "false"}])
    sink, pid, result = run.sinks["erp"], run.hub.pid, {}
    try:
        run.capture(2)
        result["alone"] = [run.capture(5)]
        before = memory_mib(pid)
        run.order(given.orders // 2)
        result["grown_without_mib"] = (memory_mib(pid) - before) * 2
        run.connector_write("erp", enabled="true")
        before = memory_mib(pid)
        result["captured_s"] = run.order(given.orders)
        result["grown_mib"] = memory_mib(pid) - before
        sink.tell("rate 50")
        backlog = []
        result["drain"] = run.drain("erp", 1 << 60, 90,
                                    lambda: (time.sleep(4), backlog.append(run.capture(8))))
        result["with"] = backlog[0]
        sink.tell("down")
        run.connector_write("erp", enabled="false")
        result["alone"].append(run.capture(5))
        result["behind"] = run.figure("penstock_delivery_behind_events", subscription="erp")
        return result
    finally:
        run.stop()


def point_exact(given, parent):
    """The same outage, with an ERP that takes more afterwards, to the end."""
    run = Run(given, parent, "exact", [{"name": "erp", "events": "order.captured", "mapped": True}])
    sink = run.sinks["erp"]
    try:
        run.order(given.orders)
        result = run.drain("erp", given.orders, 120)
        time.sleep(1)
        result["taken"] = sink.say()["taken"]
        result["recorded"] = run.figure("penstock_deliveries_total", subscription="erp",
                                        outcome="success")
        result["expected"] = given.orders
        return result
    finally:
        run.stop()


def point_dead(given, parent):
    """One subscriber is away, one is there; a third wants nothing of what comes."""
    dead = {"name": "dead", "events": "stock.adjusted"}
    if given.batch:
        dead.update(mark='"sku":', concurrency=4,
                    more=f"    batch: {{max_items: {given.batch}, idempotent: true}}\n")
    run = Run(given, parent, "dead", [
        dead,
        {"name": "choosy", "events": "order.cancelled", "enabled": "false"},
        {"name": "alive", "events": "order.captured", "mapped": True}])
    result = {}
    try:
        run.sinks["alive"].tell("up")
        run.capture(3)
        result["before"] = latency(run, "alive", lambda: run.paced(8))
        rss = [memory_mib(run.hub.pid)]
        for _ in range(10):
            run.adjust(given.events // 10)
            rss.append(memory_mib(run.hub.pid))
        result["rss_filling"] = rss
        result["backlog_mib"] = sum(
            os.path.getsize(os.path.join(at, name)) for at, _, names in os.walk(run.dir)
            for name in names if "journal" in at) / (1 << 20)
        run.hub.settle(20)
        result["choosy"] = passing(run, "choosy")
        run.hub.settle(20)
        result["after"] = latency(run, "alive", lambda: run.paced(8))
        during = []
        result["drain"] = run.drain("dead", given.events, 120, lambda: (
            time.sleep(1), during.append(latency(run, "alive", lambda: run.paced(8)))))
        result["during"] = during[0]
        return result
    finally:
        run.stop()


def passing(run, name):
    """A new subscription that wants nothing of what there is: events a second that it reads over."""
    run.connector_write(name, enabled="false")
    before, began = thread_seconds(run.hub.pid).get("deliver", 0), time.monotonic()
    run.connectors[name]["enabled"] = "true"
    path = os.path.join(run.where, name, "connector.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(CONNECTOR.format(port=run.sinks[name].port, **run.connectors[name]))
    first = last = at = cpu = 0
    while time.monotonic() < began + 60:
        time.sleep(0.05)
        behind = run.figure("penstock_delivery_behind_events", subscription=name)
        now = time.monotonic()
        if not first and behind:
            first, at = behind, now
        cpu = thread_seconds(run.hub.pid).get("deliver", 0)
        if first and behind < 100:
            last = now
            break
    if not last:
        raise Broken(f"{name} is still {behind} behind")
    return {"per_s": first / (last - at), "cpu_us": (cpu - before) / first * 1e6}


def latency(run, name, load):
    """p50 and p99 of the time from event to delivered, over a load, by the hub's histogram."""
    def buckets():
        answer = run.hub.request("GET", "/metrics", headers=run.hub.headers())[1].decode()
        return {line.split('le="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1])
                for line in answer.splitlines()
                if line.startswith("penstock_delivery_seconds_bucket") and
                f'subscription="{name}"' in line}
    before = buckets()
    captured = load()
    time.sleep(1)
    after = buckets()
    grown = sorted((float(le), after[le] - before.get(le, 0)) for le in after)
    total = grown[-1][1]
    return {**captured, "delivered": total,
            "delivery_p50_ms": 1000 * next(le for le, n in grown if n >= total * 0.5),
            "delivery_p99_ms": 1000 * next(le for le, n in grown if n >= total * 0.99)}


POINTS = {"rate": point_rate, "mapped": point_mapped, "erp": point_erp, "exact": point_exact,
          "dead": point_dead}


# --- what is told -----------------------------------------------------------------------------

def graph(values, width=60):
    """One line of blocks, from 0 to the largest; each the largest of its part of the run."""
    part = -(-len(values) // width)
    parts = [max(values[n:n + part]) for n in range(0, len(values), part)]
    top = max(parts) or 1
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * value / top))] for value in parts)


def memory_line(what, rss):
    return f"    {what:22} {graph(rss)}  {min(rss):.0f} to {max(rss):.0f} MiB"


def row(name, r):
    return (f"| {name} | {r['taken']} | {r['per_s']:.0f} | {r['deliver_us']:.1f} | {r['cpu_us']:.1f} | "
            f"{r['sink_us']:.1f} | {r['twice']} | {r['disordered']} | {r['load']:.0f} |")


def table(given, results):
    lines = [BEGIN, "", f"Measured {time.strftime('%Y-%m-%d')} on {machine()}, with "
             "`python3 bench/bench_deliver.py --docs`; hub and sink share the CPUs with whatever else runs "
             "(load: runnable processes while it was measured).", "",
             "| | deliveries | per s | deliver us | hub us | sink us | twice | out of order | load |",
             "| --- |" + " ---: |" * 8]
    names = {"rate": "stock changes as they are", "mapped": "orders, mapped and recorded",
             "exact": "orders after an outage, to the end"}
    for name, text in names.items():
        if name in results:
            lines.append(row(text, results[name]))
    if "dead" in results:
        lines.append(row(f"catching up, {given.batch or 1} in a call", results["dead"]["drain"]))
    goals, memory = [], []
    if "rate" in results:
        r = results["rate"]
        goals.append(("20 000 deliveries/s, in order per key", f"{r['per_s']:.0f}/s, {r['deliver_us']:.1f} us",
                      r["per_s"] >= 20000 and not r["disordered"] + r["twice"]))
    if "erp" in results:
        r, drain = results["erp"], results["erp"]["drain"]
        alone = min(a["p99_ms"] for a in r["alone"])
        goals.append(("an ERP of 50/s drains at 0.95 of it", f"{drain['per_s'] / 50:.2f}, "
                      f"{drain['refused']} refused", drain["per_s"] >= 47.5))
        goals.append(("capture p99 beside it below 2 x", f"{r['with']['p99_ms']:.1f} ms, alone "
                      f"{' and '.join(format(a['p99_ms'], '.1f') for a in r['alone'])}: "
                      f"{r['with']['p99_ms'] / alone:.2f}", r["with"]["p99_ms"] < 2 * alone))
        goals.append((f"{given.orders} orders of backlog cost no memory",
                      f"{r['grown_mib']:.0f} MiB more while the ERP was away, {r['grown_without_mib']:.0f} "
                      "for as many without an ERP", r["grown_mib"] <= r["grown_without_mib"]))
        memory.append(memory_line("ERP of 50/s drains", drain["rss"]))
    if "exact" in results:
        r = results["exact"]
        goals.append(("exactly once", f"{r['taken']} of {r['expected']}, {r['twice']} twice",
                      r["taken"] == r["expected"] and not r["twice"]))
    if "dead" in results:
        r = results["dead"]
        goals.append((f"{given.events} events behind: no effect on the others ({PACE} orders/s delivered), before, "
                      "after and while it catches up", "p50 and p99 of delivery (buckets) " + ", ".join(
                          f"{r[k]['delivery_p50_ms']:.0f} and {r[k]['delivery_p99_ms']:.0f} ms"
                          for k in ("before", "after", "during")),
                      r["after"]["delivery_p99_ms"] <= 2 * r["before"]["delivery_p99_ms"] and
                      r["during"]["delivery_p99_ms"] <= 2 * r["before"]["delivery_p99_ms"]))
        if given.batch:
            goals.append(("it catches up at 50 000 events/s in batches",
                          f"{r['drain']['per_s']:.0f}/s, {r['drain']['deliver_us']:.1f} us",
                          r["drain"]["per_s"] >= 50000))
        goals.append(("what is not wanted is read over at 50 000 events/s",
                      f"{r['choosy']['per_s']:.0f}/s, {r['choosy']['cpu_us']:.1f} us",
                      r["choosy"]["per_s"] >= 50000))
        memory.append(memory_line("dead, while events come", r["rss_filling"]))
        memory.append(memory_line("it catches up", r["drain"]["rss"]))
    lines += ["", "| goal | measured | held |", "| --- | --- | --- |"]
    lines += [f"| {what} | {got} | {'yes' if held else '**no**'} |" for what, got, held in goals]
    lines += ["", "Resident memory of the hub over time, from 0:", ""] + memory
    return "\n".join(lines + ["", END])


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        model = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), "")
    return f"{os.cpu_count()} CPUs ({model})"


def write_docs(text):
    path = os.path.join(ROOT, "docs", "performance.md")
    with open(path, encoding="utf-8") as file:
        page = file.read()
    if BEGIN not in page or END not in page:
        raise Broken(f"{path} has lost its markers")
    page = page[:page.index(BEGIN)] + text + page[page.index(END) + len(END):]
    with open(path, "w", encoding="utf-8") as file:
        file.write(page)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--penstock", default=os.path.join(ROOT, "build", "penstock"))
    parser.add_argument("--sink", help="(bench/sink beside penstock, built at need)")
    parser.add_argument("--only", default=",".join(POINTS))
    parser.add_argument("--changes", type=int, default=200000)
    parser.add_argument("--orders", type=int, default=200000)
    parser.add_argument("--events", type=int, default=1000000)
    parser.add_argument("--batch", type=int, default=500, help="the dead one takes so many in a call")
    parser.add_argument("--dir", help="where data goes; must be on a real disk")
    parser.add_argument("--json", help="keep the figures in this file, and tell those that are there, too")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md")
    given = parser.parse_args()
    given.penstock = os.path.abspath(given.penstock)
    build = os.path.dirname(given.penstock)
    given.sink = os.path.abspath(given.sink or os.path.join(build, "bench", "sink"))
    if not os.path.exists(given.sink):
        subprocess.run(["ninja", "-C", build, "bench/sink"], check=True, stdout=subprocess.DEVNULL)
    results = {}
    if given.json and os.path.exists(given.json):
        with open(given.json, encoding="utf-8") as file:
            results = json.load(file)
    dir_ = tempfile.mkdtemp(prefix="bench-deliver-", dir=given.dir)
    try:
        for name in [n for n in given.only.split(",") if n]:
            say(name)
            results[name] = POINTS[name](given, os.path.join(dir_))
            shutil.rmtree(os.path.join(dir_, name), ignore_errors=True)
    finally:
        shutil.rmtree(dir_, ignore_errors=True)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(results, file)
    text = table(given, results)
    print(text)
    if given.docs:
        write_docs(text)


if __name__ == "__main__":
    main()
