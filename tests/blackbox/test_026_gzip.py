"""gzip in and out: taken and given exactly where it is said to be; bodies that swell cost little."""

import base64
import gzip
import hashlib
import hmac
import json
import random
import threading
import time
import zlib

import pytest

import docs
from conftest import running
from hub import Hub
from wire import Connection, Gone, until

SECRET = "a-secret-of-the-tests"
ENV = {"SHOPIFY_WEBHOOK_SECRET": SECRET, "PENSTOCK_BODY_BYTES_MAX": "2000000",
       "PENSTOCK_BULK_LINE_BYTES_MAX": "1000000"}


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    yield from running(Hub(binary, tmp_path_factory.mktemp("hub"), ENV).start())


def stored(hub):
    return docs.stored(hub.client())


def resident_mb(hub):
    with open(f"/proc/{hub.process.popen.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


def post(api, path, raw, coding="gzip", **headers):
    return api.post(path, raw=raw, headers={"Content-Encoding": coding, **headers})


def swelling(megabytes, with_=b" "):
    """A small gzip of so many megabytes."""
    packer, block = zlib.compressobj(9, zlib.DEFLATED, 31), with_ * (1 << 20)
    return b"".join(packer.compress(block) for _ in range(megabytes)) + packer.flush()


# --- in ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "identity, gzip", " gzip "])
def test_010_a_document_in_gzip(api, sku, coding):
    name = sku()
    post(api, "/v1/stock/counts", gzip.compress(json.dumps(docs.count(name, 4)).encode()),
         coding).ok(201)
    assert docs.stock(api, name)[0] == "4"


def test_011_several_members_are_one_body(api, sku):
    name = sku()
    text = json.dumps(docs.count(name, 4)).encode()
    post(api, "/v1/stock/counts", b"".join(gzip.compress(text[i:i + 9]) for i in range(0, len(text), 9))
         + gzip.compress(b"")).ok(201)
    assert docs.stock(api, name)[0] == "4"


def test_012_byte_by_byte_and_chunked(hub, api, sku):
    name = sku()
    body = gzip.compress(json.dumps(docs.count(name, 4)).encode())
    with Connection(hub.host, hub.port) as c:
        data = c.head("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json"),
            ("Content-Encoding", "gzip"), ("Transfer-Encoding", "chunked")], None)
        data += b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
        for i in range(len(data)):
            c.send(data[i:i + 1])
        assert c.read_answer().status == 201
        assert c.request("GET", "/livez").status == 200
    assert docs.stock(api, name)[0] == "4"


def test_013_the_same_order_plain_and_packed_is_the_same(api, stocked):
    key, text = docs.key(), json.dumps(docs.order((stocked(5), 1))).encode()
    first = post(api, "/v1/orders", gzip.compress(text), **key)
    again = api.post("/v1/orders", raw=text, headers=key)
    assert (first.status, again.status) == (201, 200) and first.body == again.body
    assert again.header("idempotency-replayed") == "true"


def test_014_bulk_in_gzip(api, sku):
    names = [sku() for _ in range(3000)]
    text = b"".join(json.dumps(docs.count(n, 2)).encode() + b"\n" for n in names)
    answer = api.post("/v1/stock/counts", raw=gzip.compress(text), media="application/x-ndjson",
                      headers={"Content-Encoding": "gzip"})
    assert [x["status"] for x in answer.lines] == [201] * 3000
    assert [x["line"] for x in answer.lines] == list(range(1, 3001))
    assert docs.stock(api, names[2999])[0] == "2"


def test_015_bulk_that_swells_quickly_waits_for_its_answers(hub, api):
    """Much comes out of little: lines are held back as if they had come over the wire."""
    line = json.dumps(docs.count("SWELL", 2)).encode()
    blank = "".join(random.choices(" \t", k=800)).encode() * 2  # packs well, and below the ratio
    text = (line + b"\n" + blank + b"\n") * 6000
    before = resident_mb(hub)
    answer = api.post("/v1/stock/counts", raw=gzip.compress(text), media="application/x-ndjson",
                      headers={"Content-Encoding": "gzip"})
    assert [x["status"] for x in answer.lines] == [201] * 6000
    assert resident_mb(hub) - before < 60 * hub.binary.patience


