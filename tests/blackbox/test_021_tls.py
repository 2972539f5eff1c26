"""TLS of the hub's own listeners: versions, names, resumption, new certificates without a drop,
ends and cuts, floods of handshakes and connections, and that everything works as it does in plain."""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

import docs
from certs import Authority, TlsClient, TlsConnection, client_context, openssl
from conftest import running
from hub import Hub, Process
from wire import Gone, until

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = pytest.mark.parametrize("version", [V12, V13], ids=["1.2", "1.3"])


class TlsHub(Hub):
    """A hub that speaks TLS beside plain HTTP. `tls` is the section of its configuration."""

    def __init__(self, binary, folder, authority, pairs, more="", env=None):
        self.authority = authority
        self.asker = None
        super().__init__(binary, folder, env)
        files = self.config / "tls"
        files.mkdir()
        lines = []
        for number, pair in enumerate(pairs):
            shutil.copy(pair.certificate, files / f"{number}.pem")
            shutil.copy(pair.key, files / f"{number}.key")
            lines.append(f"    - {{certificate: tls/{number}.pem, key: tls/{number}.key}}\n")
        with open(self.config / "penstock.yaml", "a", encoding="utf-8") as file:
            file.write("tls:\n  listen: 127.0.0.1:0\n  certificates:\n" + "".join(lines) + more)

    @property
    def tls_port(self):
        found = re.search(r"https://127.0.0.1:(\d+)", self.process.out_path.read_text())
        return int(found.group(1))

    def dial(self, pair=None, version=None, alpn=None, **kw):
        context = client_context(self.authority, pair, version, alpn)
        connection = TlsConnection(self.tls_port, context, **kw)
        self.clients.append(connection)
        return connection

    def tls_client(self, key=..., version=None):
        client = TlsClient(self.tls_port, client_context(self.authority, version=version),
                           self.key if key is ... else key)
        self.clients.append(client)
        return client

    def figure(self, name, **labels):
        wanted = ",".join(f'{k}="{v}"' for k, v in labels.items())
        if self.asker is None or self.asker.port != self.port:
            self.asker = self.client()
        text = self.asker.get("/metrics").body.decode()
        found = re.search(rf"^{name}{{{wanted}}} (\S+)$" if wanted else rf"^{name} (\S+)$", text, re.M)
        return float(found.group(1))

    def replace(self, number, pair):
        """New files in place of the old, as certbot does: each by a rename."""
        for kind, source in (("pem", pair.certificate), ("key", pair.key)):
            new = self.config / "tls" / f"new.{kind}"
            shutil.copy(source, new)
            os.rename(new, self.config / "tls" / f"{number}.{kind}")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pairs(authority):
    return [authority.issue("first", "DNS:localhost", "IP:127.0.0.1"),
            authority.issue("second", "DNS:shop.example", "DNS:*.tills.example", rsa=True)]


@pytest.fixture(scope="module")
def secure(binary, tmp_path_factory, authority, pairs):
    yield from running(TlsHub(binary, tmp_path_factory.mktemp("tls"), authority, pairs).start())


@pytest.fixture
def own(binary, tmp_path, authority, pairs):
    """Makes a hub of the test's own, with settings of its own; not started yet."""
    made = []

    def make(more="", used=None, **settings):
        env = {f"PENSTOCK_{name.upper()}": str(value) for name, value in settings.items()}
        hub = TlsHub(binary, tmp_path, authority, used or pairs, more, env)
        guard = running(hub)
        made.append(guard)
        return next(guard)
    yield make
    for guard in made:
        next(guard, None)


def livez(connection):
    return connection.request("GET", "/livez").ok()


# --- what is spoken ----------------------------------------------------------------------------

