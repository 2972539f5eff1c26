"""NATS over TLS: who the server is, is verified; who the hub is, it says by certificate, password, token or
credentials file; what is wrong is told in words, and nothing is lost or held for it."""

import pytest

import docs
from certs import Authority, client_context
from conftest import running
from hub import Hub
from nats import Server
from nats_jwt import Trust
from wire import until

YAML = """connector: news
version: "1"
owner: web
AUTHsend:
  - subscription: news-orders
    events: [order.captured]
    request: {url: "${env:NATS_URL}/orders.{event.subject}MORE"}
    reference: /seq
    retry: {first_ms: 100, max_ms: 300}
    timeout_ms: 2000
streams:
  - topic: refunds
    url: "${env:NATS_URL}/REFUNDSMORE"
    subject: refunds.>
    mapping: refund.lua
    command: fact.keep
"""
LUA = """return function(doc)
  return {kind = "refund", key = tostring(doc.id), document = {amount = doc.amount}}
end
"""
BASIC = 'auth: {basic: {username: "${env:NATS_USER}", password: "${env:NATS_PASSWORD}"}}\n'
TOKEN = 'auth: {bearer: {token: "${env:NATS_TOKEN}"}}\n'
SECRETS = {"NATS_USER": "hub", "NATS_PASSWORD": "secret", "NATS_TOKEN": "t0ken"}


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def pairs(ca):
    return {"server": ca.issue("server", "DNS:localhost", "IP:127.0.0.1"), "hub": ca.issue("hub", "DNS:hub"),
            "elsewhere": ca.issue("elsewhere", "DNS:nats.example.com")}


def tls_config(ca, pair, verify=False):
    return (f'tls {{ cert_file: "{pair.certificate}", key_file: "{pair.key}", ca_file: "{ca.certificate}", '
            f'verify: {str(verify).lower()}, timeout: 5 }}\n')


def hub_of(binary, folder, server, more, auth="", **env):
    hub = Hub(binary, folder, {"NATS_URL": f"nats+tls://localhost:{server.port}", **SECRETS, **env})
    place = hub.config / "connectors" / "news"
    place.mkdir()
    (place / "connector.yaml").write_text(YAML.replace("AUTH", auth).replace("MORE", more and f"?{more}"))
    (place / "refund.lua").write_text(LUA)
    for made in running(hub.start()):
        made.client().post("/v1/stock/counts", docs.count("N", 100)).ok(201)
        yield made


def both_ways(hub, nats):
    """An order goes out, a refund comes in."""
    nats.stream("ORDERS", "orders.>")
    nats.stream("REFUNDS", "refunds.>")
    order = hub.client().post("/v1/orders", docs.order(("N", 1))).ok(201)["order_id"]
    nats.publish("refunds.de", {"id": 7, "amount": 1})
    until(lambda: nats.count("ORDERS") == 1, 20 * hub.binary.patience, f"told: {told(hub)}")
    assert nats.messages("ORDERS")[0][0] == f"orders.{order}"
    until(lambda: [e["data"]["key"] for e in docs.events(hub.client(), type="fact.kept")] == ["7"],
          20 * hub.binary.patience, f"kept: {docs.listed(hub.client(), '/ops/streams')}")


def told(hub):
    return next(s for s in docs.listed(hub.client(), "/ops/subscriptions") if s["subscription"] == "news-orders")


def refused(hub, *words):
    """Both sides say why; nothing is held, nothing is lost."""
    hub.client().post("/v1/orders", docs.order(("N", 1))).ok(201)
    incoming = lambda: next(s for s in docs.listed(hub.client(), "/ops/streams") if s["connector"] == "news")
    for side in (told, lambda _: incoming()):
        seen = []
        until(lambda: seen.append(side(hub)["error"]) or all(w in (seen[-1] or "") for w in words),
              20 * hub.binary.patience, seen)
    assert docs.listed(hub.client(), "/ops/held") == [] and told(hub)["delivered"] == 0


@pytest.fixture
def serve(tmp_path):
    made = []

    def start(config):
        made.append(Server(tmp_path / f"nats{len(made)}", config).start())
        return made[-1]
    yield start
    for server in made:
        server.stop()


def test_a_client_certificate_and_a_password(binary, tmp_path, serve, ca, pairs):
    server = serve(tls_config(ca, pairs["server"], verify=True) +
                   "accounts { A: { jetstream: enabled, users: [{user: hub, password: secret}] } }\n")
    mine = pairs["hub"]
    for hub in hub_of(binary, tmp_path, server,
                       f"ca={ca.certificate}&cert={mine.certificate}&cert_key={mine.key}", BASIC):
        nats = server.client(tls=client_context(ca, mine), user="hub", **{"pass": "secret"})
        both_ways(hub, nats)
        nats.close()


def test_a_token_and_the_bundle_of_the_environment(binary, tmp_path, serve, ca, pairs):
    server = serve(tls_config(ca, pairs["server"]) + "authorization { token: t0ken }\n")
    for hub in hub_of(binary, tmp_path, server, "", TOKEN, PENSTOCK_CA_FILE=str(ca.certificate)):
        nats = server.client(tls=client_context(ca), auth_token="t0ken")
        both_ways(hub, nats)
        nats.close()


def test_credentials_of_a_file(binary, tmp_path, serve, ca, pairs):
    trust = Trust()
    server = serve(tls_config(ca, pairs["server"]) + trust.config)
    creds = tmp_path / "hub.creds"
    creds.write_text(trust.creds())
    (tmp_path / "wrong.creds").write_text(trust.creds(known=False))
    for hub in hub_of(binary, tmp_path / "w", server, f"ca={ca.certificate}&creds={tmp_path}/wrong.creds"):
        refused(hub, "does not take these credentials")
    for hub in hub_of(binary, tmp_path / "h", server, f"ca={ca.certificate}&creds={creds}"):
        hub.client().post("/v1/orders", docs.order(("N", 1))).ok(201)
        until(lambda: "no stream takes the subject" in (told(hub)["error"] or ""), 20, f"{told(hub)}")


@pytest.mark.parametrize("wrong", ["authority", "system", "name", "no certificate", "plain", "password"])
def test_what_is_wrong_is_told(binary, tmp_path, serve, ca, pairs, wrong):
    other = Authority(tmp_path / "other", "Another CA")
    config = tls_config(ca, pairs["elsewhere" if wrong == "name" else "server"], verify=wrong == "no certificate")
    server = serve(("" if wrong == "plain" else config) + "authorization { user: hub, password: secret }\n")
    more = {"authority": f"ca={other.certificate}", "system": ""}.get(wrong, f"ca={ca.certificate}")
    unknown = ["not secure", "unable to get local issuer certificate", "CN=server"]
    words = {"authority": unknown, "system": unknown, "name": ["not secure", "hostname mismatch", "localhost"],
             "no certificate": ["client certificate"],
             "plain": ["does not speak TLS"], "password": ["does not take these credentials"]}[wrong]
    for hub in hub_of(binary, tmp_path, server, more, BASIC, NATS_PASSWORD="no" if wrong == "password" else "secret"):
        refused(hub, *words)
