"""Bearer tokens of an identity provider: who is let in by one and who is not; forgeries; keys that
change, and an issuer that is down, while calls go on."""

import json
import threading
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

import docs
from conftest import running
from hub import Hub
from idp import Idp, Key, b64, configure, encode, hmac_sign
from wire import until

QUICK = {"jwks_ask_ms": 300, "jwks_refresh_s": 3600, "jwks_timeout_ms": 2000}


@pytest.fixture(scope="module")
def idp():
    idp = Idp()
    rsa = Key("rsa-1", "RS256")
    idp.rsa, idp.pss = rsa, Key("pss-1", "PS256", private=rsa.private)
    idp.published += [idp.rsa, idp.pss]
    yield idp
    idp.close()


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory, idp):
    hub = Hub(binary, tmp_path_factory.mktemp("hub"))
    other = Key("file-1", "PS256")
    idp.in_file = other
    (hub.config / "partner.json").write_text(json.dumps({"keys": [other.jwk()]}))
    configure(hub, {"issuers": [
        idp.section(),
        {"name": "partner", "issuer": "https://partner.example", "audience": "x y".split(),
         "jwks_file": "partner.json", "algorithms": ["PS256"], "scope_claim": "/realm/roles",
         "scopes": {"buyer": ["orders:write", "stock:read"], "boss": ["*"]}},
    ]}, **QUICK)
    yield from running(hub.start())


@pytest.fixture
def call(hub):
    """Asks with a token: the answer."""
    api = hub.client(key=None)

    def ask(token, path="/v1/events?limit=1"):
        return api.get(path, headers={"Authorization": f"Bearer {token}"})
    return ask


def refused(answer, why=None):
    doc = answer.problem(401, slug="unauthenticated")
    challenge = answer.header("www-authenticate")
    assert challenge.startswith('Bearer realm="penstock", error="invalid_token"'), challenge
    assert why is None or why in doc["detail"], doc
    return doc


def first_use(idp, call):
    """The keys are there: what follows tests tokens and not the fetch."""
    until(lambda: call(idp.token()).status == 200, 10, "a token is taken")


# --- good ones --------------------------------------------------------------------------------

def test_each_algorithm(idp, call):
    first_use(idp, call)
    for key in (idp.key, idp.rsa, idp.pss):
        for _ in range(3):
            call(idp.token(key)).ok()
        call(idp.token(key, header={"typ": "JWT"})).ok()


def test_the_caller_is_in_the_events(hub, idp, call, stocked):
    first_use(idp, call)
    client = hub.client(key=idp.token(sub="storefront-7"))
    order = client.post("/v1/orders", docs.order((stocked(5), 1))).ok(201)
    out = hub.cli("trace", order["order_id"], "--json")
    assert "storefront-7@corp" in out.stdout


def test_idempotency_is_per_subject_not_per_token(hub, idp, call, stocked):
    """A caller that got another token is the same caller."""
    first_use(idp, call)
    sku, key = stocked(9), docs.key()
    doc = docs.order((sku, 1))
    first = hub.client(key=idp.token(jti="a")).post("/v1/orders", doc, headers=key).ok(201)
    again = hub.client(key=idp.token(jti="b")).post("/v1/orders", doc, headers=key)
    assert again.ok()["order_id"] == first["order_id"]
    assert again.header("idempotency-replayed") == "true"
    other = hub.client(key=idp.token(sub="another"))
    assert other.post("/v1/orders", docs.order((sku, 2)), headers=key).ok(201)["order_id"] \
        != first["order_id"]


def test_scopes_bind(idp, hub, call):
    first_use(idp, call)
    call(idp.token(scope="events:*")).ok()
    call(idp.token(scope=None, scp=["x", "events:read"])).ok()
    call(idp.token(scope=None, roles=["events:read"])).ok()
    for claims in ({"scope": "orders:read"}, {"scope": None}, {"scope": ""}, {"scope": 7},
                   {"scope": {"events:read": 1}}, {"scope": "orders:read", "scp": ["events:read"]}):
        answer = call(idp.token(**claims))
        answer.problem(403, slug="forbidden")
        assert answer.header("www-authenticate") == \
            'Bearer realm="penstock", error="insufficient_scope", scope="events:read"'


