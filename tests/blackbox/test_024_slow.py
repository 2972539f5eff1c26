"""Clients that are slow on purpose, to send or to take: each wait of ours ends, what it holds
meanwhile is bounded, and others are served. Times are short here by settings; patience bounds
what a slow build may add."""

import json
import socket
import struct
import threading
import time

import pytest

import docs
from conftest import running
from hub import Hub
from wire import Connection, Gone, until

HEADER_S, BODY_S, IDLE_S, WRITE_S, RATE = 0.6, 0.8, 1.0, 1.0, 2000
SETTINGS = {"PENSTOCK_HEADER_TIMEOUT_MS": "600", "PENSTOCK_BODY_TIMEOUT_MS": "800",
            "PENSTOCK_IDLE_TIMEOUT_MS": "1000", "PENSTOCK_WRITE_TIMEOUT_MS": "1000",
            "PENSTOCK_BULK_RATE_MIN": str(RATE), "PENSTOCK_BULK_ANSWER_BYTES_MAX": "65536",
            "PENSTOCK_BODIES_BYTES_MAX": "8388608"}


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    yield from running(Hub(binary, tmp_path_factory.mktemp("hub"), SETTINGS).start())


def connect(hub, receive_bytes=None):
    c = Connection.__new__(Connection)
    sock = socket.socket()
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    sock.settimeout(20)
    sock.connect((hub.host, hub.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    c.sock, c.stream, c.host, c.closed = sock, sock.makefile("rb"), f"{hub.host}:{hub.port}", False
    return c


def keyed(hub, *more):
    return [("Authorization", f"Bearer {hub.key}"), *more]


JSON = ("Content-Type", "application/json")
LINES = ("Content-Type", "application/x-ndjson")


def drip(c, data, every_s, at_most_s):
    """Sends a byte every so often until the peer has had enough; after how long that was."""
    started = time.monotonic()
    for byte in data:
        took = time.monotonic() - started
        assert took < at_most_s, f"{took:.1f} s and no end"
        try:
            c.send(bytes([byte]))
        except Gone:
            return took
        c.sock.settimeout(every_s)
        try:
            if c.sock.recv(1, socket.MSG_PEEK) is not None:
                return time.monotonic() - started
        except TimeoutError:
            pass  # this wait is the pace
        except OSError:
            return time.monotonic() - started
        finally:
            c.sock.settimeout(20)
    pytest.fail("all of it was taken")


def resident_mb(hub):
    with open(f"/proc/{hub.process.popen.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


def test_010_nothing_said_at_all_ends_without_a_word(hub):
    started = time.monotonic()
    with connect(hub) as c:
        assert c.at_end()
    assert HEADER_S * 0.9 < time.monotonic() - started < (HEADER_S + 1) * hub.binary.patience


@pytest.mark.parametrize("begin", [b"G", b"\r\n", b"GET /livez HTTP/1.1\r\nHost: x\r\nX: "])
def test_011_a_head_in_drips_is_408(hub, begin):
    with connect(hub) as c:
        c.send(begin)
        took = drip(c, b"A" * 1000, 0.05, (HEADER_S + 2) * hub.binary.patience)
        assert took > HEADER_S * 0.8
        c.read_answer().problem(408, slug="timeout")
        assert c.at_end()


def test_012_the_second_head_of_a_connection_too(hub):
    with connect(hub) as c:
        assert c.request("GET", "/livez").status == 200
        c.send(b"GET /livez HT")
        c.read_answer().problem(408)
        assert c.at_end()


def test_013_a_body_in_drips_is_408(hub):
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/stock/counts", keyed(hub, JSON), 1000))
        took = drip(c, b" " * 1000, 0.05, (BODY_S + 2) * hub.binary.patience)
        assert took > BODY_S * 0.8
        c.read_answer().problem(408)
        assert c.at_end()


def test_014_a_chunked_body_in_drips_of_framing_is_408(hub):
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/stock/counts", keyed(hub, JSON, ("Transfer-Encoding", "chunked")),
                      None))
        drip(c, b"1;a=b\r\n \r\n" * 100, 0.05, (BODY_S + 2) * hub.binary.patience)
        c.read_answer().problem(408)


def test_015_a_body_promised_with_expect_and_never_sent_is_408(hub):
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/stock/counts", keyed(hub, JSON, ("Expect", "100-continue")), 10))
        assert c.read_head()[0] == 100
        c.read_answer().problem(408)
        assert c.at_end()


def test_016_a_refused_body_in_drips_ends_too(hub):
    """401 was said; the rest of the body is waited for only so long."""
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/stock/counts", [JSON], 1000))
        assert c.read_answer().status == 401
        drip(c, b" " * 1000, 0.05, (BODY_S + 2) * hub.binary.patience)
        assert c.at_end()


def test_020_a_bulk_body_in_drips_ends(hub):
    """One byte now and then must not hold an exchange for ever."""
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/stock/counts", keyed(hub, LINES, ("Transfer-Encoding", "chunked")),
                      None))
        took = drip(c, b"1\r\n \r\n" * 1000, 0.05, (BODY_S + 3) * hub.binary.patience)
        assert took > BODY_S * 0.8
        c.read_answer().problem(408)
        assert c.at_end()


