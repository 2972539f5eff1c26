"""Operators sign in with a browser at an identity provider (OpenID Connect): who gets a session, what
it may, how it ends; and everything that must not become one."""

import json
import time
from pathlib import Path

import pytest

import docs
from conftest import running
from hub import Hub
from idp import Key, configure, encode, hmac_sign
from provider import CLIENT, SECRET, Browser, Provider
from wire import until

COOKIE = "penstock_session"
SETTINGS = {"jwks_ask_ms": 100, "jwks_timeout_ms": 2000, "operator_idle_s": 600}


def make_hub(binary, folder, provider, settings=None, **more):
    hub = Hub(binary, folder, env={"STAFF_SECRET": SECRET})
    hub.origin = "http://127.0.0.1:8480"  # where browsers would find it: what Origin is held against
    configure(hub, {"operators": provider.section(hub.origin, **more)}, **{**SETTINGS, **(settings or {})})
    return hub


@pytest.fixture(scope="module")
def provider():
    provider = Provider()
    yield provider
    provider.close()


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory, provider):
    yield from running(make_hub(binary, tmp_path_factory.mktemp("hub"), provider).start())


@pytest.fixture(autouse=True)
def honest(provider):
    """Each test begins with a provider that says the truth."""
    yield
    provider.lie, provider.sign, provider.answer, provider.asleep = {}, None, None, False
    provider.person = {"sub": "u-1", "preferred_username": "ann", "groups": ["admins"]}


@pytest.fixture
def browser(hub):
    return Browser(hub)


def signed_in(browser, provider, query=""):
    answer = browser.sign_in(provider, query)
    assert answer.status == 303, answer
    return answer


def not_signed_in(browser, answer, status, why=None):
    doc = answer.problem(status)
    assert why is None or why in doc["detail"], doc
    assert not any(COOKIE in name for name in browser.cookies), browser.cookies
    browser.get("/ops/me").problem(401)
    return doc


# --- it works ----------------------------------------------------------------------------------

def test_signing_in_and_out(hub, browser, provider, stocked):
    sku = stocked(5)
    browser.get("/ops/me").problem(401)
    answer = signed_in(browser, provider, "?return=/ops/exceptions%3Fstate%3Dopen")
    assert answer.header("location") == "/ops/exceptions?state=open"
    me = browser.get("/ops/me").ok()
    assert (me["subject"], me["name"], me["caller"]) == ("u-1", "ann", "u-1@staff")
    assert "orders:write" in me["scopes"] and me["until"].endswith("Z") and me["idle_seconds"] == 600
    order = browser.post("/v1/orders", docs.order((sku, 1)), headers={"Origin": hub.origin}).ok(201)
    assert "u-1@staff" in hub.cli("trace", order["order_id"], "--json").stdout
    assert browser.post("/ops/logout", headers={"Sec-Fetch-Site": "same-origin"}).ok() == {"ended": True}
    assert COOKIE not in browser.cookies
    browser.get("/ops/me").problem(401)


def test_cookies_have_their_flags(browser, provider):
    url = browser.begin()
    assert "HttpOnly" in browser.flags["penstock_login"] and "Secure" not in browser.flags["penstock_login"]
    answer = browser.back(**provider.consent(url))
    assert answer.header("cache-control") == "no-store" and "penstock_login" not in browser.cookies
    for flag in ("Path=/", "HttpOnly", "SameSite=Lax"):
        assert flag in browser.flags[COOKIE]
    assert len(browser.cookies[COOKIE]) == 43


def test_cookies_over_tls(binary, tmp_path, provider):
    hub = make_hub(binary, tmp_path, provider, url="https://hub.example")
    for hub in running(hub.start()):
        browser = Browser(hub)
        answer = signed_in(browser, provider)
        assert set(browser.cookies) == {"__Host-penstock_session"}
        assert answer.header("set-cookie").count("; Secure") == 2
        assert browser.get("/ops/me").ok()["name"] == "ann"
        one = {"Cookie": f"{COOKIE}={browser.cookies['__Host-penstock_session']}"}
        hub.client(key=None).get("/ops/me", headers=one).problem(401)  # not under another name