COUNT = json.dumps(docs.count("NEVER", 4)).encode()
BROKEN = {
    "cut off": gzip.compress(COUNT)[:-9],
    "cut off before its checksum": gzip.compress(COUNT)[:-8],
    "cut off within its length": gzip.compress(COUNT)[:-1],
    "no gzip": COUNT,
    "zlib": zlib.compress(COUNT),
    "raw deflate": zlib.compress(COUNT)[2:-4],
    "wrong checksum": gzip.compress(COUNT)[:-8] + b"\0\0\0\0" + gzip.compress(COUNT)[-4:],
    "wrong length": gzip.compress(COUNT)[:-4] + b"\0\0\0\0",
    "garbage behind it": gzip.compress(COUNT) + b"garbage",
    "zeros behind it": gzip.compress(COUNT) + b"\0" * 100,
    "half a member behind it": gzip.compress(COUNT) + gzip.compress(COUNT)[:12],
    "a byte changed": gzip.compress(COUNT)[:20] + b"\xff" + gzip.compress(COUNT)[21:],
    "one byte": b"\x1f",
    "packed twice": gzip.compress(gzip.compress(COUNT)),
}


@pytest.mark.parametrize("media", ["application/json", "application/x-ndjson"])
@pytest.mark.parametrize("name", BROKEN)
def test_020_what_is_not_whole_and_right_is_400(hub, api, name, media):
    before = stored(hub)
    answer = api.post("/v1/stock/counts", raw=BROKEN[name], media=media,
                      headers={"Content-Encoding": "gzip"})
    if media.endswith("ndjson") and answer.status == 200:  # lines before the fault have been answered
        assert name == "packed twice" and answer.lines[0]["status"] == 400
    else:
        answer.problem(400)
    if media == "application/json" or name not in (
            "cut off before its checksum", "cut off within its length", "wrong length",
            "wrong checksum", "garbage behind it", "zeros behind it", "half a member behind it"):
        assert stored(hub) == before  # lines of a bulk call count as they come
    assert api.get("/livez").status == 200


@pytest.mark.parametrize("coding", ["deflate", "br", "zstd", "compress", "gzip, gzip", "br, gzip",
                                    "gzip, identity, gzip", "gzip;q=1", "x"])
@pytest.mark.parametrize("path", ["/v1/stock/counts", "/x/shopify/orders-create"])
def test_021_other_codings_are_415_and_told_what_is_taken(hub, api, path, coding):
    before = stored(hub)
    answer = post(api, path, gzip.compress(COUNT), coding)
    answer.problem(415, slug="content-coding")
    assert answer.header("accept-encoding") == "gzip"
    assert stored(hub) == before


def test_022_two_fields_are_one_list(hub):
    with Connection(hub.host, hub.port) as c:
        answer = c.request("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json"),
            ("Content-Encoding", "gzip"), ("Content-Encoding", "br")], gzip.compress(COUNT))
        answer.problem(415)


def test_023_who_may_not_call_unpacks_nothing(hub):
    api = hub.client(key="pk_wrong")
    api.post("/v1/orders", raw=swelling(1), headers={"Content-Encoding": "gzip"}).problem(401)


def test_030_a_document_that_swells_is_413_and_costs_little(hub, api):
    post(api, "/livez", b"")  # the first connection of this client
    before, events = resident_mb(hub), stored(hub)
    for _ in range(5):
        post(api, "/v1/orders", swelling(100)).problem(413)
        post(api, "/v1/orders", gzip.compress(b'{"channel":"' + b"x" * 3_000_000 + b'"}')).problem(413)
        post(api, "/v1/orders", swelling(1)).problem(400)  # no more than body_bytes_max: only blank
    assert resident_mb(hub) - before < 30 * hub.binary.patience
    assert stored(hub) == events


@pytest.mark.parametrize("with_", [b" ", b"\n", b"{}\n", b"x"])
def test_031_bulk_that_swells_is_broken_off(hub, api, with_):
    """Bulk has no bound on the whole body: the ratio is its bound."""
    before, events = resident_mb(hub), stored(hub)
    try:
        answer = api.post("/v1/stock/counts", raw=swelling(300, with_), media="application/x-ndjson",
                          headers={"Content-Encoding": "gzip"})
        answer.problem(413)
    except Gone:
        assert with_ != b"\n"  # results of lines had been sent: cut, so that it shows
    assert resident_mb(hub) - before < 60 * hub.binary.patience
    assert stored(hub) == events
    assert api.get("/livez").status == 200


def test_033_while_one_body_swells_others_are_served(binary, tmp_path):
    """Millions of blank lines, all there at once, on the only thread."""
    hub = Hub(binary, tmp_path, {"PENSTOCK_GZIP_RATIO_MAX": "2000", "PENSTOCK_LOOP_THREADS": "1"})
    for thing in running(hub.start()):
        body, slowest, asked = swelling(16, b"\n"), 0.0, 0
        done = threading.Event()

        def send():
            answer = thing.client().post("/v1/stock/counts", raw=body, media="application/x-ndjson",
                                         headers={"Content-Encoding": "gzip"})
            assert (answer.status, answer.body) == (200, b"")
            done.set()
        thread = threading.Thread(target=send)
        with Connection(thing.host, thing.port) as c:
            assert c.request("GET", "/livez").status == 200
            thread.start()
            began = time.monotonic()
            while not done.is_set() and thread.is_alive():
                started = time.monotonic()
                assert c.request("GET", "/livez").status == 200
                slowest, asked = max(slowest, time.monotonic() - started), asked + 1
        thread.join()
        assert done.is_set()
        assert asked > 10 and slowest < (time.monotonic() - began) / 4, (asked, slowest)


