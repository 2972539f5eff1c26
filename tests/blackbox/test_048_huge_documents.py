"""Documents that are too large, too deep or too many: each has a precise answer at once, memory stays
bounded, nothing of them is stored, and the next caller is served."""

import json
import time
from pathlib import Path

import pytest

import docs
from conftest import running
from hub import Hub
from wire import Connection, Gone

MB = 1 << 20
BODY_MAX = 8 * MB  # body_bytes_max
PATHS = ["/v1/orders", "/v1/stock/counts", "/v1/stock/receipts", "/v1/reservations"]
# What all of this may add to the hub's largest memory: some bodies of 8 MB on each of two loops,
# their tokens and nodes.
MEMORY_MAX = 400 * MB


def memory(hub):
    """VmHWM in bytes."""
    text = Path(f"/proc/{hub.process.popen.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("VmHWM"))


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    for hub in running(Hub(binary, tmp_path_factory.mktemp("hub")).start()):
        hub.client().post("/v1/stock/counts", docs.count("HUGE", 10 ** 6)).ok(201)
        before = memory(hub)
        yield hub
        grown = memory(hub) - before
        print(f"VmHWM grew by {grown / MB:.0f} MB")
        assert hub.binary.slow or grown < MEMORY_MAX


@pytest.fixture(autouse=True)
def unharmed(hub):
    """Whatever was sent: nothing is stored of it, and the next caller is served at once."""
    before = docs.stored(hub.client())
    stored = []
    yield stored.append
    assert docs.stored(hub.client()) == before + sum(stored)
    started = time.monotonic()
    hub.client().post("/v1/orders", docs.order(("HUGE", 1))).ok(201)
    assert time.monotonic() - started < 2 * hub.binary.patience


def call(hub, raw, path="/v1/orders", seconds=5, **kw):
    """The answer, which must come within so many seconds; a refusal is small."""
    api = hub.client()
    started = time.monotonic()
    answer = api.post(path, raw=raw, **kw)
    spent = time.monotonic() - started
    assert spent < seconds * hub.binary.patience, f"{spent:.1f} s"
    assert answer.status < 300 or len(answer.body) < 256 * 1024, len(answer.body)
    return answer


def head(hub, path, *fields, media="application/json"):
    lines = [f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {hub.key}",
             f"Content-Type: {media}", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("path", [*PATHS, "/v1/orders/ord_x/cancel", "/x/shopify/orders-create",
                                  "/ops/held/1/discard"])
def test_a_hundred_megabytes_announced_are_refused_before_they_come(hub, path):
    with Connection(hub.host, hub.port) as c:
        started = time.monotonic()
        c.send(head(hub, path, f"Content-Length: {100 * MB}"))
        answer = c.read_answer()
        assert answer.status == 413, answer
        answer.problem(413, slug="too-large")
        assert time.monotonic() - started < 1 * hub.binary.patience
        try:  # a client that goes on sending meets a closed connection, not a reader
            for _ in range(100):
                c.send(b"x" * MB)
            assert c.at_end()
        except Gone:
            pass


@pytest.mark.parametrize("path", ["/v1/orders", "/x/shopify/orders-create"])
def test_a_hundred_megabytes_in_chunks_are_cut_off(hub, path):
    sent = 0
    with Connection(hub.host, hub.port) as c:
        c.send(head(hub, path, "Transfer-Encoding: chunked"))
        chunk = b"%x\r\n" % MB + b" " * MB + b"\r\n"
        try:
            while sent < 100 * MB:
                c.send(chunk)
                sent += MB
        except Gone:
            pass
        try:
            assert c.read_answer().status == 413
        except Gone:
            pass  # the answer was lost under what we still sent
    assert sent < 40 * MB, "the hub went on reading"


def test_a_line_without_end(hub):
    """NDJSON has no largest body, but a largest line: refused alone, the next one is read."""
    with Connection(hub.host, hub.port) as c:
        c.send(head(hub, "/v1/orders", "Transfer-Encoding: chunked", media="application/x-ndjson"))
        for _ in range(40):
            c.send(b"%x\r\n" % MB + b"x" * MB + b"\r\n")
        tail = b"\n" + b"{}\n"
        c.send(b"%x\r\n" % len(tail) + tail + b"\r\n0\r\n\r\n")
        lines = c.read_answer(method="POST").lines
    assert [x["status"] for x in lines] == [413, 422]


@pytest.mark.parametrize("raw, statuses", [
    (b"[" * 1000000, [400]), (b'{"a":' * 1000000, [400]), (b"[" * 1000000 + b"]" * 1000000, [413]),
    (b'{"ext":' * 1000000 + b"1" + b"}" * 1000000, [413]), (b"]" * 1000000, [400]),
    (b'{"ext":' + b"[" * 65 + b"]" * 65 + b"}", [413]),
    (b'{"ext":' + b"[" * 40 + b"]" * 40 + b"}", [422]), (b'[{"a":' * 500000, [400]),
    (b"[" * 1000000 + b'"\xff', [400]),
], ids=["open arrays", "open objects", "arrays", "objects", "closed", "65", "40", "mixed", "bad text"])
def test_a_million_levels(hub, raw, statuses):
    for path in PATHS:
        answer = call(hub, raw, path, 2)
        assert answer.status in statuses, answer
        detail = answer.problem(answer.status)["detail"]
        assert "deep" in detail or "line 1" in detail or answer.status == 422, detail


def test_ten_thousand_lines(hub):
    doc = docs.order(*[docs.line("HUGE", 1, line_id=str(i)) for i in range(10000)])
    problem = call(hub, json.dumps(doc).encode()).problem(422, ["/lines"])
    assert "at most 5000" in problem["errors"][0]["detail"]


def test_five_thousand_lines_are_an_order(hub, unharmed):
    doc = docs.order(*[docs.line("HUGE", 1, line_id=str(i)) for i in range(5000)])
    before = docs.stored(hub.client())
    assert call(hub, json.dumps(doc).encode()).status == 201
    unharmed(docs.stored(hub.client()) - before)


def test_ten_thousand_faults_are_counted_and_a_hundred_listed(hub):
    doc = docs.order(("HUGE", 1))
    bad = {"sku": "", "quantity": "x"}  # and two members missing
    doc["lines"] = [bad for _ in range(2500)]
    problem = call(hub, json.dumps(doc).encode()).problem(422)
    assert len(problem["errors"]) == 100
    assert problem["errors"][0]["pointer"] == "/lines/0/sku"
    assert "and 9999 more, of which 99 are listed" in problem["detail"], problem["detail"]
    many = {f"m{i}": 1 for i in range(200000)}
    problem = call(hub, json.dumps({**docs.order(("HUGE", 1)), **many}).encode()).problem(422)
    assert len(problem["errors"]) == 100 and "199999 more" in problem["detail"]


@pytest.mark.parametrize("text", [
    b"1" * 1000000, b"-" + b"9" * 1000000, b"1e999999999999", b"1." + b"0" * 1000000, b"1E-" + b"9" * 100000,
    b'"' + b"9" * 1000000 + b'"', b'"0.' + b"0" * 1000000 + b'1"',
], ids=lambda t: repr(t[:8]))
def test_huge_numbers(hub, text):
    order = json.dumps(docs.order(("HUGE", 1))).encode()
    for old, pointer in ((b'"unit_price": 1999', "/lines/0/unit_price"),
                         (b'"quantity": "1"', "/lines/0/quantity"), (b'"grand": 1999', "/totals/grand")):
        assert old in order
        raw = order.replace(old, old.split(b":")[0] + b": " + text)
        call(hub, raw).problem(422, [pointer])


@pytest.mark.parametrize("char", ["x", "\u00e4", "\u20ac", "\U0001F600", "\U0010FFFF", '"', "\\", "\u0001"])
def test_huge_texts(hub, char):
    for name, pointer in (("channel_order_id", "/channel_order_id"), ("channel", "/channel")):
        doc = {**docs.order(("HUGE", 1)), name: char * 300000}
        for ascii_only in (True, False):
            raw = json.dumps(doc, ensure_ascii=ascii_only).encode()
            call(hub, raw).problem(422, [pointer])
    doc = {**docs.order(("HUGE", 1)), char * 100000: 1}  # a name, of which no more than a part is told
    problem = call(hub, json.dumps(doc, ensure_ascii=False).encode()).problem(422)
    assert len(problem["errors"]) == 1 and len(problem["errors"][0]["pointer"]) < 300


def test_characters_of_every_plane_come_back(hub, unharmed):
    """As escapes or as they are; names and values; decomposed stays decomposed."""
    text = "a\u0308 \u00e4 \u20ac \U0001F600 \U0001F468\u200d\U0001F469 \U0010FFFF \uFFFD \u2028 e\u0301"
    api = hub.client()
    before = docs.stored(api)
    for ascii_only in (True, False):
        doc = docs.order(("HUGE", 1), ext={text: [text]}, customer={"name": text})
        made = call(hub, json.dumps(doc, ensure_ascii=ascii_only).encode()).ok(201)
        kept = api.get("/v1/orders/" + made["order_id"]).ok()
        assert kept["ext"] == {text: [text]} and kept["customer"]["name"] == text
    unharmed(docs.stored(api) - before)


def crowd(count, name):
    return b"{" + b",".join(b'"%s":0' % name(i) for i in range(count)) + b"}"


@pytest.mark.parametrize("name", [
    lambda i: b"a", lambda i: b"k%07d" % i, lambda i: b"%07dk" % (i * 2654435761 % 10 ** 7),
    lambda i: b"x" * 16 + b"%06d" % i, lambda i: b"\\u%04x" % (0x4e00 + i % 20000),
], ids=["one name", "rising", "scattered", "long beginning", "escapes"])
def test_many_names(hub, name):
    """No table of names is keyed by a hash that a caller could foresee, and nothing is compared pair
    by pair: many names, or the same one many times, take no longer than their bytes."""
    crowded = crowd(200000, name)
    whole = json.dumps(docs.order(("HUGE", 1), ext={})).encode()
    for raw in (crowded, whole.replace(b'"ext": {}', b'"ext": ' + crowded[:-1] + b',"a":1,"a":1}')):
        answer = call(hub, raw, seconds=2)
        problem = answer.problem(422)
        assert 1 <= len(problem["errors"]) <= 100


def test_too_many_values(hub):
    """Their bytes would fit, their nodes would not."""
    doc = json.dumps(docs.order(("HUGE", 1), ext={})).encode()
    values = b"[" + b"0," * (BODY_MAX // 2 - 1000) + b"0]"
    answer = call(hub, doc.replace(b'"ext": {}', b'"ext": ' + values))
    assert answer.status in (413, 422), answer


def test_card_numbers_without_end(hub, unharmed):
    """Very many of them are found quickly, and not told one by one."""
    doc = json.dumps(docs.order(("HUGE", 1), ext={})).encode()
    cards = b"[" + b'"4111111111111111",' * 350000 + b"0]"
    problem = call(hub, doc.replace(b'"ext": {}', b'"ext": ' + cards), seconds=3).problem(422)
    assert len(problem["errors"]) == 100 and "4111111111" not in json.dumps(problem)
    assert "349999 more" in problem["detail"]
    unharmed(1)  # the exception that tells of it