@VERSIONS
def test_both_versions(secure, version):
    with secure.dial(version=version, alpn=["http/1.1"]) as connection:
        assert connection.sock.version() == version.name.replace("_", ".")
        assert connection.sock.selected_alpn_protocol() == "http/1.1"
        assert connection.sock.compression() is None
        assert re.search("GCM|CHACHA20", connection.sock.cipher()[0])
        for _ in range(3):
            livez(connection)


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion")
def test_old_versions_are_refused(secure, version):
    context = client_context(secure.authority)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion[version]
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        TlsConnection(secure.tls_port, context)


@pytest.mark.parametrize("suite", ["ECDHE-ECDSA-AES128-SHA256", "ECDHE-ECDSA-AES128-SHA",
                                   "AES128-GCM-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_old_suites_are_refused(secure, suite):
    context = client_context(secure.authority, version=V12)
    context.set_ciphers(suite)
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        TlsConnection(secure.tls_port, context)


def test_tls_1_3_alone(own):
    hub = own(more="  min_version: tls1.3\n").start()
    livez(hub.dial(version=V13))
    with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
        hub.dial(version=V12)


@VERSIONS
def test_alpn(secure, version):
    livez(secure.dial(version=version, alpn=["h2", "http/1.1"]))
    livez(secure.dial(version=version))
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        secure.dial(version=version, alpn=["h2"])


@VERSIONS
def test_the_name_asked_for_chooses_the_certificate(secure, version):
    def subject(name):
        context = client_context(secure.authority, version=version)
        context.check_hostname = False
        with TlsConnection(secure.tls_port, context, name=name) as connection:
            livez(connection)
            return dict(part[0] for part in connection.sock.getpeercert()["subject"])["commonName"]
    assert subject("shop.example") == "second"
    assert subject("SHOP.example") == "second"
    assert subject("s01.tills.example") == "second"
    assert subject("localhost") == "first"
    assert subject("a.b.tills.example") == "first"
    assert subject("nobody.example") == "first"
    assert subject(None) == "first"


def test_a_renegotiation_is_refused(secure):
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{secure.tls_port}", "-tls1_2"],
        input=b"R\n", capture_output=True, timeout=20, check=False)
    assert b"RENEGOTIATING" in done.stdout + done.stderr
    assert b"no renegotiation" in done.stdout + done.stderr
    livez(secure.dial())


def test_keys_are_updated(secure):
    with subprocess.Popen(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{secure.tls_port}", "-tls1_3"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0) as client:
        def heard(what):
            text = b""
            while what not in text:
                part = client.stdout.read(65536)
                assert part, text
                text += part
        heard(b"Verify return code")
        for _ in range(3):
            client.stdin.write(b"K\n")  # a new key, and the hub is asked for one
            heard(b"KEYUPDATE")
        client.stdin.write(b"GET /livez HTTP/1.1\nHost: a\nConnection: close\n\n".replace(b"\n", b"\r\n"))
        heard(b'{"alive":true}')
        client.stdin.close()
        client.stdout.read()


# --- resumption ---------------------------------------------------------------------------------

def resumed(hub, session, version):
    context = session[1]
    with TlsConnection(hub.tls_port, context, session=session[0]) as connection:
        livez(connection)
        return connection.sock.session_reused


def session_of(hub, version):
    context = client_context(hub.authority, version=version)
    with TlsConnection(hub.tls_port, context) as connection:
        livez(connection)
        assert not connection.sock.session_reused
        return connection.sock.session, context


@VERSIONS
def test_sessions_are_resumed(secure, version):
    before = secure.figure("penstock_tls_handshakes_total", result="resumed")
    session = session_of(secure, version)
    for _ in range(3):
        assert resumed(secure, session, version)
    assert secure.figure("penstock_tls_handshakes_total", result="resumed") == before + 3


@VERSIONS
def test_a_ticket_of_another_life_costs_a_whole_handshake(own, version):
    hub = own(tls_resume_s=1).start()
    session = session_of(hub, version)
    assert resumed(hub, session, version)
    time.sleep(2.5)  # the session is over, and so are the keys of its ticket
    assert not resumed(hub, session, version)
    session = session_of(hub, version)
    hub.restart()
    assert not resumed(hub, session, version)


@VERSIONS
def test_resumption_can_be_off(own, version):
    hub = own(tls_resume_s=0).start()
    session, context = session_of(hub, version)
    assert session is None or not session.has_ticket
    assert not resumed(hub, (session, context), version)


def test_early_data_is_not_taken(secure, tmp_path):
    request = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    (tmp_path / "request").write_bytes(request)
    base = ["s_client", "-connect", f"127.0.0.1:{secure.tls_port}", "-tls1_3", "-ign_eof"]
    first = openssl(*base, "-sess_out", tmp_path / "session", input=request)
    assert b"Max Early Data: 0" in first.stdout and b"alive" in first.stdout
    again = openssl(*base, "-sess_in", tmp_path / "session", "-early_data", tmp_path / "request",
                    input=request, check=False)
    assert b"Early data was accepted" not in again.stdout


# --- new certificates ---------------------------------------------------------------------------

def serial_seen(hub):
    with hub.dial() as connection:
        return f"serial={connection.sock.getpeercert()['serialNumber']}".encode()


def test_certificates_change_under_load_without_a_failed_request(own, authority, pairs):
    hub = own().start()
    stop, failed, done = threading.Event(), [], []

    def kept():
        client = hub.tls_client()
        first = client.connection()
        while not stop.is_set():
            try:
                client.get("/livez").ok()
                done.append(1)
            except BaseException as error:  # noqa: B902 - whatever it is fails the test
                failed.append(error)
                return
        if client.connection() is not first:
            failed.append("the connection did not last")

    def anew():
        while not stop.is_set():
            try:
                with hub.dial() as connection:
                    livez(connection)
                done.append(1)
            except BaseException as error:  # noqa: B902
                failed.append(error)
                return

    threads = [threading.Thread(target=what) for what in (kept, kept, anew, anew)]
    for thread in threads:
        thread.start()
    try:
        for number in range(4):
            fresh = authority.issue(f"fresh{number}", "DNS:localhost")
            hub.replace(0, fresh)
            if number % 2:
                hub.process.signal(signal.SIGHUP)
            until(lambda: serial_seen(hub) == fresh.serial(), 20, "the new certificate")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not failed, failed
    assert len(done) > 50


def test_files_that_do_not_fit_are_not_taken(own, authority, pairs):
    hub = own().start()
    had = serial_seen(hub)
    files = hub.config / "tls"
    stranger = authority.issue("stranger", "DNS:localhost")

    def refused(what):
        before = hub.process.err_path.read_text().count("are not taken")
        hub.process.signal(signal.SIGHUP)
        until(lambda: hub.process.err_path.read_text().count("are not taken") > before, 20, what)
        assert re.search(what, hub.process.err_path.read_text())
        assert serial_seen(hub) == had

    shutil.copy(stranger.certificate, files / "0.pem")
    refused(r"is not the key of")
    (files / "0.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n")
    refused(r"holds no certificate")
    os.remove(files / "0.pem")
    refused(r"can not be read")
    # told once, not at every look
    told = hub.process.err_path.read_text().count("are not taken")
    time.sleep(4)
    assert hub.process.err_path.read_text().count("are not taken") == told
    hub.replace(0, stranger)
    until(lambda: serial_seen(hub) == stranger.serial(), 20, "the new pair")


def test_expiry_is_told(own, authority, pairs, binary):
    short = authority.issue("short", "DNS:localhost", days=6)
    hub = own(used=[short])
    done = binary.run("check", "-C", hub.config)
    assert done.returncode == 0
    assert re.search("0.pem: the certificate ends in [56] days", done.stderr), done.stderr
    assert "ends in" in binary.ok("check", "-C", hub.config, "--json")
    hub.start()
    left = hub.figure("penstock_tls_certificate_expires_timestamp_seconds") - time.time()
    assert 5.9 * 86400 < left < 6.1 * 86400
    assert re.search("the certificate ends in [56] days", hub.process.err_path.read_text())


def test_check_reads_the_files(own, authority, pairs, binary):
    hub = own()
    assert "no faults" in binary.ok("check", "-C", hub.config)
    files = hub.config / "tls"
    shutil.copy(pairs[0].key, files / "1.key")
    os.remove(files / "0.key")
    openssl("ec", "-in", pairs[0].key, "-aes256", "-passout", "pass:x", "-out", files / "locked")
    done = binary.run("check", "-C", hub.config)
    assert done.returncode == 1
    assert re.search(r"1\.key.*is not the key of .*1\.pem", done.stderr), done.stderr
    assert re.search(r"0\.key.*can not be read", done.stderr), done.stderr
    shutil.copy(files / "locked", files / "0.key")
    shutil.copy(pairs[1].key, files / "1.key")
    done = binary.run("check", "-C", hub.config)
    assert done.returncode == 1 and "passphrase" in done.stderr
    done = binary.run("serve", "-C", hub.config, "--listen", "127.0.0.1:0")
    assert done.returncode == 1 and "passphrase" in done.stderr


# --- addresses ----------------------------------------------------------------------------------

def test_the_command_line_gives_certificates(binary, tmp_path, authority, pairs):
    hub = Hub(binary, tmp_path, args=["--tls-cert", pairs[0].certificate, "--tls-key", pairs[0].key])
    hub.launch()
    for hub in running(hub):
        hub.process.await_address()
        assert "ready on https://127.0.0.1:" in hub.process.out_path.read_text()
        with TlsConnection(hub.port, client_context(authority)) as connection:
            livez(connection)
    for args in (["--tls-cert", pairs[0].certificate], ["--tls-listen", "127.0.0.1:0"]):
        done = binary.run("serve", "-C", hub.config, *args)
        assert done.returncode in (1, 2) and "--tls" in done.stderr


def test_plain_where_others_reach_it_is_warned_of(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    yaml = hub.config / "penstock.yaml"
    for listen, warned in (("0.0.0.0:0", True), ("[127.0.0.1:0, 127.0.0.2:0]", False)):
        yaml.write_text(re.sub("^listen:.*", f"listen: {listen}", yaml.read_text(), flags=re.M))
        process = Process(binary, ["serve", "-C", hub.config], hub.logs).await_address()
        until(lambda: "ready on" in process.out_path.read_text(), 10)
        told = "plain HTTP where other machines reach it" in process.err_path.read_text()
        process.stop()
        assert told == warned


def test_plain_http_to_the_tls_port(secure):
    with socket.create_connection(("127.0.0.1", secure.tls_port), timeout=10) as sock:
        sock.sendall(b"GET /v1/orders HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = sock.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n") and b"https://" in answer
    length = int(re.search(rb"Content-Length: (\d+)", answer).group(1))
    assert len(answer.split(b"\r\n\r\n", 1)[1]) == length


GARBAGE = {
    "zeros": b"\0" * 100, "a record too long": b"\x16\x03\x01\xff\xff" + b"x" * 40000,
    "chance": os.urandom(3000), "a hello too short": b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
    "an alert": b"\x15\x03\x01\x00\x02\x02\x28", "SSL 2": b"\x80\x2e\x01\x03\x01" * 20,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_to_the_tls_port(secure, data):
    with socket.create_connection(("127.0.0.1", secure.tls_port), timeout=20) as sock:
        try:
            sock.sendall(data)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass
        except ConnectionError:
            pass
    livez(secure.dial())


# --- ends and cuts ------------------------------------------------------------------------------

@VERSIONS
def test_the_hub_says_goodbye(secure, version):
    with secure.dial(version=version) as connection:
        connection.send(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        # without close_notify this read would raise (suppress_ragged_eofs)
        assert connection.stream.read().endswith(b'{"alive":true}')


@VERSIONS
def test_the_hub_hears_a_goodbye(secure, version):
    before = secure.figure("penstock_connections")
    connection = secure.dial(version=version)
    livez(connection)
    connection.sock.settimeout(10)
    connection.sock.unwrap()  # waits for the hub's own
    connection.close()
    until(lambda: secure.figure("penstock_connections") <= before, 10, "the connection's end")


@pytest.mark.parametrize("ending", ["drop", "goodbye"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_cut_is_not_taken(secure, ending, chunked):
    count = {"sku": f"CUT-{ending.upper()}-{int(chunked)}", "location": "WH-HAM", "on_hand": "5"}
    body = docs.json.dumps(count).encode()
    head = (f"POST /v1/stock/counts HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {secure.key}\r\n"
            "Content-Type: application/json\r\n").encode()
    if chunked:
        head += b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body)
    else:
        head += b"Content-Length: %d\r\n\r\n" % (len(body) + 1)
    connection = secure.dial()
    connection.send(head + body)  # a whole document, but not a whole message
    if ending == "drop":
        connection.drop()
    else:
        connection.sock.settimeout(10)
        connection.sock.unwrap()
    time.sleep(0.3)
    answer = secure.client().get(f"/v1/availability?sku={count['sku']}&location=WH-HAM")
    assert all(item["on_hand"] == "0" for item in answer.ok().get("items", [])), answer


# --- as in plain ---------------------------------------------------------------------------------

def test_a_request_in_single_bytes(secure):
    with secure.dial() as connection:
        for byte in b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n":
            connection.send(bytes([byte]))
        assert connection.read_answer().ok() == {"alive": True}


@VERSIONS
def test_pipelining(secure, version):
    with secure.dial(version=version) as connection:
        paths = [f"/v1/availability?sku=P{n}&location=WH-HAM" for n in range(100)]
        head = f"Host: a\r\nAuthorization: Bearer {secure.key}\r\nPenstock-Correlation-Id: p-"
        connection.send("".join(f"GET {path} HTTP/1.1\r\n{head}{n}\r\n\r\n"
                                for n, path in enumerate(paths)).encode())
        for number in range(len(paths)):
            answer = connection.read_answer()
            assert answer.header("penstock-correlation-id") == f"p-{number}"


@VERSIONS
def test_large_bodies(secure, version):
    client = secure.tls_client(version=version)
    sku = f"LARGE-{version.name}"
    lines = [docs.count(f"{sku}-{n}", 5) for n in range(20000)]  # about 1.5 MB in, 2.5 MB out
    answer = client.bulk("/v1/stock/counts", lines)
    assert answer.status == 200 and len(answer.lines) == len(lines)
    assert all(line["status"] == 201 for line in answer.lines)
    too_long = client.post("/v1/orders", raw=b" " * 9_000_000)
    too_long.problem(413)
    events = client.get("/v1/events?limit=1000").ok()
    assert len(events["items"]) == 1000


def test_a_slow_reader_of_a_large_answer(secure):
    with secure.dial() as connection:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        lines = b"".join(docs.json.dumps(docs.count(f"SLOW-{n}", 1)).encode() + b"\n"
                         for n in range(6000))
        connection.send(connection.head("POST", "/v1/stock/counts", [
            ("Authorization", f"Bearer {secure.key}"), ("Content-Type", "application/x-ndjson")],
            len(lines)) + lines)
        time.sleep(0.5)
        answer = connection.read_answer()
        assert len(answer.lines) == 6000


def test_the_event_feed(secure):
    with secure.dial() as feed:
        feed.send(feed.head("GET", "/v1/events", [
            ("Authorization", f"Bearer {secure.key}"), ("Accept", "text/event-stream")], None))
        status, _, headers = feed.read_head()
        assert status == 200 and headers["content-type"].startswith("text/event-stream")
        client = secure.tls_client()
        client.post("/v1/stock/counts", docs.count("FEED-TLS", 3)).ok(201)
        got = b""
        while b"FEED-TLS" not in got:
            got += feed.read_chunk()


def test_orders_and_drain(own):
    hub = own().start()
    client = hub.tls_client()
    client.post("/v1/stock/counts", docs.count("TLS-1", 10)).ok(201)
    client.post("/v1/orders", docs.order(("TLS-1", 2)), headers=docs.key()).ok(201)
    with TlsConnection(hub.tls_port, client_context(hub.authority)) as idle:
        livez(idle)
        hub.stop()
        assert idle.stream.read(1) == b""  # a goodbye, else it would raise


# --- floods --------------------------------------------------------------------------------------

def half_hello(port, source=None):
    sock = socket.create_connection(("127.0.0.1", port), timeout=20, source_address=source)
    sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
    return sock


def test_a_slow_handshake_ends(own):
    hub = own(handshake_timeout_ms=500).start()
    for start in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"):
        with socket.create_connection(("127.0.0.1", hub.tls_port), timeout=10) as sock:
            sock.sendall(start)
            began = time.monotonic()
            assert sock.recv(100) == b""
            assert 0.3 < time.monotonic() - began < 4
    until(lambda: hub.figure("penstock_tls_handshakes_open") == 0, 5)
    assert hub.figure("penstock_tls_handshakes_total", result="failed") >= 3


def test_half_done_handshakes_keep_nobody_out(own):
    hub = own(handshakes_max=50).start()
    held = hub.dial()
    livez(held)
    flood = [half_hello(hub.tls_port) for _ in range(300)]
    began = time.monotonic()
    for _ in range(10):
        with hub.dial() as connection:
            livez(connection)
    assert time.monotonic() - began < 5 * hub.binary.patience
    livez(held)
    assert hub.figure("penstock_tls_handshakes_open") <= 50
    assert hub.figure("penstock_tls_handshakes_total", result="crowded") >= 240
    for sock in flood:
        sock.close()


def test_one_address_may_not_have_all(own):
    hub = own(connections_per_address_max=20).start()
    many = [hub.dial() for _ in range(18)]
    refused = 0
    for _ in range(5):
        try:
            many.append(hub.dial())
        except OSError:
            refused += 1
    assert refused >= 2
    other = hub.dial(source=("127.0.0.2", 0))
    livez(other)
    text = ""
    with socket.create_connection((hub.host, hub.port), timeout=10) as sock:
        text = sock.makefile("rb").read().decode()
    assert text.startswith("HTTP/1.1 503 ") and "connections_per_address_max" in text
    for connection in many:
        connection.close()
    until(lambda: not refused_now(hub), 5, "room again")


def refused_now(hub):
    try:
        with hub.dial() as connection:
            livez(connection)
        return False
    except (OSError, Gone):
        return True


@pytest.mark.parametrize("tls", [False, True])
def test_idle_connections_of_the_greedy_make_room(own, tls):
    hub = own(connections_max=40).start()
    port = hub.tls_port if tls else hub.port
    greedy = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(40)]
    until(lambda: connected(hub, tls, "127.0.0.3"), 10 * hub.binary.patience, "room for another")
    mine = [dial_from(hub, tls, "127.0.0.3") for _ in range(5)]
    for connection in mine:
        livez(connection)
        connection.close()
    for sock in greedy:
        sock.close()


def dial_from(hub, tls, address):
    if tls:
        return hub.dial(source=(address, 0))
    connection = TlsConnection.__new__(TlsConnection)
    connection.raw = connection.sock = socket.create_connection(
        ("127.0.0.1", hub.port), timeout=10, source_address=(address, 0))
    connection.stream = connection.sock.makefile("rb")
    connection.host, connection.closed = "a", False
    return connection


def connected(hub, tls, address):
    try:
        with dial_from(hub, tls, address) as connection:
            return connection.request("GET", "/livez").status == 200
    except (OSError, Gone):
        return False