def test_032_what_packs_well_and_is_wanted_is_taken(api, sku):
    """A thousand lines that are nearly alike swell 40 times and are fine."""
    name = sku()
    text = (json.dumps(docs.count(name, 2)).encode() + b"\n") * 10000
    raw = gzip.compress(text)
    assert len(text) / len(raw) > 100
    answer = api.post("/v1/stock/counts", raw=raw, media="application/x-ndjson",
                      headers={"Content-Encoding": "gzip"})
    assert {x["status"] for x in answer.lines} == {201}


def webhook(hub, raw, signed, **headers):
    mac = base64.b64encode(hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()).decode()
    return hub.client(key=None).post("/x/shopify/orders-create", raw=raw, headers={
        "X-Shopify-Topic": "orders/create", "X-Shopify-Hmac-Sha256": mac,
        "X-Shopify-Webhook-Id": f"wh-{random.getrandbits(60)}", **headers})


def test_040_a_webhook_is_signed_as_it_was_sent_and_kept_unpacked(hub, api):
    text = json.dumps({"id": 4711, "unknown": "x" * 200}).encode()
    raw = gzip.compress(text)
    seq = webhook(hub, raw, raw, **{"Content-Encoding": "gzip"}).ok(200)["seq"]
    payload = docs.events(api, after=seq - 1)[0]
    assert "4711" in json.dumps(payload)
    webhook(hub, raw, text, **{"Content-Encoding": "gzip"}).problem(401)


def test_041_a_webhook_that_swells(hub):
    raw = swelling(50)
    before, events = resident_mb(hub), stored(hub)
    webhook(hub, raw, b"", **{"Content-Encoding": "gzip"}).problem(401)  # not so much as looked at
    webhook(hub, raw, raw, **{"Content-Encoding": "gzip"}).problem(413)
    webhook(hub, raw[:-9], raw[:-9], **{"Content-Encoding": "gzip"}).problem(413)
    cut = gzip.compress(b"{}" * 500)[:-3]
    webhook(hub, cut, cut, **{"Content-Encoding": "gzip"}).problem(400)
    assert resident_mb(hub) - before < 30 * hub.binary.patience
    assert stored(hub) == events


# --- out --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(hub):
    api = hub.client()
    for i in range(150):
        api.post("/v1/stock/counts", docs.count(f"OUT-{i}", 1000)).ok(201)
        api.post("/v1/orders", docs.full_order(f"OUT-{i}")).ok(201)
    until(lambda: len(api.get("/v1/orders?limit=100").ok()["items"]) == 100, what="the read model")
    return hub


def ask(hub, path, accept=None, method="GET", **headers):
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    if accept is not None:
        fields["Accept-Encoding"] = accept
    return hub.client().call(method, path, headers=fields)


@pytest.mark.parametrize("path", ["/v1/orders?limit=100", "/v1/events?limit=200", "/openapi.json",
                                  "/asyncapi.json", "/metrics"])
def test_050_long_answers_leave_in_gzip(filled, path):
    plain, packed = ask(filled, path), ask(filled, path, "gzip")
    assert plain.header("content-encoding") is None
    assert plain.header("vary") == packed.header("vary") == "Accept-Encoding"
    assert packed.header("content-encoding") == "gzip"
    assert len(packed.body) < len(plain.body) / 2
    if path != "/metrics":  # its figures change
        assert gzip.decompress(packed.body) == plain.body
        assert packed.header("link") == plain.header("link")
    assert packed.header("content-type") == plain.header("content-type")


@pytest.mark.parametrize("accept,packed", [
    ("gzip", True), ("GZIP", True), ("x-gzip", True), ("gzip, deflate, br", True), ("*", True),
    ("br;q=1.0, gzip;q=0.5", True), ("gzip;q=0.001", True), ("gzip; q=1", True),
    ("identity;q=0, gzip", True), ("gzip;q=1.000", True),
    ("", False), ("identity", False), ("br", False), ("gzip;q=0", False), ("gzip;q=0.000", False),
    ("*;q=0", False), ("gzip;q=0, *", False), ("gzip;q=0.5, identity;q=0.8", False),
    ("gzip;q=x", False), ("gzip;q=1.1", False), ("gzip;q=", False), ("xgzip", False), ("gzi", False),
])
def test_051_what_the_caller_takes(filled, accept, packed):
    answer = ask(filled, "/v1/orders?limit=100", accept)
    assert (answer.header("content-encoding") == "gzip") == packed
    assert answer.header("vary") == "Accept-Encoding"