def test_scopes_are_mapped(idp, call):
    def partner(**claims):
        key = idp.in_file
        return encode({"alg": "PS256", "kid": key.kid},
                      idp.claims(iss="https://partner.example", aud=["y"], **claims), key.sign)

    call(partner(realm={"roles": ["buyer"]}), "/v1/availability?sku=X").ok()
    call(partner(realm={"roles": ["buyer"]})).problem(403)
    call(partner(realm={"roles": ["boss"]})).ok()
    call(partner(realm={"roles": ["events:read"]})).problem(403)  # theirs mean nothing unmapped
    call(partner(realm={"roles": "boss"})).ok()
    call(partner(scope="*")).problem(403)
    rs256 = Key("file-1", "RS256", private=idp.in_file.private)
    refused(call(encode({"alg": "RS256", "kid": "file-1"},
                        idp.claims(iss="https://partner.example", aud="x"), rs256.sign)))


# --- those that are not -----------------------------------------------------------------------

def test_claims_that_do_not_hold(idp, call):
    first_use(idp, call)
    now = int(time.time())
    refused(call(idp.token(exp=now - 31, iat=now - 700)), "expired")
    call(idp.token(exp=now - 5, iat=now - 700)).ok()  # its clock may be off
    refused(call(idp.token(nbf=now + 300)), "not valid yet")
    refused(call(idp.token(iat=now + 300)), "future")
    refused(call(idp.token(exp=None)))
    refused(call(idp.token(exp=str(now + 300))))
    refused(call(idp.token(aud="another")), "audience")
    refused(call(idp.token(aud=None)), "audience")
    refused(call(idp.token(aud=[])), "audience")
    refused(call(idp.token(iss="https://elsewhere")), "issuer")
    refused(call(idp.token(iss=idp.issuer.rstrip("/"))), "issuer")
    refused(call(idp.token(iss=None)), "issuer")
    refused(call(idp.token(sub=None)), "subject")
    refused(call(idp.token(sub="x" * 101)), "subject")
    refused(call(idp.token(sub="a\nb")), "subject")
    refused(call(idp.token(cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"})), "bound")
    refused(call(idp.token(cnf={"x5t#S256": "A" * 43})), "certificate")


def test_algorithms_that_are_none(idp, call):
    first_use(idp, call)
    claims = idp.claims()
    for alg in ("none", "None", "NONE", "nOnE", ""):
        refused(call(encode({"alg": alg, "typ": "JWT"}, claims, b"")))
        refused(call(encode({"alg": alg, "kid": "key-1"}, claims, b"x")))
    for secret in (idp.rsa.pem(), idp.key.pem(), b64(idp.rsa.jwk()).encode(), b"", b"secret"):
        for alg in ("HS256", "RS256", "ES256"):
            for kid in ("rsa-1", "key-1"):
                refused(call(encode({"alg": alg, "kid": kid}, claims, hmac_sign(secret))))


def test_signatures_of_others(idp, call):
    first_use(idp, call)
    claims, header = idp.claims(), {"alg": "ES256", "kid": "key-1"}
    stranger = Key("key-1")
    refused(call(idp.token(stranger)), "signature")
    good, other = encode(header, claims, idp.key.sign), idp.token(sub="other")
    head, body, signature = good.split(".")
    refused(call(f"{head}.{body}.{other.split('.')[2]}"))          # swapped
    refused(call(f"{head}.{other.split('.')[1]}.{signature}"))
    refused(call(f"{head}.{body}."))
    refused(call(f"{head}.{body}"))
    order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551
    r, s = (lambda raw: (raw[:32], raw[32:]))(idp.key.sign(good.rpartition(".")[0].encode()))
    zero = bytes(32)
    for raw in (zero + zero, r + zero, zero + s, r, r + s + b"\0", r + s[:31],
                b"\0" + r + s, order.to_bytes(32, "big") + s, r + order.to_bytes(32, "big"),
                (1).to_bytes(32, "big") * 2,
                encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))):  # as DER
        refused(call(f"{head}.{body}.{b64(raw)}"))
    call(f"{head}.{body}.{b64(r + s)}").ok()
    # one key's kid, another key's algorithm
    refused(call(encode({"alg": "RS256", "kid": "pss-1"}, claims, idp.rsa.sign)))
    refused(call(encode({"alg": "PS256", "kid": "rsa-1"}, claims, idp.pss.sign)))
    refused(call(encode({"alg": "RS256", "kid": "key-1"}, claims, idp.rsa.sign)))


def test_nothing_in_a_token_leads_to_a_key(idp, hub, call):
    """jku, x5u, jwk, x5c are not looked at: neither fetched nor believed."""
    first_use(idp, call)
    evil = Idp()
    try:
        mine = {"alg": "ES256", "typ": "JWT", "jku": f"{evil.url}/keys", "x5u": f"{evil.url}/keys",
                "jwk": evil.key.jwk(), "x5c": ["MIIB"]}
        for kid in ({}, {"kid": "key-1"}):
            answer = call(encode({**mine, **kid}, idp.claims(), evil.key.sign))
            refused(answer)
        call(encode({**mine, "kid": "key-1"}, idp.claims(), idp.key.sign)).ok()
        assert evil.fetches == 0
    finally:
        evil.close()


@pytest.mark.parametrize("kid", [
    "../../../../dev/null", "/dev/null", "key-1\u0000", "' OR 1=1 --", "key-1/../key-1", "KEY-1",
    "%6bey-1", "http://127.0.0.1/", "x" * 257, 1, None, ["key-1"], {"key-1": 1}, True,
], ids=lambda kid: repr(kid)[:30])
def test_kids_are_only_compared(idp, hub, call, kid):
    first_use(idp, call)
    token = encode({"alg": "ES256", "kid": kid}, idp.claims(), Key("x").sign)
    until(lambda: call(token).status != 503, 10, "an answer that is final")
    refused(call(token))


def test_forms_that_are_none(idp, call):
    first_use(idp, call)
    good = idp.token()
    head, body, signature = good.split(".")
    twice = b64('{"alg":"ES256","kid":"key-1","alg":"ES256"}')
    claims = b64('{"exp":1,"exp":99999999999}')
    for token in ("..", "a.b.c", f"{good}.x", f".{good}", f"{head}..{signature}", f"{good}=",
                  f"{head}=.{body}.{signature}", f"{twice}.{body}.{signature}",
                  f"{head}.{claims}.{signature}", f"{head}.{body}.{signature[:-1]}!",
                  f"{b64('[]')}.{body}.{signature}", f"{b64('{')}.{body}.{signature}"):
        refused(call(token))
    for header in ({"crit": ["exp"]}, {"crit": []}, {"crit": ["b64"], "b64": False},
                   {"zip": "DEF"}, {"cty": "JWT"}, {"typ": "logout+jwt"}, {"typ": "dpop+jwt"}):
        refused(call(idp.token(header=header)))
    refused(call(idp.token(pad="x" * 9000)), "8192")
    refused(call(encode({"alg": "ES256", "kid": "key-1", **{f"m{i}": i for i in range(200)}},
                        idp.claims(), idp.key.sign)))
    claims = '{"iss":"%s","sub":"a","sub":"b","aud":"penstock","exp":99999999999}' % idp.issuer
    refused(call(encode({"alg": "ES256", "kid": "key-1"}, claims, idp.key.sign)), "twice")


def test_an_id_token_or_another_services_token_is_refused(idp, call):
    first_use(idp, call)
    refused(call(idp.token(aud=["billing", "https://penstock"])), "audience")


def test_refusal_costs_no_body_and_leaves_nothing(hub, idp, api, stocked, call):
    first_use(idp, call)
    sku = stocked(10)
    before = docs.stored(api), docs.stock(api, sku)
    forged = hub.client(key=idp.token(Key("key-1")))
    refused(forged.post("/v1/orders", docs.order((sku, 1))))
    assert (docs.stored(api), docs.stock(api, sku)) == before


# --- keys that come and go ----------------------------------------------------------------------

@pytest.fixture
def alone(binary, tmp_path):
    """An issuer and a hub of this test's own: start(…) with settings."""
    idp = Idp()
    hub = Hub(binary, tmp_path)
    hub.idp = idp

    def start(**settings):
        configure(hub, {"issuers": [idp.section()]}, **{**QUICK, **settings})
        return hub.start()
    hub.begin = start
    yield from running(hub)
    idp.close()


def ask(hub, token):
    return hub.client(key=None).get("/v1/events?limit=1",
                                    headers={"Authorization": f"Bearer {token}"})


def test_the_issuer_changes_its_keys_while_calls_go_on(alone):
    hub, idp = alone.begin(), alone.idp
    until(lambda: ask(hub, idp.token()).status == 200, 10, "the first token is taken")
    statuses, stop = [], threading.Event()

    def caller():
        api = hub.client(key=None)
        while not stop.is_set():
            answer = api.get("/v1/events?limit=1", headers={"Authorization": f"Bearer {idp.token()}"})
            statuses.append(answer.status)

    threads = [threading.Thread(target=caller) for _ in range(3)]
    for thread in threads:
        thread.start()
    for i in range(2, 5):
        time.sleep(0.5)
        idp.key = Key(f"key-{i}")  # signs from now on, published at the same moment
        idp.published = [idp.key]
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200}, set(statuses)  # those that came too early waited for the key
    assert len(statuses) > 100


