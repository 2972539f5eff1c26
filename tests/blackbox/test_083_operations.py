"""Operations of other systems for callers who wait: found by role, mapped there and back, within a
time limit, with a fallback that is declared and told; and a hub that goes on when they hang."""

import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import docs
from conftest import running
from hub import Hub
from wire import until


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        system = self.server.system
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with system.lock:
            system.calls.append((self.command, self.path, dict(self.headers), json.loads(body or "null")))
            system.at_once += 1
            system.most = max(system.most, system.at_once)
            system.times.append(time.monotonic())
        try:
            status, doc = system.act(self.path, json.loads(body or "null"))
            text = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        except (OSError, ZeroDivisionError):
            self.close_connection = True
        finally:
            with system.lock:
                system.at_once -= 1

    do_GET = do_POST


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        pass


class System:
    """Another system: `act` says how it behaves; by default it works out 19 % tax."""

    def __init__(self, name="standard"):
        self.name, self.calls, self.times, self.lock = name, [], [], threading.Lock()
        self.at_once = self.most = 0
        self.act = self.quote
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.system = self
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def quote(self, path, doc):
        if path.startswith("/customers"):
            return 200, [{"id": 17, "mail": path.rsplit("=", 1)[-1]}]
        return 200, {"by": self.name, "tax_cents": doc["cents"] * 19 // 100}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"


CONNECTOR = """\
connector: {name}
version: "1.0.0"
owner: finance
description: Taxes
auth: {{api_key: {{header: X-Key, value: "${{env:TAX_KEY}}"}}}}
operations:
  - operation: tax.quote
    request: {{method: POST, url: "{url}/quote?region={{region}}", headers: {{Idempotency-Key: "{{idempotency_key}}"}}}}
    mapping_in: quote_in.lua
    mapping_out: quote_out.lua
    timeout_ms: {timeout_ms}
    fallback: {fallback}
    limits: {{concurrency: {concurrency}, rate_per_s: {rate}}}
  - operation: crm.find
    request: {{method: GET, url: "{url}/customers?mail={{query.email}}"}}
    timeout_ms: 1000
"""
IN = 'return function(doc) return {cents = doc.body.amount} end\n'
OUT = 'return function(doc, settings) return {tax = doc.body.tax_cents, by = doc.body.by, status = doc.status} end\n'


def connect(hub, system, name="standard", fallback="{tax: 0, by: nobody}", timeout_ms=400, concurrency=16, rate=0):
    path = hub.config / "connectors" / name
    path.mkdir(parents=True, exist_ok=True)
    (path / "connector.yaml").write_text(CONNECTOR.format(
        name=name, url=system.url, fallback=fallback, timeout_ms=timeout_ms, concurrency=concurrency, rate=rate))
    (path / "quote_in.lua").write_text(IN)
    (path / "quote_out.lua").write_text(OUT)
    hub.env["TAX_KEY"] = "a-key-of-the-tax-system"


def roles(hub, *rows):
    path = hub.config / "penstock.yaml"
    path.write_text(path.read_text() + "\nroles:\n" + "".join(f"  - {row}\n" for row in rows))


@pytest.fixture
def system():
    system = System()
    yield system
    system.server.shutdown()
    system.server.server_close()


@pytest.fixture
def asking(binary, tmp_path, system):
    """Starts a hub whose role tax is held by `system`."""
    made = []

    def start(*rows, **more):
        hub = Hub(binary, tmp_path)
        connect(hub, system, **more)
        roles(hub, *(rows or ("{role: tax, connector: standard}", "{role: crm, connector: standard}")))
        made.append(running(hub.start()))
        return next(made[0])

    yield start
    assert list(made[0]) == []


def ask(hub, amount=1000, query="", status=200, **more):
    return hub.client().post("/s/tax/quote" + query, {"amount": amount}, **more).ok(status)


def test_asked_and_answered(asking, system):
    hub = asking()
    answer = ask(hub, query="?region=EU-1%262", headers={"Idempotency-Key": "k-1", "X-Correlation-ID": "corr-1"})
    assert answer == {"role": "tax", "operation": "quote", "connector": "standard", "fallback": False,
                      "answer": {"tax": 190, "by": "standard", "status": 200}}
    method, path, headers, body = system.calls[0]
    assert (method, path, body) == ("POST", "/quote?region=EU-1%262", {"cents": 1000})
    assert headers["X-Key"] == "a-key-of-the-tax-system" and headers["Idempotency-Key"] == "k-1"
    assert headers["X-Correlation-ID"] == "corr-1" and "traceparent" in {name.lower() for name in headers}
    found = hub.client().get("/s/crm/find?email=ann%2Bx%40example.org").ok()
    assert found["answer"] == [{"id": 17, "mail": "ann%2Bx%40example.org"}]
    figures = hub.client().get("/metrics").body.decode()
    assert 'penstock_operations_total{connector="standard",operation="tax.quote",outcome="answered"} 1' in figures
    assert not docs.stored(hub.client())


@pytest.mark.parametrize("act,words", [
    (lambda *a: (500, {"error": {"message": "we are closed"}}), "the system answered 500: we are closed"),
    (lambda *a: (429, {}), "the system answered 429"),
    (lambda *a: (time.sleep(2), 1 // 0), "did not answer within 400 ms; it may have been done there"),
    (lambda *a: 1 // 0, "it may have been done there"),
    (lambda *a: (200, b"<html>"), "its answer can not be used: its answer is not JSON"),
    (lambda *a: (200, {"nothing": 1}), "its answer can not be used")])
def test_a_fallback_is_told(asking, system, act, words):
    hub = asking()
    system.act = act
    began = time.monotonic()
    answer = ask(hub)
    assert time.monotonic() - began < 1.5
    assert answer["fallback"] and answer["answer"] == {"tax": 0, "by": "nobody"} and words in answer["reason"]
    system.act = system.quote
    assert not ask(hub)["fallback"]


def test_without_a_fallback_the_caller_is_refused(asking, system):
    hub = asking(fallback="null")
    system.act = lambda *a: (503, {"detail": "later"})
    problem = ask(hub, status=502)
    assert problem["type"].endswith("/upstream") and "later" in problem["detail"]
    system.act = lambda *a: (time.sleep(2), 1 // 0)
    assert ask(hub, status=504)["type"].endswith("/upstream-timeout")
    system.act = lambda *a: (422, {"message": "no such country"})
    assert "no such country" in ask(hub, status=422)["detail"]
    system.act = system.quote
    assert ask(hub)["answer"]["tax"] == 190


def test_what_is_wrong_with_the_call_is_told(asking, system):
    hub = asking()
    api = hub.client()
    assert "amount" in api.post("/s/tax/quote", {"sum": 1}).ok(422)["detail"]
    assert "no operation tax.guess" in api.post("/s/tax/guess", {}).ok(404)["detail"]
    assert "nobody holds the role wms" in api.get("/s/wms/find").ok(404)["detail"]
    api.post("/s/tax/quote", raw=b'{"amount":').ok(400)
    assert not system.calls


def test_a_system_that_hangs_costs_nobody_else(asking, system):
    hub = asking(concurrency=4, timeout_ms=1500)
    other = hub.client()
    other.post("/v1/stock/counts", docs.count("TEE-RED-M", 1000)).ok(201)
    system.act = lambda *a: (time.sleep(3), 1 // 0)
    began = time.monotonic()
    with ThreadPoolExecutor(40) as pool:
        asked = [pool.submit(ask, hub) for _ in range(40)]
        time.sleep(0.2)
        slowest = 0
        for _ in range(20):
            at = time.monotonic()
            other.post("/v1/orders", docs.order(("TEE-RED-M", 1))).ok(201)
            slowest = max(slowest, time.monotonic() - at)
        answers = [future.result() for future in asked]
    assert time.monotonic() - began < 3 and slowest < 1
    assert all(answer["fallback"] for answer in answers) and system.most <= 4
    assert {"no turn came", "did not answer"} == {word for answer in answers
                                                 for word in ("no turn came", "did not answer")
                                                 if word in answer["reason"]} or len(system.calls) == 4


def test_a_system_that_fails_in_a_row_is_left_alone(asking, system):
    hub = asking()
    system.act = lambda *a: (500, {})
    reasons = [ask(hub)["reason"] for _ in range(20)]
    assert len(system.calls) == 5 and "left alone for a while" in reasons[-1]
    figures = hub.client().get("/metrics").body.decode()
    assert 'penstock_operation_breaker_open{connector="standard",operation="tax.quote"} 1' in figures
    system.act = system.quote
    until(lambda: not ask(hub)["fallback"], 10, "the system to be asked again")
    assert "the other system answers again" in hub.log()


def test_the_pace_and_the_number_at_once_are_kept(asking, system):
    hub = asking(concurrency=3, rate=10, timeout_ms=3000)
    slow = system.quote
    system.act = lambda *a: (time.sleep(0.05), slow(*a))[1]
    with ThreadPoolExecutor(25) as pool:
        answers = list(pool.map(lambda _: ask(hub), range(25)))
    assert [answer["reason"] for answer in answers if answer["fallback"]] == []
    assert system.most <= 3
    for at in system.times:
        assert len([t for t in system.times if at <= t < at + 0.95]) <= 20
    assert system.times[-1] - system.times[0] > 1.0


def test_another_system_is_another_row(binary, tmp_path, system):
    """Who holds a role depends on region, store and percentage; callers ask as before."""
    others = {name: System(name) for name in ("north", "shop7", "pilot")}
    hub = Hub(binary, tmp_path)
    connect(hub, system)
    for name, other in others.items():
        connect(hub, other, name)
    roles(hub, "{role: tax, connector: north, region: 'no'}", "{role: tax, connector: shop7, store: S-7}",
          "{role: tax, connector: pilot, region: dk, percent: 30}", "{role: tax, connector: standard}")
    for made in running(hub.start()):
        def who(query=""):
            answer = ask(made, query=query)
            assert answer["connector"] == answer["answer"]["by"]
            return answer["connector"]

        assert who() == who("?region=de") == who("?store=S-8") == "standard"
        assert who("?region=no") == who("?region=no&store=S-7") == "north" and who("?store=S-7") == "shop7"
        held = [who(f"?region=dk&key=cart-{n}") for n in range(100)]
        assert held == [who(f"?region=dk&key=cart-{n}") for n in range(100)]
        assert 15 < held.count("pilot") < 45 and set(held) == {"pilot", "standard"}
    for other in others.values():
        other.server.shutdown()
        other.server.server_close()


def test_who_may(asking, system):
    hub = asking()
    ask_with = lambda key: hub.client(key=key).post("/s/tax/quote", {"amount": 1})
    assert ask_with(hub.create_key("all", "systems:call")).status == 200
    assert ask_with(hub.create_key("tax", "systems:tax.quote")).status == 200
    assert ask_with(hub.create_key("area", "systems:*")).status == 200
    assert ask_with(hub.create_key("crm", "systems:crm.find")).status == 403
    assert ask_with(hub.create_key("orders", "orders:write")).status == 403


def test_a_stop_answers_who_waits(binary, tmp_path, system):
    hub = Hub(binary, tmp_path)
    connect(hub, system, timeout_ms=20000)
    roles(hub, "{role: tax, connector: standard}")
    hub.env["PENSTOCK_DRAIN_TIMEOUT_MS"] = "500"
    for made in running(hub.start()):
        system.act = lambda *a: (time.sleep(15), 1 // 0)
        told = []
        caller = threading.Thread(target=lambda: told.append(made.client().post("/s/tax/quote", {"amount": 1})))
        caller.start()
        until(lambda: system.calls, 5, "the call")
        made.process.signal(signal.SIGTERM)
        caller.join(10)
        made.process.wait()
    assert told and told[0].status == 503


@pytest.mark.parametrize("change,words", [
    (("tax.quote", "taxes.quote"), "one of the roles erp, pim"),
    (("mapping_in: quote_in.lua", "mapping_in: gone.lua"), "gone.lua"),
    (("timeout_ms: 400", "timeout_ms: 5"), "timeout_ms")])
def test_a_wrong_section_is_told(binary, tmp_path, system, change, words):
    hub = Hub(binary, tmp_path)
    connect(hub, system)
    path = hub.config / "connectors" / "standard" / "connector.yaml"
    path.write_text(path.read_text().replace(*change))
    done = binary.run("check", "-C", str(hub.config), env=hub.env)
    assert done.returncode != 0 and words in done.stdout + done.stderr


def test_a_role_nobody_can_hold_is_told(binary, tmp_path, system):
    hub = Hub(binary, tmp_path)
    connect(hub, system)
    roles(hub, "{role: tax, connector: standrad}", "{role: taxes, connector: standard}")
    done = binary.run("check", "-C", str(hub.config), env=hub.env)
    assert done.returncode != 0 and "/roles/1/role" in done.stdout + done.stderr
    path = hub.config / "penstock.yaml"
    path.write_text(path.read_text().replace("role: taxes", "role: tax"))
    done = binary.run("check", "-C", str(hub.config), env=hub.env)
    assert done.returncode != 0 and "standrad" in done.stdout + done.stderr