def test_groups_become_scopes(browser, provider):
    provider.person = {"sub": "u-2", "email": "bob@example.com", "groups": ["readers", "others"]}
    signed_in(browser, provider)
    me = browser.get("/ops/me").ok()
    assert me["scopes"] == ["events:read"] and me["name"] == "bob@example.com"
    browser.get("/v1/events?limit=1").ok()
    browser.get("/v1/availability?sku=X").problem(403)


def test_who_has_no_group_is_not_let_in(browser, provider):
    for groups in (["others"], [], None, {"admins": 1}, 7, ["Admins"], ["*"]):
        provider.person = {"sub": "u-3", "groups": groups}
        not_signed_in(browser, browser.sign_in(provider), 403, "u-3@staff")


def test_the_header_wins(hub, browser, provider):
    signed_in(browser, provider)
    key = hub.create_key("narrow", "stock:read")
    browser.get("/v1/events?limit=1").ok()
    until(lambda: browser.get("/v1/availability?sku=X", headers={"Authorization": f"Bearer {key}"}).status
          == 200, 5, "the key")
    browser.get("/v1/events?limit=1", headers={"Authorization": f"Bearer {key}"}).problem(403)
    browser.get("/v1/events?limit=1", headers={"Authorization": "Bearer nobody"}).problem(401)


def test_another_session_is_another_token(browser, provider):
    signed_in(browser, provider)
    first = browser.cookies[COOKIE]
    signed_in(browser, provider)
    assert browser.cookies[COOKIE] != first
    browser.cookies = {COOKIE: first}  # it ended with the new one
    browser.get("/ops/me").problem(401)


def test_sessions_of_one_person_are_bounded(hub, provider):
    browsers = [Browser(hub) for _ in range(18)]
    provider.person = {"sub": "many", "groups": ["readers"]}
    for browser in browsers:
        signed_in(browser, provider)
    alive = [browser.get("/ops/me").status for browser in browsers]
    assert alive == [401] * 2 + [200] * 16


def test_a_key_that_is_new(browser, provider):
    """The provider signs with a key that the hub has not seen."""
    signed_in(browser, provider)
    provider.key = Key("key-new")
    provider.published = [provider.key]
    time.sleep(0.2)
    signed_in(browser, provider)


# --- it ends ------------------------------------------------------------------------------------

def test_idle_and_absolute_end(binary, tmp_path, provider):
    hub = make_hub(binary, tmp_path, provider, {"operator_idle_s": 1, "operator_session_s": 3})
    for hub in running(hub.start()):
        idle, busy = Browser(hub), Browser(hub)
        signed_in(idle, provider)
        signed_in(busy, provider)
        began = time.monotonic()
        while time.monotonic() - began < 1.6:
            busy.get("/ops/me").ok()
            time.sleep(0.1)
        idle.get("/ops/me").problem(401)
        while busy.get("/ops/me").status == 200:
            assert time.monotonic() - began < 10
            time.sleep(0.1)
        assert time.monotonic() - began >= 2.5
        assert "session has ended" in busy.get("/ops/me").problem(401)["detail"]


# --- what must not become a session ---------------------------------------------------------------

def test_claims_that_do_not_hold(browser, provider):
    now = int(time.time())
    for lie, why in (({"nonce": "x" * 43}, "nonce"), ({"nonce": None}, "nonce"), ({"nonce": 7}, "nonce"),
                     ({"aud": "another"}, "audience"), ({"aud": [CLIENT, "another"]}, "another client"),
                     ({"aud": [CLIENT, "another"], "azp": "another"}, "another client"),
                     ({"azp": "another"}, "another client"), ({"iss": "https://else.example"}, "issuer"),
                     ({"exp": now - 60, "iat": now - 600}, "expired"), ({"exp": None}, "exp"),
                     ({"iat": None}, "issued"), ({"iat": now + 600}, "future"), ({"sub": None}, "subject"),
                     ({"sub": "a\nb"}, "subject"), ({"at_hash": "A" * 22}, "at_hash"),
                     ({"at_hash": 1}, "at_hash")):
        provider.lie = lie
        not_signed_in(browser, browser.sign_in(provider), 401, why)
    provider.lie = {"aud": [CLIENT, "another"], "azp": CLIENT}
    signed_in(browser, provider)


