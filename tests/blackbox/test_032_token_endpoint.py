"""The hub's own tokens: POST /oauth2/token for clients without an identity provider, what is
published beside it, and how such a token ends."""

import base64
import json
import time
import urllib.parse

import pytest

import docs
from conftest import running
from hub import Hub
from idp import Idp, Key, b64, configure, encode, hmac_sign, unb64
from wire import until

FORM = "application/x-www-form-urlencoded"


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    hub = Hub(binary, tmp_path_factory.mktemp("hub"))
    configure(hub, {"url": "https://hub.example"})
    yield from running(hub.start())


def parts(key):
    """client_id and client_secret of an API key."""
    return key[:15], key[16:]


def ask(hub, fields, headers=None):
    body = fields if isinstance(fields, str) else urllib.parse.urlencode(fields)
    return hub.client(key=None).post("/oauth2/token", raw=body.encode(), media=FORM,
                                     headers=headers)


def token(hub, key, **more):
    client, secret = parts(key)
    return ask(hub, {"grant_type": "client_credentials", "client_id": client,
                     "client_secret": secret, **more})


def basic(client, secret):
    return {"Authorization": "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()}


def error(answer, status, name):
    assert answer.status == status, answer
    assert answer.json["error"] == name and answer.json["error_description"], answer
    assert answer.header("cache-control") == "no-store"
    return answer


def claims(text):
    return json.loads(unb64(text.split(".")[1]))


# --- good ones --------------------------------------------------------------------------------

def test_a_token_for_a_key(hub, stocked):
    key = hub.create_key("shop", "orders:*", "stock:read")
    answer = token(hub, key)
    doc = answer.ok()
    assert answer.header("cache-control") == "no-store"
    assert answer.header("content-type") == "application/json"
    assert doc["token_type"] == "Bearer" and doc["expires_in"] == 600
    assert doc["scope"] == "orders:* stock:read"
    said = claims(doc["access_token"])
    now = time.time()
    assert said["iss"] == said["aud"] == "https://hub.example"
    assert said["sub"] == said["client_id"] == key[:15] and said["jti"]
    assert now - 5 <= said["iat"] <= now + 1 and said["exp"] == said["iat"] + 600
    header = json.loads(unb64(doc["access_token"].split(".")[0]))
    assert header["alg"] == "ES256" and header["typ"] == "at+jwt"
    client = hub.client(key=doc["access_token"])
    order = client.post("/v1/orders", docs.order((stocked(5), 1))).ok(201)
    client.get(f"/v1/orders/{order['order_id']}").ok()
    client.get("/v1/events").problem(403)
    assert key[:15] in hub.cli("trace", order["order_id"], "--json").stdout


def test_header_and_body_both_authenticate(hub):
    key = hub.create_key("both", "*")
    client, secret = parts(key)
    grant = {"grant_type": "client_credentials"}
    for answer in (ask(hub, grant, basic(client, secret)), ask(hub, grant, basic(client, key)),
                   token(hub, key), ask(hub, {**grant, "client_id": client, "client_secret": key}),
                   ask(hub, {**grant, "client_id": client}, basic(client, secret)),
                   ask(hub, {**grant, "unknown": "is passed over", "scope": ""},
                       basic(urllib.parse.quote(client), secret))):
        hub.client(key=answer.ok()["access_token"]).get("/v1/events?limit=1").ok()


def test_key_and_token_are_one_caller(hub, stocked):
    key = hub.create_key("one", "orders:write")
    sku, idem = stocked(5), docs.key()
    doc = docs.order((sku, 1))
    hub.client(key=key).post("/v1/orders", doc, headers=idem).ok(201)
    again = hub.client(key=token(hub, key).ok()["access_token"]).post("/v1/orders", doc, headers=idem)
    assert again.ok() and again.header("idempotency-replayed") == "true"


def test_scope_narrows_and_never_widens(hub):
    key = hub.create_key("narrow", "orders:*", "events:read")
    doc = token(hub, key, scope="orders:read events:read").ok()
    assert doc["scope"] == "orders:read events:read"
    api = hub.client(key=doc["access_token"])
    api.get("/v1/events?limit=1").ok()
    api.post("/v1/orders", {}).problem(403)
    for scope in ("stock:read", "*", "orders:read stock:read", "events:*", "nonsense", "orders:* *"):
        error(token(hub, key, scope=scope), 400, "invalid_scope")


def test_what_is_published_verifies_the_tokens(hub):
    """Anybody can check a token of the hub's with what it publishes."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
    api = hub.client(key=None)
    about = api.get("/.well-known/oauth-authorization-server").ok()
    assert about["issuer"] == "https://hub.example"
    assert about["token_endpoint"] == "https://hub.example/oauth2/token"
    assert about["jwks_uri"] == "https://hub.example/.well-known/jwks.json"
    assert "client_credentials" in about["grant_types_supported"]
    assert "orders:write" in about["scopes_supported"]
    answer = api.get("/.well-known/jwks.json")
    keys = {key["kid"]: key for key in answer.ok()["keys"]}
    assert answer.header("content-type") == "application/jwk-set+json"
    assert all("d" not in key for key in keys.values())
    text = token(hub, hub.key).ok()["access_token"]
    head, body, signature = text.split(".")
    jwk = keys[json.loads(unb64(head))["kid"]]
    point = (int.from_bytes(unb64(jwk[c]), "big") for c in "xy")
    public = ec.EllipticCurvePublicNumbers(*point, ec.SECP256R1()).public_key()
    raw = unb64(signature)
    public.verify(encode_dss_signature(*(int.from_bytes(raw[i:i + 32], "big") for i in (0, 32))),
                  f"{head}.{body}".encode(), ec.ECDSA(hashes.SHA256()))


# --- refused ----------------------------------------------------------------------------------

def test_requests_that_are_wrong(hub):
    key = hub.create_key("wrong", "*")
    client, secret = parts(key)
    good = {"grant_type": "client_credentials", "client_id": client, "client_secret": secret}
    error(ask(hub, {**good, "grant_type": "password"}), 400, "unsupported_grant_type")
    error(ask(hub, {k: v for k, v in good.items() if k != "grant_type"}), 400, "invalid_request")
    error(ask(hub, ""), 400, "invalid_request")
    error(ask(hub, urllib.parse.urlencode(good) + "&scope=a&scope=b"), 400, "invalid_request")
    error(ask(hub, urllib.parse.urlencode(good) + "&x=%zz"), 400, "invalid_request")
    error(ask(hub, good, basic(client, secret)), 400, "invalid_request")
    assert ask(hub, good, {"Content-Type": "application/json"}).status == 415
    assert hub.client(key=None).get("/oauth2/token").status == 405


def test_clients_that_are_none(hub):
    key = hub.create_key("none", "*")
    client, secret = parts(key)
    grant = {"grant_type": "client_credentials"}
    for fields in ({}, {"client_id": client}, {"client_secret": secret},
                   {"client_id": client, "client_secret": "x"},
                   {"client_id": client, "client_secret": secret[:-1] + ("a" if secret[-1] != "a" else "b")},
                   {"client_id": "pk_000000000000", "client_secret": secret},
                   {"client_id": "none", "client_secret": secret},
                   {"client_id": client + "' OR 1=1", "client_secret": secret},
                   {"client_id": client, "client_secret": hub.key},
                   {"client_id": "x" * 3000, "client_secret": "y" * 3000}):
        answer = error(ask(hub, {**grant, **fields}), 401, "invalid_client")
        assert answer.header("www-authenticate") is None
    for header in ("Basic", "Basic !!!", "Basic " + b64("nocolon"), "Bearer " + key,
                   basic(client, "wrong")["Authorization"], basic("", "")["Authorization"],
                   basic(f"{client}&s=x", secret)["Authorization"]):
        answer = error(ask(hub, grant, {"Authorization": header}), 401, "invalid_client")
        assert answer.header("www-authenticate") == 'Basic realm="penstock"'


def test_guessing_is_bounded(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    hub.env.update(PENSTOCK_TOKEN_FAILURES_MAX="5", PENSTOCK_LOOP_THREADS="1")
    for _ in running(hub.start()):
        key, other = hub.create_key("a", "*"), hub.create_key("b", "*")
        client, _ = parts(key)
        wrong = {"grant_type": "client_credentials", "client_id": client, "client_secret": "x" * 52}
        statuses = [ask(hub, wrong).status for _ in range(10)]
        assert statuses == [401] * 5 + [429] * 5
        answer = token(hub, key)  # even the right one, for a minute: guesses learn nothing
        assert answer.status == 429 and answer.header("retry-after")
        token(hub, other).ok()
        hub.client(key=key).get("/v1/events?limit=1").ok()  # the key itself goes on


def test_own_tokens_can_not_be_forged(hub):
    key = hub.create_key("victim", "events:read")
    good = token(hub, key).ok()["access_token"]
    header, said = json.loads(unb64(good.split(".")[0])), claims(good)
    api = hub.client(key=None)
    published = api.get("/.well-known/jwks.json").ok()["keys"]

    def refused(text):
        answer = api.get("/v1/events?limit=1", headers={"Authorization": f"Bearer {text}"})
        answer.problem(401)

    stranger = Key(header["kid"])
    refused(encode(header, said, stranger.sign))
    refused(encode({**header, "jwk": stranger.jwk()}, said, stranger.sign))
    refused(encode({**header, "alg": "none"}, said, b""))
    for secret in (json.dumps(published[0]).encode(), unb64(published[0]["x"]), key.encode()):
        refused(encode({**header, "alg": "HS256"}, said, hmac_sign(secret)))
    head, _, signature = good.split(".")
    for change in ({"scope": "*"}, {"sub": hub.key[:15]}, {"exp": said["exp"] + 9999}):
        refused(f"{head}.{b64({**said, **change})}.{signature}")
    for kid in ("", "../keys.db", header["kid"][:-1]):
        refused(encode({**header, "kid": kid}, said, stranger.sign))
    api.get("/v1/events?limit=1", headers={"Authorization": f"Bearer {good}"}).ok()


# --- how it ends ------------------------------------------------------------------------------

def works(hub, text):
    return hub.client(key=None).get("/v1/events?limit=1",
                                    headers={"Authorization": f"Bearer {text}"}).status == 200


def test_revoking_the_client_ends_its_tokens(hub):
    key, other = hub.create_key("leaver", "*"), hub.create_key("stayer", "*")
    one, two, stays = (token(hub, k).ok()["access_token"] for k in (key, key, other))
    assert works(hub, one) and works(hub, two) and works(hub, stays)
    hub.binary.ok("key", "revoke", "-C", hub.config, key[:15])
    began = time.monotonic()
    until(lambda: not works(hub, one), 5, "the token has ended")
    assert time.monotonic() - began < 2 * hub.binary.patience
    until(lambda: not works(hub, two), 5, "the other one, too")
    assert works(hub, stays)
    error(token(hub, key), 401, "invalid_client")


def test_tokens_end_by_themselves_and_with_their_key(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    hub.env.update(PENSTOCK_TOKEN_SECONDS="2")
    for _ in running(hub.start()):
        text = token(hub, hub.key).ok()["access_token"]
        assert works(hub, text)
        until(lambda: not works(hub, text), 15, "the token has expired")
        out = json.loads(hub.binary.ok("key", "create", "-C", hub.config, "--expires", "3s", "--json"))
        doc = token(hub, out["key"]).ok()
        assert doc["expires_in"] <= 3


def test_signing_keys_rotate_without_a_refusal(hub):
    before = {key["kid"] for key in hub.client(key=None).get("/.well-known/jwks.json").ok()["keys"]}
    text = token(hub, hub.key).ok()["access_token"]
    hub.binary.ok("key", "signing", "rotate", "-C", hub.config)

    def kids():
        return {key["kid"] for key in hub.client(key=None).get("/.well-known/jwks.json").ok()["keys"]}
    until(lambda: len(kids()) == len(before) + 1, 10, "another key is published")
    assert before < kids() and works(hub, text)
    assert json.loads(unb64(token(hub, hub.key).ok()["access_token"].split(".")[0]))["kid"] in before
    hub.binary.ok("key", "signing", "rotate", "--now", "-C", hub.config)
    until(lambda: not works(hub, text), 10, "what the old keys signed is refused")
    assert not before & kids()
    assert works(hub, token(hub, hub.key).ok()["access_token"])


def test_tokens_and_keys_survive_a_restart(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    configure(hub, {"url": "https://hub.example"})
    for _ in running(hub.start()):
        text = token(hub, hub.key).ok()["access_token"]
        hub.stop()
        hub.start()
        assert works(hub, text)


def test_another_hub_trusts_this_one_as_an_issuer(hub, binary, tmp_path):
    """What a hub publishes is what a hub takes."""
    second = Hub(binary, tmp_path)
    configure(second, {"issuers": [{"name": "first", "issuer": "https://hub.example",
                                    "audience": ["https://hub.example"], "typed": True,
                                    "jwks_url": f"{hub.url}/.well-known/jwks.json"}]})
    for _ in running(second.start()):
        text = token(hub, hub.create_key("abroad", "events:read")).ok()["access_token"]
        until(lambda: works(second, text), 10, "the token is taken abroad")
