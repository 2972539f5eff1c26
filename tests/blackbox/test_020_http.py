"""HTTP/1.1: framing, limits, methods, media types, draining. Raw sockets where bytes matter."""

import json
import signal
import threading
import time

import pytest

import docs
from hub import Hub
from wire import Connection, Gone, until


def connect(hub, timeout_s=20):
    return Connection(hub.host, hub.port, timeout_s)


def auth(hub):
    return f"Authorization: Bearer {hub.key}\r\n"


def test_livez_and_readyz_need_no_key(hub):
    api = hub.client(key=None)
    assert api.get("/livez").status == 200
    assert api.get("/readyz").status == 200


def test_every_answer_carries_correlation_and_seq(api):
    answer = api.get("/v1/events")
    assert answer.seq >= 0
    given = api.get("/v1/events", headers={"Penstock-Correlation-Id": "till-7-42"})
    assert given.header("penstock-correlation-id") == "till-7-42"
    other = api.get("/v1/events", headers={"X-Correlation-ID": "shop-9"})
    assert other.header("penstock-correlation-id") == "shop-9"
    trace = "0af7651916cd43dd8448eb211c80319c"
    traced = api.get("/v1/events", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert trace in traced.header("penstock-correlation-id")
    made = {api.get("/v1/events").header("penstock-correlation-id") for _ in range(5)}
    assert len(made) == 5


def test_a_correlation_id_that_would_split_a_header_is_not_echoed(hub):
    with connect(hub) as c:
        c.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nPenstock-Correlation-Id: "
               + b"a" * 2000 + b"\r\n\r\n")
        answer = c.read_answer()
        assert len(answer.header("penstock-correlation-id") or "") <= 256


def test_keep_alive_serves_many_on_one_connection(hub):
    with connect(hub) as c:
        for _ in range(200):
            assert c.request("GET", "/livez").status == 200


def test_connection_close_is_honoured(hub):
    with connect(hub) as c:
        c.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = c.read_answer()
        assert answer.status == 200 and answer.header("connection") == "close"
        assert c.at_end()


def test_http_1_0_is_answered_and_closed(hub):
    with connect(hub) as c:
        c.send(b"GET /livez HTTP/1.0\r\nHost: x\r\n\r\n")
        assert c.read_answer().status == 200
        assert c.at_end()


def test_pipelined_requests_are_answered_in_order(hub, api, stocked):
    sku = stocked(1000)
    with connect(hub) as c:
        wire, expected = b"", []
        for i in range(60):
            doc = docs.order((sku, 1))
            body = json.dumps(doc).encode()
            wire += c.head("POST", "/v1/orders", [
                ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json"),
                ("Penstock-Correlation-Id", f"pipe-{i}")], len(body)) + body
            expected.append(201)
            wire += c.head("GET", "/livez", [("Penstock-Correlation-Id", f"pipe-live-{i}")], None)
            expected.append(200)
        sender = threading.Thread(target=c.send, args=(wire,))
        sender.start()
        for i in range(60):
            first, second = c.read_answer(), c.read_answer()
            assert (first.status, second.status) == (201, 200)
            assert first.header("penstock-correlation-id") == f"pipe-{i}"
            assert second.header("penstock-correlation-id") == f"pipe-live-{i}"
        sender.join()
    assert docs.stock(api, sku)[2] == "60"


def test_a_request_in_many_small_pieces(hub):
    body = json.dumps(docs.count("PIECES", 3)).encode()
    with connect(hub) as c:
        data = c.head("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json")],
            len(body)) + body
        for i in range(len(data)):
            c.send(data[i:i + 1])
        assert c.read_answer().status == 201


def test_chunked_body(hub):
    body = json.dumps(docs.count("CHUNKS", 3)).encode()
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json"),
            ("Transfer-Encoding", "chunked")], None))
        for i in range(0, len(body), 7):
            part = body[i:i + 7]
            c.send(b"%x\r\n%s\r\n" % (len(part), part))
        c.send(b"0\r\n\r\n")
        assert c.read_answer().status == 201


def test_expect_100_continue(hub):
    body = json.dumps(docs.count("EXPECT", 3)).encode()
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json"),
            ("Expect", "100-continue")], len(body)))
        status, _, _ = c.read_head()
        if status == 100:
            c.send(body)
            status = c.read_answer().status
        assert status in (201, 417)