def test_signatures_that_are_none(browser, provider):
    stranger = Key(provider.key.kid)
    head = {"kid": provider.key.kid}
    for sign in (lambda claims: encode({"alg": "none"}, claims, b""),
                 lambda claims: encode({**head, "alg": "HS256"}, claims, hmac_sign(SECRET.encode())),
                 lambda claims: encode({**head, "alg": "HS256"}, claims, hmac_sign(provider.key.pem())),
                 lambda claims: encode({**head, "alg": "ES256"}, claims, stranger.sign),
                 lambda claims: encode({"kid": "nobody", "alg": "ES256"}, claims, stranger.sign),
                 lambda claims: encode({**head, "alg": "ES256", "typ": "at+jwt"}, claims, provider.key.sign),
                 lambda claims: encode({**head, "alg": "ES256"}, claims, b""),
                 lambda claims: "no token", lambda claims: "..", lambda claims: "x" * 9000):
        provider.sign = sign
        not_signed_in(browser, browser.sign_in(provider), 401)


def test_only_the_configured_algorithms(binary, tmp_path, provider):
    for hub in running(make_hub(binary, tmp_path, provider, algorithms=["PS256"]).start()):
        browser = Browser(hub)
        not_signed_in(browser, browser.sign_in(provider), 401, "algorithm")


def test_states_that_are_not_ours(hub, browser, provider):
    good = provider.consent(browser.begin())
    asked = provider.tokens_asked
    for values in ({**good, "state": "x" * 43}, {**good, "state": ""}, {"code": good["code"]},
                   {"error": "access_denied"}, {"error": "access_denied", "state": "y" * 43}):
        not_signed_in(browser, browser.back(**values), 400, "/ops/login")
    not_signed_in(browser, browser.get(f"/ops/callback?state={good['state']}&code=a&code=b"), 400, "twice")
    other = Browser(hub)  # one that did not begin: somebody was sent a link
    not_signed_in(other, other.back(**good), 400)
    other.begin()
    not_signed_in(other, other.back(**good), 400)
    cookie = browser.cookies["penstock_login"]
    for broken in (cookie[:-1], cookie + "A", "B" + cookie[1:], cookie.replace(".", "", 1), "", "..", "x" * 4000):
        other.cookies = {"penstock_login": broken}
        not_signed_in(other, other.back(**good), 400)
    assert provider.tokens_asked == asked
    assert browser.back(**good).status == 303


def test_a_callback_counts_once(browser, provider):
    good = provider.consent(browser.begin())
    cookies = dict(browser.cookies)
    assert browser.back(**good).status == 303
    asked = provider.tokens_asked
    browser.cookies = dict(cookies)
    not_signed_in(browser, browser.back(**good), 400, "over")
    assert provider.tokens_asked == asked
    browser.begin()  # a code that was used, in another sign-in
    state = provider.consent(browser.begin())["state"]
    not_signed_in(browser, browser.back(code=good["code"], state=state), 401, "invalid_grant: no such code")


def test_what_began_too_long_ago(binary, tmp_path, provider):
    for hub in running(make_hub(binary, tmp_path, provider, {"operator_login_s": 1}).start()):
        browser = Browser(hub)
        good = provider.consent(browser.begin())
        time.sleep(1.2)
        not_signed_in(browser, browser.back(**good), 400, "too long ago")


