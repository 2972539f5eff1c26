"""How calls to a partner say who makes them: keys, signatures, tokens that expire, are renewed and
rotate; through deliveries, and without a secret in anything the hub writes or tells."""

import base64
import hashlib
import hmac
import json
import re
import time

import pytest

import docs
from conftest import running
from guard import CLIENT, SECRET, Guard
from hub import Hub
from wire import until

OAUTH = """
  oauth2:
    token_url: "{url}/token"
    client_id: hub client
    client_secret: "${{env:GUARD_SECRET}}"
    scope: orders.write orders.read
    audience: https://guard.example/api
    parameters: {{resource: "a&b"}}
"""
REFRESH = """
  oauth2:
    token_url: "{url}/token"
    client_id: hub client
    client_secret: "${{env:GUARD_SECRET}}"
    client_auth: post
    refresh_token: "${{env:GUARD_REFRESH}}"
"""


@pytest.fixture
def guard():
    guard = Guard()
    yield guard
    guard.stop()


@pytest.fixture
def calling(binary, tmp_path, guard):
    """Starts a hub whose captured orders go to the guard; afterwards nothing secret may be anywhere."""
    made, secrets = [], []

    def start(auth, env, **more):
        hub = Hub(binary, tmp_path)
        guard.connector(hub, auth, **more)
        hub.env.update(env)
        secrets.extend(env.values())
        made.append(running(hub.start()))
        hub = next(made[0])
        hub.client().post("/v1/stock/counts", docs.count("TEE-RED-M", 10000)).ok(201)
        return hub

    yield start
    assert list(made[0]) == []  # stopped, and its log looked at
    assert leaked(tmp_path, ["TEE-RED-M"])  # what is looked for is found
    assert not leaked(tmp_path, secrets + list(guard.good) + [guard.refresh])


def leaked(folder, secrets):
    """Files of the hub that hold a secret: none may, but the file that keeps refresh tokens."""
    needles = []
    for secret in filter(None, secrets):
        needles += [secret.encode(), base64.b64encode(f"{CLIENT}:{secret}".encode())]
    return [str(path) for path in folder.rglob("*") if path.is_file() and path.name != "auth.db"
            and any(needle in path.read_bytes() for needle in needles)]


def capture(hub, count=1):
    return set(docs.captured(hub, count, "TEE-RED-M"))


def booked(guard, ids, timeout_s=20):
    until(lambda: ids <= set(guard.book), timeout_s, "every order at the partner")
    assert len(guard.book) == len(set(guard.book))


def shown(hub):
    """All that the hub tells of deliveries to somebody who asks."""
    api = hub.client()
    return json.dumps([api.get("/ops/overview").ok(), docs.listed(api, "/ops/held"), docs.events(api)]) + hub.log()


def test_a_token_is_fetched_once_for_all(calling, guard):
    guard.slow_s = 0.5
    hub = calling(OAUTH, {"GUARD_SECRET": SECRET})
    booked(guard, capture(hub, 60))
    assert len(guard.asked) == 1
    form = guard.asked[0]
    assert form == {"grant_type": "client_credentials", "scope": "orders.write orders.read",
                    "audience": "https://guard.example/api", "resource": "a&b"}
    assert not [call for call in guard.calls if call[3]]
    figures = hub.client().get("/metrics").body.decode()
    assert 'penstock_connector_sign_ins_total{connector="guarded",outcome="ok"} 1' in figures


def test_a_token_is_renewed_ahead_of_its_end(calling, guard):
    guard.expires_in = 2
    hub = calling(OAUTH, {"GUARD_SECRET": SECRET})
    ids, until_s = set(), time.monotonic() + 5
    while time.monotonic() < until_s:
        ids |= capture(hub)
        time.sleep(0.1)
    booked(guard, ids)
    assert 3 <= len(guard.asked) <= 6 and not [call for call in guard.calls if call[3]]


def test_after_a_401_one_new_token_serves_all_and_nothing_is_told(calling, guard):
    hub = calling(OAUTH, {"GUARD_SECRET": SECRET})
    booked(guard, capture(hub, 5))
    guard.good.clear()
    booked(guard, capture(hub, 40))
    assert len(guard.asked) == 2
    stats = hub.client().get("/metrics").body.decode()
    assert not re.search(r'deliveries_total\{connector="guarded".*outcome="(unreachable|final)"\} [1-9]', stats)


