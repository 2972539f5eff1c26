"""Client certificates: who gets in, what is refused, and that a list of revoked ones holds at once,
for resumed sessions, too."""

import shutil
import signal
import ssl
import time

import pytest

from certs import Authority, TlsConnection, client_context
from conftest import running
from idp import configure
from test_021_tls import VERSIONS, TlsHub, livez
from wire import Gone, until



@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("clients"), "Clients CA")


@pytest.fixture(scope="module")
def till(clients):
    return clients.issue("till-7", "DNS:till-7.shop.example", "URI:spiffe://shop/till/7",
                         "email:till@shop.example")


def make(binary, folder, authority, clients, rule, crl=None):
    shutil.copy(clients.certificate, folder / "clients.pem")
    more = f"  client_certificates: {rule}\n  client_ca: {folder}/clients.pem\n"
    if crl:
        shutil.copy(crl, folder / "clients.crl")
        more += f"  client_crl: {folder}/clients.crl\n"
    pair = authority.issue("hub", "DNS:localhost")
    return running(TlsHub(binary, folder, authority, [pair], more))


@pytest.fixture(scope="module")
def required(binary, tmp_path_factory, authority, clients):
    for hub in make(binary, tmp_path_factory.mktemp("required"), authority, clients, "required"):
        yield hub.start()


def refused(hub, pair=None, version=None):
    """The hub ends the connection in the handshake, which a client of TLS 1.3 learns when it
    reads."""
    try:
        with hub.dial(pair, version) as connection:
            livez(connection)
    except (ssl.SSLError, ConnectionError, Gone):
        return True
    return False


@VERSIONS
def test_a_known_client_gets_in(required, till, version):
    with required.dial(till, version) as connection:
        livez(connection)
        livez(connection)


@VERSIONS
def test_nobody_else_does(required, authority, till, version, tmp_path):
    assert refused(required, None, version)
    assert refused(required, authority.issue("other", "DNS:till-7.shop.example"), version)
    stranger = Authority(tmp_path / "stranger", "Clients CA")  # the same name, another key
    assert refused(required, stranger.issue("till-7", "DNS:till-7.shop.example"), version)
    assert not refused(required, till, version)


@VERSIONS
def test_one_whose_time_is_over_does_not(required, clients, version):
    past = clients.issue("past", "DNS:past", days=0)
    time.sleep(1.1)
    assert refused(required, past, version)


@VERSIONS
def test_sessions_of_clients_are_resumed(required, till, version):
    context = client_context(required.authority, till, version)
    session = None
    for turn in range(3):
        with TlsConnection(required.tls_port, context, session=session) as connection:
            livez(connection)
            assert connection.sock.session_reused == (turn > 0)
            session = connection.sock.session


@VERSIONS
def test_optional(binary, tmp_path, authority, clients, till, version):
    for hub in make(binary, tmp_path, authority, clients, "optional"):
        hub.start()
        assert not refused(hub, None, version)
        assert not refused(hub, till, version)
        # one that is shown has to be right
        assert refused(hub, authority.issue("wrong", "DNS:wrong"), version)


@VERSIONS
def test_what_is_revoked_is_out_at_once(binary, tmp_path, authority, clients, version):
    lost = clients.issue(f"lost-{version.name}", "DNS:lost")
    kept = clients.issue(f"kept-{version.name}", "DNS:kept")
    for hub in make(binary, tmp_path, authority, clients, "required", clients.crl()):
        hub.start()
        context = client_context(hub.authority, lost, version)
        with TlsConnection(hub.tls_port, context) as connection:
            livez(connection)
            session = connection.sock.session
        assert not refused(hub, kept, version)
        shutil.copy(clients.crl(lost), tmp_path / "clients.crl")
        hub.process.signal(signal.SIGHUP)
        until(lambda: refused(hub, lost, version), 20, "the revocation")
        with pytest.raises((ssl.SSLError, ConnectionError, Gone)):
            with TlsConnection(hub.tls_port, context, session=session) as connection:
                livez(connection)
        assert not refused(hub, kept, version)


def test_a_certificate_is_a_caller(binary, tmp_path, authority, clients, till):
    """Without any other credential; what is wrong with its documents is said of them alone."""
    for hub in make(binary, tmp_path, authority, clients, "required"):
        configure(hub, {"certificates": [{"caller": "till-7", "dns": "till-7.shop.example",
                                          "scopes": ["orders:write"]}]})
        hub.start()
        with hub.dial(till) as connection:
            json_type = [("Content-Type", "application/json")]
            bad = connection.request("POST", "/v1/orders", json_type, b"{}").problem(422)
            assert "signed in" not in bad["detail"] and bad["errors"], bad
            connection.request("GET", "/v1/events?limit=1").problem(403)


def test_check_reads_the_client_ca(binary, tmp_path, authority, clients, till):
    for hub in make(binary, tmp_path, authority, clients, "required", clients.crl()):
        assert binary.run("check", "-C", hub.config).returncode == 0
        (tmp_path / "clients.pem").write_text("nothing\n")
        (tmp_path / "clients.crl").write_text("nothing\n")
        done = binary.run("check", "-C", hub.config)
        assert done.returncode == 1
        assert "clients.pem: holds no certificates" in done.stderr, done.stderr
        assert "clients.crl: holds no revocation list" in done.stderr, done.stderr
        shutil.copy(till.certificate, tmp_path / "clients.pem")