def test_head_has_no_body(hub):
    with connect(hub) as c:
        answer = c.request("HEAD", "/livez")
        assert answer.status in (200, 405)
        assert c.request("GET", "/livez").status == 200


def test_unknown_path_is_404(api):
    api.get("/v1/nothing-here").problem(404, slug="not-found")
    api.get("/").status in (200, 404)
    api.get("/v1/orders/ord_nothing").problem(404)
    api.post("/v1/orders/ord_nothing/cancel", {}).problem(404)


@pytest.mark.parametrize("method,path,allowed", [
    ("PUT", "/v1/orders", {"GET", "POST"}),
    ("DELETE", "/v1/orders", {"GET", "POST"}),
    ("POST", "/v1/availability", {"GET"}),
    ("GET", "/v1/stock/counts", {"POST"}),
    ("POST", "/livez", {"GET"}),
])
def test_wrong_method_is_405_with_allow(api, method, path, allowed):
    answer = api.call(method, path, {} if method in ("PUT", "POST") else None)
    answer.problem(405, slug="method-not-allowed")
    found = {m.strip() for m in answer.header("allow").split(",")}
    assert allowed <= found and method not in found, answer


@pytest.mark.parametrize("media", ["text/plain", "application/xml", "application/jsonp",
                                   "multipart/form-data; boundary=x"])
def test_wrong_media_type_is_415(api, media):
    api.post("/v1/orders", docs.order(("X", 1)), media=media).problem(415, slug="media-type")


def test_no_media_type_is_415(hub):
    with connect(hub) as c:
        answer = c.request("POST", "/v1/orders", [("Authorization", f"Bearer {hub.key}")], b"{}")
        answer.problem(415)


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "Application/JSON",
                                   "application/json;charset=UTF-8"])
def test_json_with_parameters_is_taken(api, sku, media):
    api.post("/v1/stock/counts", docs.count(sku(), 1), media=media).ok(201)


def test_large_body_is_413(api):
    body = b'{"channel":"' + b"x" * (9 << 20) + b'"}'
    try:
        answer = api.post("/v1/orders", raw=body)
    except Gone:
        pytest.fail("the answer was lost: it must be read before the connection ends")
    answer.problem(413, slug="too-large")


def test_announced_large_body_is_refused_unread(hub):
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/orders", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json")],
            1 << 40))
        assert c.read_answer().status == 413


def test_large_chunked_body_is_413(hub):
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/orders", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json"),
            ("Transfer-Encoding", "chunked")], None))
        part = b"x" * 65536
        try:
            for _ in range(160):
                c.send(b"%x\r\n%s\r\n" % (len(part), part))
            c.send(b"0\r\n\r\n")
        except Gone:
            pass
        try:
            assert c.read_answer().status == 413
        except Gone:
            pass  # closed while we were still sending: refused as well
    assert hub.client().get("/livez").status == 200


def test_large_header_section_is_431(hub):
    with connect(hub) as c:
        c.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        c.send(b"".join(b"X-%d: %s\r\n" % (i, b"y" * 100) for i in range(400)) + b"\r\n")
        assert c.read_answer().status == 431
        assert c.at_end()


def test_endless_header_is_431(hub):
    with connect(hub) as c:
        c.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: ")
        try:
            for _ in range(64):
                c.send(b"z" * 4096)
        except Gone:
            pass
        assert c.read_answer().status == 431