def test_a_key_that_is_withdrawn_ends_its_tokens(alone):
    hub, idp = alone.begin(jwks_refresh_s=1), alone.idp
    old = idp.token()
    until(lambda: ask(hub, old).status == 200, 10, "the token is taken")
    idp.key = Key("key-2")
    idp.published = [idp.key]
    until(lambda: ask(hub, old).status == 401, 10, "its key is gone")
    ask(hub, idp.token()).ok()


def test_a_flood_of_unknown_kids_costs_the_issuer_nothing(alone):
    hub, idp = alone.begin(jwks_ask_ms=60000), alone.idp
    until(lambda: ask(hub, idp.token()).status == 200, 10, "the first token is taken")
    api, stranger, before = hub.client(key=None), Key("x"), idp.fetches
    for i in range(400):
        stranger.kid = f"made-up-{i}"
        answer = api.get("/v1/events?limit=1",
                         headers={"Authorization": f"Bearer {idp.token(stranger)}"})
        assert answer.status in (401, 503)
    assert answer.status == 401
    assert idp.fetches - before <= 1
    ask(hub, idp.token()).ok()


def test_an_issuer_that_is_down(alone):
    """Its tokens go on being verified with the keys at hand; after a start without any, callers
    are asked to come again."""
    idp = alone.idp
    idp.down = True
    hub = alone.begin(jwks_refresh_s=1)
    answer = ask(hub, idp.token())
    answer.problem(503, slug="unavailable")
    assert answer.header("retry-after")
    hub.client().get("/v1/events?limit=1").ok()  # API keys have nothing to do with it
    idp.down = False
    until(lambda: ask(hub, idp.token()).status == 200, 15, "the issuer is back")
    idp.down = True
    before = idp.fetches
    until(lambda: idp.fetches > before, 10, "a fetch that fails")
    for _ in range(10):
        ask(hub, idp.token()).ok()
    idp.down, idp.status = False, 500
    before = idp.fetches
    until(lambda: idp.fetches > before, 20, "another one")
    ask(hub, idp.token()).ok()
    metrics = hub.client().get("/metrics").body.decode()
    assert 'penstock_issuer_keys{issuer="corp"} 1' in metrics