def test_021_a_bulk_body_at_a_fair_pace_has_its_time(hub):
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/stock/counts", keyed(hub, LINES, ("Transfer-Encoding", "chunked")),
                      None))
        lines = 0
        started = time.monotonic()
        while time.monotonic() - started < 3 * BODY_S:
            part = b"".join(json.dumps(docs.count("PACE", 1)).encode() + b"\n" for _ in range(12))
            c.send(b"%x\r\n%s\r\n" % (len(part), part))
            lines += 12
            time.sleep(0.2)  # the pace of this client: about 4000 bytes a second
        c.send(b"0\r\n\r\n")
        answer = c.read_answer()
        assert [x["status"] for x in answer.lines] == [201] * lines


def test_022_a_bulk_body_that_the_hub_holds_back_has_its_time(hub):
    """Results are not read for a while: the body waits for us, not we for the body."""
    line = json.dumps({"sku": "x" * 200}).encode() + b"\n"  # refused, and the result is long
    with connect(hub, 4096) as c:
        c.send(c.head("POST", "/v1/stock/counts", keyed(hub, LINES, ("Transfer-Encoding", "chunked")),
                      None))
        done = threading.Event()

        def send():
            try:
                for _ in range(40):
                    part = line * 100
                    c.send(b"%x\r\n%s\r\n" % (len(part), part))
                c.send(b"0\r\n\r\n")
            finally:
                done.set()
        thread = threading.Thread(target=send)
        thread.start()
        status, _, headers = c.read_head()
        text = b""
        while chunk := c.read_chunk():
            text += chunk
            if not done.is_set():
                time.sleep(0.01)  # the pace of this client
        thread.join()
        assert status == 200 and text.count(b"\n") == 4000


# --- reading ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(hub):
    api = hub.client()
    api.bulk("/v1/stock/counts", [docs.count(f"FILL-{i:05}", i) for i in range(8000)])
    return hub


def test_030_an_answer_that_is_not_taken_ends_the_connection(filled):
    """Megabytes for a client that reads nothing: the memory is given back after write_timeout_ms."""
    with connect(filled, 4096) as c:
        c.send(c.head("GET", "/v1/events?limit=8000", keyed(filled), None))
        assert filled.client().get("/livez").status == 200
        time.sleep((WRITE_S + 2) * filled.binary.patience)  # past the deadline, and a sweep
        with pytest.raises(Gone):
            c.read_answer()


def test_031_an_answer_taken_in_drips_ends_too(filled):
    with connect(filled, 4096) as c:
        c.send(c.head("GET", "/v1/events?limit=8000", keyed(filled), None))
        started, taken = time.monotonic(), 0
        try:
            while time.monotonic() - started < (WRITE_S + 2) * filled.binary.patience:
                taken += len(c.sock.recv(1))
                time.sleep(0.002)  # 500 bytes a second at the very most
            while part := c.sock.recv(65536):
                taken += len(part)
        except ConnectionError:
            pass
        assert taken < 1_000_000  # of some five million