def test_the_provider_says_no(browser, provider):
    state = provider.consent(browser.begin())["state"]
    answer = browser.back(state=state, error="access_denied",
                          error_description="<script>alert(1)</script>\"é" + "x" * 500)
    doc = not_signed_in(browser, answer, 401, "access_denied: <script>")
    assert answer.header("content-type") == "application/problem+json"
    assert doc["detail"].isascii() and len(doc["detail"]) < 256
    state = provider.consent(browser.begin())["state"]
    not_signed_in(browser, browser.back(state=state, error="x", error_description="a\r\nb: c"), 400)
    state = provider.consent(browser.begin())["state"]
    not_signed_in(browser, browser.back(state=state, code="x", iss="https://else.example"), 401, "iss")
    good = provider.consent(browser.begin())
    assert browser.back(**good, iss=provider.issuer, session_state="x").status == 303


def test_only_paths_of_the_hub_are_returned_to(browser, provider):
    for bad in ("https://evil.example", "//evil.example", "/%5Cevil.example", "/\\evil.example", "evil", "",
                "/%09/evil.example", "/%0d%0aSet-Cookie:%20a=b", "/a%20b", "/%C3%A9", "javascript:alert(1)",
                "/" + "x" * 600):
        browser.get(f"/ops/login?return={bad}").problem(400)
    assert signed_in(browser, provider, "?return=/").header("location") == "/"
    assert signed_in(browser, provider, "?return=/a/b%2F/c%3Fd=%2523").header("location") == "/a/b//c?d=%23"
    browser.get("/ops/login?retrun=/x").problem(400)