def test_a_token_endpoint_that_is_down_costs_waiting_alone(calling, guard):
    guard.down = True
    hub = calling(OAUTH, {"GUARD_SECRET": SECRET})
    ids = capture(hub, 10)
    until(lambda: "the other system does not answer" in hub.log(), 20, "the breaker")
    assert "sign-in: no answer" in hub.log()
    time.sleep(1)
    asked = len(guard.asked)
    assert asked < 10 and not guard.calls
    guard.down = False
    booked(guard, ids)
    assert not docs.listed(hub.client(), "/ops/held")


@pytest.mark.parametrize("refusal,words", [
    ("invalid_client", "it does not know the client, or its secret is wrong"),
    ("invalid_scope", "it does not give this scope"),
    ("unauthorized_client", "allow the grant there")])
def test_a_refusal_is_told_in_words_and_the_secret_is_not(calling, guard, refusal, words):
    guard.refuse = refusal
    hub = calling(OAUTH, {"GUARD_SECRET": SECRET})
    ids = capture(hub, 2)
    until(lambda: words in shown(hub), 20, "the words")
    assert SECRET not in shown(hub)
    guard.refuse = None
    booked(guard, ids)


def test_a_refused_token_is_not_repeated_by_the_hub(calling, guard):
    """A partner that takes no token at all, and repeats in its answer what it was sent."""
    guard.check = lambda *args: "no"
    hub = calling(OAUTH, {"GUARD_SECRET": SECRET})
    ids = capture(hub, 2)
    until(lambda: len(guard.calls) >= 3, 20, "some tries")
    told = shown(hub)
    assert "status 401" in told and not [token for token in guard.good if token in told]
    assert len(guard.asked) <= len(guard.calls)
    guard.check = guard.by_token
    booked(guard, ids)


def test_rotated_refresh_tokens_outlive_a_kill(calling, guard):
    guard.rotate, guard.expires_in = True, 1
    guard.refresh = "refresh-0-" + "r" * 40
    hub = calling(REFRESH, {"GUARD_SECRET": SECRET, "GUARD_REFRESH": guard.refresh})
    for _ in range(4):
        ids = capture(hub, 3)
        booked(guard, ids)
        time.sleep(1.2)
        hub.kill()
        hub.start()
    booked(guard, capture(hub, 3))
    used = [form["refresh_token"] for form in guard.asked]
    assert used[0].startswith("refresh-0-") and len(set(used)) == len(used) >= 5
    path = next(hub.folder.rglob("auth.db"))
    assert path.stat().st_mode & 0o777 == 0o600
    guard.refuse = "invalid_grant"
    guard.good.clear()
    ids = capture(hub)
    until(lambda: "authorise the hub again" in shown(hub), 20, "the words")
    told = shown(hub)
    assert not [token for token in used if token in told]
    # authorised again: the new token that the operator sets takes the place of what was kept
    hub.kill()
    guard.refuse, guard.refresh = None, "refresh-new-" + "n" * 40
    hub.env["GUARD_REFRESH"] = guard.refresh
    hub.start()
    booked(guard, ids)


def test_basic_key_and_bearer(calling, guard):
    hub = calling('  basic: {{username: hub, password: "${{env:GUARD_PASSWORD}}"}}', {"GUARD_PASSWORD": "pä55:word"})
    want = "Basic " + base64.b64encode("hub:pä55:word".encode()).decode()
    guard.check = lambda headers, *rest: None if headers.get("Authorization") == want else "no"
    booked(guard, capture(hub))


@pytest.mark.parametrize("where,value", [("header: X-Api-Key", "key-1234567890"), ("query: api_key", "k y&1234567"),
                                         ("{{header: Authorization, prefix: 'Token '}}", "key-1234567890")])
def test_api_key(calling, guard, where, value):
    where = where.strip("{}")
    hub = calling('  api_key: {{' + where + ', value: "${{env:GUARD_KEY}}"}}', {"GUARD_KEY": value})

    def check(headers, method, target, body):
        if "query" in where:
            return None if target == "/orders?a=b&api_key=k%20y%261234567" else "no"
        return None if value in (headers.get("X-Api-Key"), headers.get("Authorization", "")[6:]) else "no"

    guard.check = check
    booked(guard, capture(hub))