def test_long_target_is_refused(hub):
    with connect(hub) as c:
        c.send(b"GET /" + b"a" * 30000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.read_answer().status in (414, 431)


def raw(text):
    return text.encode("latin-1")


ORDER = "POST /v1/orders HTTP/1.1\r\n"
BAD_FRAMING = {
    "bare LF after the request line": "GET /livez HTTP/1.1\nHost: x\r\n\r\n",
    "bare LF after a header": "GET /livez HTTP/1.1\r\nHost: x\nX-A: b\r\n\r\n",
    "bare LF as the empty line": "GET /livez HTTP/1.1\r\nHost: x\r\n\n",
    "bare CR after the request line": "GET /livez HTTP/1.1\rHost: x\r\n\r\n",
    "bare CR after a header": "GET /livez HTTP/1.1\r\nHost: x\rX-A: b\r\n\r\n",
    "bare CR in a value": "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\rb\r\n\r\n",
    "NUL in a value": "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\0b\r\n\r\n",
    "folded header": "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\r\n b\r\n\r\n",
    "folded header with tab": "GET /livez HTTP/1.1\r\nHost: x\r\nX-A: a\r\n\tb\r\n\r\n",
    "folded Content-Length": ORDER + "Host: x\r\nContent-Length:\r\n 2\r\n\r\n{}",
    "folded Transfer-Encoding":
        ORDER + "Host: x\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "no Host": "GET /livez HTTP/1.1\r\n\r\n",
    "two Hosts": "GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "two equal Hosts": "GET /livez HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    "Transfer-Encoding and Content-Length":
        ORDER + "Host: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Content-Length and Transfer-Encoding, other order":
        ORDER + "Host: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two Content-Lengths": ORDER + "Host: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "Content-Length with sign": ORDER + "Host: x\r\nContent-Length: +2\r\n\r\n{}",
    "negative Content-Length": ORDER + "Host: x\r\nContent-Length: -2\r\n\r\n{}",
    "Content-Length in hex": ORDER + "Host: x\r\nContent-Length: 0x2\r\n\r\n{}",
    "Content-Length list": ORDER + "Host: x\r\nContent-Length: 2, 2\r\n\r\n{}",
    "Content-Length beyond 64 bits":
        ORDER + "Host: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    "Transfer-Encoding not chunked": ORDER + "Host: x\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    "chunked not last": ORDER + "Host: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding on HTTP/1.0":
        "POST /v1/orders HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk size": ORDER + "Host: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "chunk with bare LF": ORDER + "Host: x\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n",
    "space before colon": "GET /livez HTTP/1.1\r\nHost : x\r\n\r\n",
    "space before first header": "GET /livez HTTP/1.1\r\n Host: x\r\n\r\n",
    "header without colon": "GET /livez HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n",
    "header without name": "GET /livez HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "method in lower case": "get /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown method": "FROBNICATE /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "another protocol": "SOURCE /livez ICE/1.0\r\nHost: x\r\n\r\n",
    "RTSP": "DESCRIBE /livez RTSP/1.0\r\nHost: x\r\n\r\n",
    "HTTP/0.9 by number": "GET /livez HTTP/0.9\r\nHost: x\r\n\r\n",
    "HTTP/2.0 by number": "GET /livez HTTP/2.0\r\nHost: x\r\n\r\n",
    "HTTP/3.0 by number": "GET /livez HTTP/3.0\r\nHost: x\r\n\r\n",
    "HTTP/1.9": "GET /livez HTTP/1.9\r\nHost: x\r\n\r\n",
    "HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": "GET /livez\r\n\r\n",
    "two spaces": "GET  /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a TLS hello": "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 40 + "\r\n\r\n",
    "CONNECT": "CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_FRAMING)
def test_bad_framing_is_refused_and_the_connection_ends(hub, name):
    """Whatever a proxy in front could read otherwise than we do: refused, never guessed; what
    follows on the connection is not read as a request (request smuggling)."""
    with connect(hub) as c:
        c.send(raw(BAD_FRAMING[name]) + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            answer = c.read_answer()
        except Gone:
            return  # closed without a word
        assert 400 <= answer.status < 600 and answer.status != 500, answer
        try:
            follow = c.read_answer()
        except Gone:
            return
        pytest.fail(f"{name}: the connection went on: {answer} then {follow}")


def test_framing_refusal_says_why(hub):
    with connect(hub) as c:
        c.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n")
        c.read_answer().problem(400)
    with connect(hub) as c:
        c.send(b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n")
        assert c.read_answer().status in (400, 505)


@pytest.mark.parametrize("path", ["/livez?x=%zz", "/livez%", "/v1/orders/%00", "/v1/%ff%fe",
                                  "/../etc/passwd", "//livez", "/v1/orders/..%2f.."])
def test_odd_targets_are_answered(hub, path):
    with connect(hub) as c:
        answer = c.request("GET", path, [("Authorization", f"Bearer {hub.key}")])
        assert answer.status in (200, 400, 404), answer


@pytest.fixture
def impatient_hub(binary, tmp_path):
    from conftest import running
    settings = {"PENSTOCK_HEADER_TIMEOUT_MS": "400", "PENSTOCK_BODY_TIMEOUT_MS": "400",
                "PENSTOCK_IDLE_TIMEOUT_MS": "600", "PENSTOCK_CONNECTIONS_MAX": "40",
                "PENSTOCK_HEADER_BYTES_MAX": "2048", "PENSTOCK_BODY_BYTES_MAX": "4096"}
    yield from running(Hub(binary, tmp_path, settings).start())


def test_a_slow_header_is_cut_off(impatient_hub):
    with connect(impatient_hub) as c:
        c.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n")
        started = time.monotonic()
        for byte in b"X-Slow: 1234567890123456789012345678901234567890\r\n\r\n" * 10:
            try:
                c.send(bytes([byte]))
            except Gone:
                break
            if time.monotonic() - started > 10:
                pytest.fail("a header may take for ever")
            time.sleep(0.05)  # the pace of this client, not a wait
            c.sock.setblocking(False)
            try:
                if c.sock.recv(1, 2) is not None:
                    break
            except BlockingIOError:
                pass
            except OSError:
                break
            finally:
                c.sock.settimeout(20)
        else:
            pytest.fail("a header may take for ever")


def test_a_slow_body_is_cut_off(impatient_hub):
    with connect(impatient_hub) as c:
        c.send(c.head("POST", "/v1/orders", [
            ("Authorization", f"Bearer {impatient_hub.key}"),
            ("Content-Type", "application/json")], 100) + b'{"channel"')
        try:
            assert c.read_answer().status == 408
        except Gone:
            pass


def test_an_idle_connection_is_closed(impatient_hub):
    with connect(impatient_hub) as c:
        assert c.request("GET", "/livez").status == 200
        assert c.at_end(10)


def test_settings_of_size_bind(impatient_hub):
    api = impatient_hub.client()
    api.post("/v1/orders", raw=b'{"channel":"' + b"x" * 5000 + b'"}').problem(413)
    with connect(impatient_hub) as c:
        c.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-A: " + b"y" * 3000 + b"\r\n\r\n")
        assert c.read_answer().status == 431


def test_more_connections_than_allowed_do_not_hurt_those_that_are_open(impatient_hub):
    first = connect(impatient_hub)
    assert first.request("GET", "/livez").status == 200
    flood = []
    try:
        for _ in range(80):
            try:
                flood.append(connect(impatient_hub, 2))
            except OSError:
                break
        assert first.request("GET", "/livez").status == 200
    finally:
        for c in [first, *flood]:
            c.close()
    until(impatient_hub.is_ready, 10, "ready again after the flood")


def test_a_client_that_goes_away_in_the_middle_harms_nobody(hub, api, sku):
    name = sku()
    body = json.dumps(docs.count(name, 5)).encode()
    for cut in (1, 20, 80, 150, -1):
        c = connect(hub)
        data = c.head("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json")],
            len(body)) + body
        c.send(data[:cut])
        c.close()
    assert api.get("/livez").status == 200


def test_sigterm_lets_a_request_in_flight_end(idle_hub):
    """A body half sent at SIGTERM is read to its end and answered; new connections are not
    taken; the process then ends by itself with 0."""
    hub = idle_hub.start()
    body = json.dumps(docs.count("DRAIN", 5)).encode()
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json")],
            len(body)) + body[:10])
        with connect(hub) as other:
            assert other.request("GET", "/livez").status == 200  # the loop has seen the first
        host, port = hub.host, hub.port
        hub.process.signal(signal.SIGTERM)

        def refuses():
            try:
                with Connection(host, port, 2) as late:
                    return late.request("GET", "/readyz").status == 503
            except (OSError, Gone):
                return True
        until(refuses, 10, "new connections refused while draining")
        c.send(body[10:])
        assert c.read_answer().status == 201
    assert hub.process.wait(30) == 0
    hub.process = None
    hub.start()
    assert docs.stock(hub.client(), "DRAIN")[0] == "5"


def test_second_sigterm_stops_at_once(idle_hub):
    hub = idle_hub
    hub.env["PENSTOCK_DRAIN_TIMEOUT_MS"] = "60000"
    hub.start()
    with connect(hub) as c:
        c.send(c.head("POST", "/v1/orders", [
            ("Authorization", f"Bearer {hub.key}"), ("Content-Type", "application/json")],
            1000) + b"{")
        with connect(hub) as other:
            assert other.request("GET", "/livez").status == 200
        hub.process.signal(signal.SIGTERM)
        began = time.monotonic()

        def gone():
            hub.process.signal(signal.SIGTERM)
            return hub.process.popen.poll() is not None
        until(gone, 10 * hub.binary.patience, "an end after a second SIGTERM")
        assert time.monotonic() - began < 10 * hub.binary.patience
    hub.process = None
