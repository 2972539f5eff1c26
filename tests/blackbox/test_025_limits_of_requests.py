"""The bounds of a request, each at its edge: what just fits is taken, one more is refused with the
status that says so, the connection ends, the next caller is served."""

import json
import socket
import threading

import pytest

import docs
from conftest import running
from hub import Hub
from wire import Connection, Gone, until

HEAD, TARGET, FIELDS, BODY, LINE, PIPELINE = 4096, 1024, 20, 20000, 4000, 4
SETTINGS = {"PENSTOCK_HEADER_BYTES_MAX": str(HEAD), "PENSTOCK_TARGET_BYTES_MAX": str(TARGET),
            "PENSTOCK_HEADER_COUNT_MAX": str(FIELDS), "PENSTOCK_BODY_BYTES_MAX": str(BODY),
            "PENSTOCK_BULK_LINE_BYTES_MAX": str(LINE), "PENSTOCK_PIPELINE_MAX": str(PIPELINE)}


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    yield from running(Hub(binary, tmp_path_factory.mktemp("hub"), SETTINGS).start())


def connect(hub):
    return Connection(hub.host, hub.port, 20)


def check(hub, data, status, slug=None):
    """Answered with this status; below 400 the connection goes on, else it ends."""
    with connect(hub) as c:
        try:
            c.send(data)
        except Gone:
            pass  # refused while it was being sent
        answer = c.read_answer()
        assert answer.status == status, answer
        if status < 400:
            assert c.request("GET", "/livez").status == 200
        else:
            answer.problem(status, slug=slug)
            assert answer.header("connection") == "close" and c.at_end()
    assert hub.client(key=None).get("/livez").status == 200


def head_of(length):
    """A head of exactly so many bytes."""
    start, end = b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Fill: ", b"\r\n\r\n"
    return start + b"f" * (length - len(start) - len(end)) + end


def test_010_the_head_as_a_whole(hub):
    check(hub, head_of(HEAD), 200)
    check(hub, head_of(HEAD + 1), 431, "headers-too-large")
    check(hub, head_of(HEAD * 50), 431)


def test_011_a_name_without_end(hub):
    check(hub, b"GET /livez HTTP/1.1\r\nHost: x\r\nX" + b"n" * HEAD * 20, 431)


def test_012_the_number_of_fields(hub):
    start = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
    check(hub, start + b"X: 1\r\n" * (FIELDS - 1) + b"\r\n", 200)
    check(hub, start + b"X: 1\r\n" * FIELDS + b"\r\n", 431)
    check(hub, start + b"X:\r\n" * 10000, 431)


def test_013_the_target(hub):
    check(hub, b"GET /livez?" + b"q" * (TARGET - 7) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 200)
    check(hub, b"GET /livez?" + b"q" * (TARGET - 6) + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414,
          "uri-too-long")
    check(hub, b"GET /" + b"q" * HEAD * 20, 414)


def test_014_a_method_without_end(hub):
    check(hub, b"G" * HEAD * 20, 414)


def keyed(hub, *more):
    return [("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json"), *more]


def body_of(length, sku="EDGE"):
    doc = json.dumps(docs.count(sku, 1)).encode()
    return doc + b" " * (length - len(doc))


def test_020_the_body(hub):
    with connect(hub) as c:
        head = c.head("POST", "/v1/stock/counts", keyed(hub), BODY)
        more = c.head("POST", "/v1/stock/counts", keyed(hub), BODY + 1)
    check(hub, head + body_of(BODY), 201)
    check(hub, more + body_of(BODY + 1), 413, "too-large")
    check(hub, more, 413)  # said without waiting for it


@pytest.mark.parametrize("piece", [1, 7, 1000, BODY + 1])
def test_021_the_chunked_body(hub, piece):
    with connect(hub) as c:
        head = c.head("POST", "/v1/stock/counts", keyed(hub, ("Transfer-Encoding", "chunked")), None)

    def chunked(length):
        data = body_of(length)
        parts = (data[i:i + piece] for i in range(0, length, piece))
        return head + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
    check(hub, chunked(BODY), 201)
    check(hub, chunked(BODY + 1), 413)


def test_022_a_body_of_the_largest_length_there_is(hub):
    for length in (1 << 63, (1 << 64) - 1):
        with connect(hub) as c:
            head = c.head("POST", "/v1/stock/counts", keyed(hub), length)
        check(hub, head, 413)