def test_keys_that_are_too_old_are_given_up(alone):
    hub, idp = alone.begin(jwks_refresh_s=1, jwks_stale_s=2), alone.idp
    token = idp.token()
    until(lambda: ask(hub, token).status == 200, 10, "the token is taken")
    idp.down = True
    until(lambda: ask(hub, token).status == 503, 15, "the keys are too old")


def test_a_slow_issuer_holds_up_nobody(alone):
    idp = alone.idp
    idp.delay_s = 4
    hub = alone.begin(jwks_timeout_ms=10000)
    api, answers = hub.client(), []
    began = time.monotonic()
    threads = [threading.Thread(target=lambda: answers.append(ask(hub, idp.token())))
               for _ in range(4)]
    for thread in threads:
        thread.start()
    slow = 0
    while time.monotonic() < began + 1.5:
        asked = time.monotonic()
        api.get("/v1/events?limit=1").ok()
        slow = max(slow, time.monotonic() - asked)
    assert slow < 0.5 * hub.binary.patience
    refused_at_once = hub.client(key=idp.token()).bulk("/v1/orders", [{}])
    assert refused_at_once.status == 503 and refused_at_once.header("retry-after")
    for thread in threads:
        thread.join()
    assert time.monotonic() - began < 3.5 * hub.binary.patience  # they waited, and not for ever
    assert [answer.status for answer in answers] == [503] * 4
    until(lambda: ask(hub, idp.token()).status == 200, 15, "the keys have come")