def test_052_short_answers_and_problems_never(filled):
    for path in ("/livez", "/v1/availability?sku=OUT-1&location=WH-HAM", "/v1/nothing"):
        answer = ask(filled, path, "gzip")
        assert answer.header("content-encoding") is None and answer.header("vary") is None, answer
    long = ask(filled, "/v1/orders?" + "x" * 3000 + "=1", "gzip")
    assert long.status == 400 and len(long.body) > 1024 and long.header("content-encoding") is None


def test_053_answers_to_commands_never(filled):
    order = docs.full_order("OUT-1")
    answer = filled.client().post("/v1/orders", order, headers={"Accept-Encoding": "gzip"})
    assert answer.status == 201 and answer.header("content-encoding") is None


def test_054_nothing_for_who_sends_a_cookie(filled):
    """A browser that is made to ask in somebody's name (BREACH)."""
    for path in ("/v1/orders?limit=100", "/v1/events", "/openapi.json"):
        answer = ask(filled, path, "gzip", Cookie="session=1")
        assert answer.status == 200 and answer.header("content-encoding") is None


def test_055_server_sent_events_never(filled):
    with Connection(filled.host, filled.port) as c:
        c.send(c.head("GET", "/v1/events", [("Authorization", f"Bearer {filled.key}"),
                                            ("Accept", "text/event-stream"),
                                            ("Accept-Encoding", "gzip")], None))
        status, _, headers = c.read_head()
        assert status == 200 and "content-encoding" not in headers
        assert c.read_chunk() == b"retry: 2000\n\n"


def test_056_entity_tags(filled):
    """The tag of what is packed is another one (RFC 9110 section 8.8.3.3), of the same version, and
    both are good for If-Match."""
    api = filled.client()
    api.post("/v1/stock/counts", docs.count("TAGGED", 100)).ok(201)
    order_id = api.post("/v1/orders", docs.full_order("TAGGED")).ok(201)["order_id"]
    plain = ask(filled, f"/v1/orders/{order_id}")
    packed = ask(filled, f"/v1/orders/{order_id}", "gzip")
    assert packed.header("content-encoding") == "gzip"
    assert plain.header("etag") == '"1"' and packed.header("etag") == '"1-gzip"'
    wrong = api.post(f"/v1/orders/{order_id}/cancel", {"reason": "x"}, headers={"If-Match": '"9-gzip"'})
    wrong.problem(412)
    right = api.post(f"/v1/orders/{order_id}/cancel", {"reason": "x"},
                     headers={"If-Match": packed.header("etag")})
    assert right.status in (200, 202), right


def test_057_head_says_what_get_would(filled):
    got, head = ask(filled, "/openapi.json", "gzip"), ask(filled, "/openapi.json", "gzip", "HEAD")
    assert head.status == 200 and head.body == b""
    for name in ("content-encoding", "content-length", "vary", "content-type"):
        assert head.header(name) == got.header(name)


def test_058_results_of_bulk_calls_come_as_they_are_ready(filled):
    with Connection(filled.host, filled.port) as c:
        c.send(c.head("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {filled.key}"), ("Content-Type", "application/x-ndjson"),
            ("Accept-Encoding", "gzip"), ("Transfer-Encoding", "chunked")], None))
        unpacker, text = zlib.decompressobj(31), b""
        for i in range(1, 4):
            line = json.dumps(docs.count(f"FLUSH-{i}", i)).encode() + b"\n"
            c.send(b"%x\r\n%s\r\n" % (len(line), line))
            if i == 1:
                status, _, headers = c.read_head()
                assert status == 200 and headers["content-encoding"] == "gzip"
                assert headers["vary"] == "Accept-Encoding"
            while text.count(b"\n") < i:
                text += unpacker.decompress(c.read_chunk())
        c.send(b"0\r\n\r\n")
        while chunk := c.read_chunk():
            text += unpacker.decompress(chunk)
        assert unpacker.eof and not unpacker.unused_data
        assert [json.loads(x)["status"] for x in text.splitlines()] == [201] * 3
        assert c.request("GET", "/livez").status == 200


def test_060_off(binary, tmp_path):
    hub = Hub(binary, tmp_path, {"PENSTOCK_GZIP_ANSWER_BYTES_MIN": "0",
                                 "PENSTOCK_GZIP_RATIO_MAX": "2"})
    for thing in running(hub.start()):
        answer = ask(thing, "/openapi.json", "gzip")
        assert answer.header("content-encoding") is None and answer.header("vary") is None
        post(thing.client(), "/v1/orders", swelling(2)).problem(413)