def test_023_a_line_of_a_bulk_body(hub):
    api = hub.client()
    lines = [body_of(LINE), body_of(LINE + 1), b"x" * LINE * 30, body_of(LINE)]
    answer = api.post("/v1/stock/counts", raw=b"\n".join(lines), media="application/x-ndjson")
    assert [x["status"] for x in answer.lines] == [201, 413, 413, 201]


def test_024_the_largest_chunk_there_is_in_a_bulk_body(hub):
    """A chunk may be as long as it likes, since lines are taken as they come; it never ends."""
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/x-ndjson"),
            ("Transfer-Encoding", "chunked")], None) + b"ffffffffffffffff\r\n")
        for i in range(3):
            c.send(body_of(100, f"HUGE-{i}") + b"\n")
            if i == 0:
                assert c.read_head()[0] == 200
            assert json.loads(c.read_chunk())["status"] == 201


def test_030_thousands_of_requests_at_once(hub):
    """Sent without waiting, answered in order, no more than pipeline_max of them under way."""
    with connect(hub) as c:
        data = b"".join(c.head("GET", "/livez", [("Penstock-Correlation-Id", f"p-{i}")], None)
                        for i in range(5000))
        sender = threading.Thread(target=c.send, args=(data,))
        sender.start()
        for i in range(5000):
            assert c.read_answer().header("penstock-correlation-id") == f"p-{i}"
        sender.join()


def test_031_thousands_of_requests_and_away(hub):
    """Sent, not waited for: commands that were read count, the rest does not; nobody else is hurt."""
    api = hub.client()
    for _ in range(5):
        with connect(hub) as c:
            body = body_of(100, "AWAY")
            data = (c.head("POST", "/v1/stock/counts", keyed(hub), len(body)) + body) * 2000
            try:
                c.send(data)
            except Gone:
                pass
        assert api.get("/livez").status == 200
    api.post("/v1/stock/counts", docs.count("AFTER", 2)).ok(201)


def test_032_a_bad_request_behind_good_ones(hub):
    """Those before it are answered, it is refused, nothing behind it is read."""
    with connect(hub) as c:
        good = c.head("GET", "/livez", [], None)
        c.send(good * 3 + b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + good)
        for _ in range(3):
            assert c.read_answer().status == 200
        assert c.read_answer().status == 400
        assert c.at_end()


def test_033_a_connection_goes_on_after_what_a_request_got_wrong(hub):
    """Only what makes it unsure where the next request begins ends a connection."""
    with connect(hub) as c:
        for method, path, headers, body, status in [
            ("GET", "/nowhere", [], None, 404), ("PUT", "/livez", [], b"", 405),
            ("POST", "/v1/orders", [], b"{}", 401), ("POST", "/v1/orders", keyed(hub), b"{", 400),
            ("POST", "/v1/orders", keyed(hub), b"{}", 422), ("BREW", "/livez", [], None, 501),
        ]:
            answer = c.request(method, path, headers, body)
            assert answer.status == status, answer
            if status == 501:  # unknown to the parser itself
                assert c.at_end()
            else:
                assert answer.header("connection") is None, answer


def test_040_more_connections_than_there_may_be(binary, tmp_path):
    """Those beyond connections_max get 503 at once; those that are open go on; places come free."""
    for hub in running(Hub(binary, tmp_path, {"PENSTOCK_CONNECTIONS_MAX": "30"}).start()):
        flood_check(hub)


def flood_check(hub):
    first = connect(hub)
    flood, statuses = [], []
    try:
        assert first.request("GET", "/livez").status == 200
        for _ in range(60):
            c = connect(hub)
            flood.append(c)
            c.send(c.head("GET", "/livez", [], None))
        for c in flood:
            try:
                statuses.append(c.read_answer().status)
            except Gone:
                statuses.append(503)  # reset over what we had sent already
        assert statuses.count(200) == 29 and statuses.count(503) == 31, statuses
        assert first.request("GET", "/livez").status == 200
    finally:
        for c in [first, *flood]:
            c.close()
    until(hub.is_ready, 10, "ready again after the flood")


def test_041_connections_that_come_and_go(hub):
    for _ in range(500):
        with socket.create_connection((hub.host, hub.port), timeout=20):
            pass
    until(hub.is_ready, 10, "ready after the flood")