def test_calls_wait_for_keys_on_their_way(alone, sku):
    idp = alone.idp
    idp.delay_s = 0.7
    hub = alone.begin()
    hub.client().post("/v1/stock/counts", docs.count(name := sku(), 5)).ok(201)
    hub.client(key=idp.token()).post("/v1/orders", docs.order((name, 1))).ok(201)
    stranger = Key("stranger")
    refused(ask(hub, idp.token(stranger)))
    large = docs.order((name, 1), ext={"pad": "x" * 70000})
    idp.key = Key("key-2")
    idp.published = [idp.key]
    time.sleep(0.4)
    assert hub.client(key=idp.token()).post("/v1/orders", large).status == 503
    hub.client(key=idp.token()).post("/v1/orders", docs.order((name, 1))).ok(201)
    hub.client(key=idp.token(scope="stock:read")).post("/v1/orders", docs.order((name, 1))).problem(403)


# --- configuration --------------------------------------------------------------------------

@pytest.mark.parametrize("change, said", [
    ({"jwks_url": "http://idp.example/keys"}, "https://"),
    ({"jwks_url": None}, "jwks_url or jwks_file"),
    ({"jwks_file": "x.json"}, "jwks_url or jwks_file"),
    ({"algorithms": ["HS256"]}, "RS256, PS256 or ES256"),
    ({"algorithms": ["none"]}, "RS256, PS256 or ES256"),
    ({"audience": []}, "audience"),
    ({"scopes": ["x"]}, "mapping"),
    ({"scopes": {"x": [7]}}, "list of ours"),
    ({"name": "certificate"}, "taken"),
    ({"leeway_s": 301}, "leeway_s"),
    ({"nonsense": 1}, "nonsense"),
])
def test_faults_of_the_section_are_named(binary, tmp_path, change, said):
    hub = Hub(binary, tmp_path)
    row = {"name": "corp", "issuer": "https://idp", "audience": ["x"], "jwks_url": "https://idp/keys"}
    row = {k: v for k, v in {**row, **change}.items() if v is not None}
    configure(hub, {"issuers": [row]})
    done = binary.run("check", "-C", hub.config)
    assert done.returncode == 1
    assert "penstock.yaml:" in done.stderr + done.stdout and said in done.stderr + done.stdout


@pytest.mark.parametrize("text, said", [
    (None, "can not read"), ("{", "jwks.json"), ("{}", "key set is"), ('{"keys":[]}', "no public key"),
    (json.dumps({"keys": [Key("a", "RS256", 1024).jwk()]}), "2048"),
    (json.dumps({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}), "no public key"),
], ids=["missing", "cut", "no-set", "empty", "small-rsa", "symmetric"])
def test_faults_of_a_key_set_in_a_file_are_named(binary, tmp_path, text, said):
    hub = Hub(binary, tmp_path)
    if text is not None:
        (hub.config / "jwks.json").write_text(text)
    configure(hub, {"issuers": [{"name": "corp", "issuer": "https://idp", "audience": ["x"],
                                 "jwks_file": "jwks.json"}]})
    done = binary.run("check", "-C", hub.config)
    assert done.returncode == 1 and said in done.stderr, done


def test_an_unknown_scope_in_the_section_keeps_the_hub_from_starting(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    row = {"name": "corp", "issuer": "https://idp", "audience": ["x"], "jwks_url": "https://idp/keys",
           "scopes": {"x": ["orders:wriet"]}}
    configure(hub, {"issuers": [row]})
    done = binary.run("serve", "-C", hub.config, "--listen", "127.0.0.1:0")
    assert done.returncode == 1 and "orders:wriet" in done.stderr
    done = binary.run("check", "-C", hub.config)
    assert done.returncode == 1 and "there is no scope orders:wriet" in done.stderr, done