def test_changes_need_the_hubs_own_origin(hub, browser, provider, stocked):
    sku = stocked(50)
    signed_in(browser, provider)
    for bad in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": hub.origin + "0"},
                {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Sec-Fetch-Site": ""},
                {"Sec-Fetch-Site": "cross-site", "Origin": hub.origin}, {"X-Penstock-Csrf": ""},
                {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
                {"Origin": "https://evil.example", "X-Penstock-Csrf": "1"},
                {"Referer": hub.origin + "/x"}):
        for path in ("/v1/orders", "/ops/logout"):
            browser.post(path, docs.order((sku, 1)), headers=bad).problem(403)
    browser.call("DELETE", "/v1/customers/nobody").problem(403)
    for good in ({"Origin": hub.origin}, {"Sec-Fetch-Site": "none"}, {"Sec-Fetch-Site": "same-origin"},
                 {"X-Penstock-Csrf": "1"}):
        browser.post("/v1/orders", docs.order((sku, 1)), headers=good).ok(201)
    browser.get("/v1/events?limit=1", headers={"Sec-Fetch-Site": "cross-site"}).ok()  # shows nothing to it


def test_tokens_that_are_guessed(hub, browser, provider):
    signed_in(browser, provider)
    token = browser.cookies[COOKIE]
    for guess in ("", "x", token[:-1], token + "A", token[::-1], "A" * 43, token.swapcase()):
        hub.client(key=None).get("/v1/events", headers={"Cookie": f"{COOKIE}={guess}"}).problem(401)
    fine = {"Cookie": f"a=b; {COOKIE}={token}; c={COOKIE}"}
    hub.client(key=None).get("/ops/me", headers=fine).ok()


def test_a_flood_of_logins_costs_nothing(binary, tmp_path, provider):
    """Who has begun goes on, whatever others do: what is begun is kept by the browsers."""
    def memory_kb():
        text = (Path("/proc") / str(hub.process.popen.pid) / "status").read_text()
        return int(text.split("VmRSS:")[1].split()[0])

    for hub in running(make_hub(binary, tmp_path, provider, {"limits_enabled": 0}).start()):
        first = Browser(hub)
        good = provider.consent(first.begin())
        client, asked = hub.client(key=None), provider.metadata_asked
        for _ in range(500):
            client.get("/ops/login")
        before = memory_kb()
        assert {client.get("/ops/login").status for _ in range(5000)} == {302}
        assert binary.slow or memory_kb() - before < 2048  # a sanitizer keeps what was freed
        assert provider.metadata_asked == asked
        assert first.back(**good).status == 303
        assert first.get("/ops/me").ok()["name"] == "ann"


def test_logins_are_limited_like_all_that_is_open(binary, tmp_path, provider):
    for hub in running(make_hub(binary, tmp_path, provider).start()):
        client = hub.client(key=None)
        statuses = {client.get("/ops/login").status for _ in range(4000)}
        assert statuses == {302, 429}


def test_it_is_told_in_the_audit(hub, browser, provider):
    def told(**wanted):
        items = hub.client().get("/ops/audit?limit=1000").ok()["items"]
        return [x for x in items if all(x.get(name) == value for name, value in wanted.items())]

    provider.person = {"sub": "told", "groups": ["readers"]}
    signed_in(browser, provider)
    until(lambda: told(action="GET /ops/callback", actor="told@staff"), 10, "the sign-in")
    browser.post("/ops/logout", headers={"X-Penstock-Csrf": "1"}).ok()
    until(lambda: told(action="POST /ops/logout", actor="told@staff"), 10, "the end")
    provider.lie = {"nonce": "x"}
    browser.sign_in(provider).problem(401)
    until(lambda: told(action="GET /ops/callback", kind="denied"), 10, "the one that failed")
    assert "code%2F" not in json.dumps(told()) and "state=" not in json.dumps(told())


# --- when the provider is not there -----------------------------------------------------------------

def test_the_provider_is_down(binary, tmp_path):
    provider = Provider()
    provider.asleep = True
    for hub in running(make_hub(binary, tmp_path, provider).start()):
        browser = Browser(hub)
        answer = browser.get("/ops/login")
        answer.problem(503)
        assert int(answer.header("retry-after")) >= 1
        hub.client().get("/v1/events?limit=1").ok()
        provider.asleep = False
        until(lambda: browser.get("/ops/login").status == 302, 20, "it is found again")
        good = provider.consent(browser.begin())
        provider.asleep = True
        answer = browser.back(**good)
        not_signed_in(browser, answer, 503)
        assert int(answer.header("retry-after")) >= 1
        provider.asleep = False
        for bad in ((500, {}), (401, {"error": "invalid_client"}), (200, []), (429, {"error": "slow"})):
            provider.answer = bad
            not_signed_in(browser, browser.sign_in(provider), 503)
        provider.answer = (200, {"access_token": "at-1"})
        not_signed_in(browser, browser.sign_in(provider), 401, "no ID token")
        provider.answer = None
        signed_in(browser, provider)
    provider.close()


@pytest.mark.parametrize("lie", [{"issuer": "https://else.example"}, {"issuer": None}, {"jwks_uri": None},
                                 {"token_endpoint": "http://else.example/token"},
                                 {"authorization_endpoint": "javascript:alert(1)"}])
def test_metadata_that_is_not_its_own(binary, tmp_path, lie):
    provider = Provider()
    provider.metadata_lie = lie
    for hub in running(make_hub(binary, tmp_path, provider).start()):
        hub.client(key=None).get("/ops/login").problem(503)
    provider.close()


def test_configurations_that_are_wrong(binary, tmp_path, provider):
    for i, (more, why) in enumerate((
            ({"url": "https://hub.example/"}, "/auth/operators/url"), ({"url": None}, "/auth/operators/url"),
            ({"url": "https://hub.example:443"}, "/auth/operators/url"),
            ({"issuer": "http://login.example"}, "/auth/operators/issuer"),
            ({"client_secret": "plain"}, "/auth/operators/client_secret"),
            ({"ask": "profile"}, "/auth/operators/ask"), ({"scopes": {}}, "/auth/operators/scopes"),
            ({"name": "certificate"}, "/auth/operators/name"),
            ({"algorithms": ["HS256"]}, "/auth/operators/algorithms"))):
        hub = make_hub(binary, tmp_path / str(i), provider, **more)
        out = binary.run("check", "-C", hub.config)
        assert out.returncode != 0 and why in out.stdout + out.stderr, (more, out)


def test_where_nobody_signs_in(fresh_hub):
    client = fresh_hub.client(key=None)
    client.get("/ops/login").problem(409)
    client.get("/ops/callback?state=x").problem(409)
    client.get("/ops/me", headers={"Cookie": f"{COOKIE}=x"}).problem(401)
    client.post("/ops/logout").problem(401)