@pytest.mark.parametrize("digest,form", [("sha256", "hex"), ("sha512", "base64")])
def test_signed_requests(calling, guard, digest, form):
    secret = b"\x01\x02 raw bytes\xff"
    hub = calling("""
  hmac:
    secret: "${{env:GUARD_HMAC}}"
    secret_form: base64
    digest: %s
    form: %s
    timestamp: http-date
    string: "{{method}}\\n{{host}}\\n{{path}}|{{query}}|{{target}}\\n{{timestamp}}\\n{{nonce}}\\n\\
      {{body_sha256}}\\n{{body}}{{else}}"
    headers:
      X-Date: "{{timestamp}}"
      X-Nonce: "{{nonce}}"
      Authorization: "GUARD key:{{signature}}"
""" % (digest, form), {"GUARD_HMAC": base64.b64encode(secret).decode()})
    nonces = set()

    def check(headers, method, target, body):
        path, _, query = target.partition("?")
        text = "\n".join([method, headers["Host"], f"{path}|{query}|{target}", headers["X-Date"], headers["X-Nonce"],
                          hashlib.sha256(body).hexdigest(), body.decode() + "{else}"])
        mac = hmac.new(secret, text.encode(), digest)
        want = mac.hexdigest() if form == "hex" else base64.b64encode(mac.digest()).decode()
        at = time.mktime(time.strptime(headers["X-Date"], "%a, %d %b %Y %H:%M:%S GMT")) - time.timezone
        nonces.add(headers["X-Nonce"])
        return None if headers["Authorization"] == "GUARD key:" + want and abs(time.time() - at) < 60 else "no"

    guard.check = check
    ids = capture(hub, 5)
    booked(guard, ids)
    assert len(nonces) == 5


SESSION = """
  session:
    request: {{method: POST, url: "{url}/login"}}
    body: {{password: "${{env:GUARD_SECRET}}"}}
    token: {{header: X-Session, prefix: "Bearer "}}
    ended: {{at: /errors/0/code, is: WHO}}
"""


def test_a_session_in_a_header_that_ends_with_status_200(calling, guard):
    """A partner that answers 200 whatever happens: the call is made once more in a new session."""
    ended = []

    def login(request, body):
        guard.asked.append(json.loads(body))
        guard.made += 1
        guard.good = {f"session-{guard.made}-{'s' * 40}"}
        request.answer(200, {"in": True}, X_Session=next(iter(guard.good)))

    def orders(request, body):
        if guard.by_token(request.headers, "POST", request.path, body):
            ended.append(request.path)
            return request.answer(200, {"errors": [{"code": "WHO", "words": "and who are you?"}]})
        guard.book.append(json.loads(body)["order_id"])
        return request.answer(200, {"number": f"G-{len(guard.book)}", "note": "WHO"})

    guard.answer = lambda request, body: (login if request.path == "/login" else orders)(request, body)
    hub = calling(SESSION, {"GUARD_SECRET": SECRET})
    booked(guard, capture(hub, 5))
    assert guard.asked == [{"password": SECRET}] and not ended
    guard.good = {"another"}
    booked(guard, capture(hub, 1))
    assert len(guard.asked) == 2 and len(ended) == 1


@pytest.mark.parametrize("auth,words", [
    ("  basic: {username: hub, password: geheim}", "secrets are not kept in files"),
    ("  bearer: {token: '${env:X}'}\n  basic: {username: a, password: '${env:X}'}", "exactly one of basic"),
    ("  api_key: {value: '${env:X}'}", "either header or query"),
    ("  hmac: {secret: '${env:X}', string: a, headers: {A: b}}", "must carry {signature}"),
    ("  oauth2: {token_url: 'ftp://x', client_id: a}", "must begin with https"),
    ("  session: {request: {url: 'https://x'}}", "exactly one of mapping, token"),
    ("  session: {request: {url: 'https://x'}, token: {header: x-token}, ended: {at: code, is: NO}}",
     "must be a JSON Pointer"),
    ("  oauth: {}", "/auth/oauth")])
def test_a_wrong_section_is_told(binary, tmp_path, guard, auth, words):
    hub = Hub(binary, tmp_path)
    hub.env["X"] = "sixteen letters!"
    guard.connector(hub, auth.replace("{", "{{").replace("}", "}}"))
    done = binary.run("check", "-C", str(hub.config), env=hub.env)
    assert done.returncode != 0 and words in done.stdout + done.stderr


def test_what_is_not_set_is_named(binary, tmp_path, guard):
    hub = Hub(binary, tmp_path)
    guard.connector(hub, OAUTH)
    told = binary.run("check", "-C", str(hub.config), env=hub.env)
    assert "env GUARD_SECRET" in told.stdout + told.stderr