def test_032_a_feed_that_is_not_read_ends(filled):
    with connect(filled, 4096) as c:
        c.send(c.head("GET", "/v1/events?after=0", keyed(filled, ("Accept", "text/event-stream")), None))
        assert c.read_head()[0] == 200
        until(lambda: filled.client().get("/metrics").body.count(b"penstock_http_") > 0, 10, "metrics")
        time.sleep((WRITE_S + 2) * filled.binary.patience)
        with pytest.raises(Gone):
            while True:
                c.read_chunk()


def test_033_questions_without_reading_are_not_all_answered_into_memory(filled):
    """A thousand large answers for one connection that reads nothing: the next question is read
    only when what is there has been taken."""
    before = resident_mb(filled)
    connections = [connect(filled, 4096) for _ in range(20)]
    try:
        for c in connections:
            c.sock.setblocking(False)
            head = c.head("GET", "/openapi.json", [], None) * 1000
            try:
                c.sock.send(head)
            except BlockingIOError:
                pass
        assert filled.client().get("/livez").status == 200
        time.sleep(0.3)
        per_connection = (resident_mb(filled) - before) / len(connections)
        assert per_connection < 3, f"{per_connection:.1f} MB for each connection"
    finally:
        for c in connections:
            c.close()


def test_034_questions_without_reading_are_all_answered_once_read(filled):
    with connect(filled) as c:
        sender = threading.Thread(target=c.send, args=(
            c.head("GET", "/openapi.json", [], None) * 40 + c.head("GET", "/livez", [], None),))
        sender.start()
        for _ in range(40):
            assert c.read_answer().status == 200
        assert c.read_answer().json == {"alive": True}
        sender.join()


def test_040_long_bodies_have_a_bound_together(hub):
    """Bodies of 3 MB that never end: the third does not fit into bodies_bytes_max and is shed; when
    the others are gone there is room again."""
    with connect(hub) as a, connect(hub) as b, connect(hub) as c:
        answers = []
        for i, each in enumerate((a, b, c)):
            each.send(each.head("POST", "/v1/orders", keyed(hub, JSON), 3_500_000) + b" " * 3_000_000)
            if i < 2:
                each.sock.settimeout(20)
        for each in (a, b, c):
            answers.append(each.read_answer())
        assert sorted(x.status for x in answers)[-1] == 503, answers
        shed = next(x for x in answers if x.status == 503)
        assert shed.header("retry-after") and b"bodies_bytes_max" in shed.body
    hub.client().post("/v1/orders", raw=b" " * 3_000_000).problem(400)


# --- leaving ----------------------------------------------------------------------------------


def reset(c):
    c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    c.close()


def test_050_a_reset_anywhere_harms_nobody(hub):
    api = hub.client()
    body = json.dumps(docs.count("RESET", 5)).encode()
    c = connect(hub)
    whole = c.head("POST", "/v1/stock/counts", keyed(hub, JSON), len(body)) + body
    bulk = (body + b"\n") * 200
    lines = c.head("POST", "/v1/stock/counts", keyed(hub, LINES), len(bulk)) + bulk
    feed = c.head("GET", "/v1/events?wait=30&after=99999999", keyed(hub), None)
    pipelined = c.head("GET", "/openapi.json", [], None) * 30
    c.close()
    for data in (whole, lines, feed, pipelined):
        for cut in sorted({1, 5, 16, len(data) // 3, len(data) - len(body), len(data) - 1, len(data)}):
            c = connect(hub)
            c.send(data[:cut])
            reset(c)
    assert api.get("/livez").status == 200
    until(lambda: docs.connections(api) <= 3, 10 * hub.binary.patience, "all connections forgotten")


def test_051_half_a_close(hub):
    """What was asked for whole is answered; what was not, is not waited for."""
    with connect(hub) as c:
        c.send(c.head("GET", "/livez", [], None) * 3)
        c.sock.shutdown(socket.SHUT_WR)
        for _ in range(3):
            assert c.read_answer().status == 200
        assert c.at_end()
    for data in (b"GET /livez HTTP/1.1\r\nHo", c.head("POST", "/v1/orders", keyed(hub, JSON), 10) + b"{"):
        with connect(hub) as c:
            started = time.monotonic()
            c.send(data)
            c.sock.shutdown(socket.SHUT_WR)
            assert c.at_end()
            assert time.monotonic() - started < 0.5 * hub.binary.patience
