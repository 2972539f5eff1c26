"""Webhook signatures against the real hub, scheme by scheme: what is signed is taken, once; what
is not, or is altered, old, or signed with a secret that was withdrawn, is 401 and leaves nothing."""

import base64
import hashlib
import hmac
import itertools
import json
import time

import pytest

import docs
from conftest import SUITES, running
from hub import Hub

URL = "https://shop.example/x/signed/square"
WHSEC = "whsec_" + base64.b64encode(b"the key of the tests, 32 bytes !").decode()
WHSEC_NEW = "whsec_" + base64.b64encode(b"its successor, as long as that..").decode()
ADYEN_KEY = "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff"
TEXT_KEY, TEXT_KEY_NEW = "a text, as it is", "its successor"
_numbers = itertools.count(1)

CONNECTOR = """\
connector: signed
version: "1.0.0"
owner: security
description: One topic for each way of signing
receive:
"""
TOPIC = """\
  - topic: {topic}
    signature:
      scheme: {scheme}
      secret: ["${{env:OLD_{kind}}}", "${{env:NEW_{kind}}}"]
{more}    mapping: count.lua
    command: stock.count
"""
MAPPING = """\
return function(doc, settings)
  return {sku = "SIGNED", location = "WH-HAM", on_hand = tostring(opt(doc, "count") or 1)}
end
"""


def digest(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def b64(raw):
    return base64.b64encode(raw).decode()


def whsec(secret):
    return base64.b64decode(secret.removeprefix("whsec_"))


def sign_base64(header):
    return lambda raw, key, at: {header: b64(digest(key.encode(), raw))}


def sign_square(raw, key, at):
    return {"x-square-hmacsha256-signature": b64(digest(key.encode(), URL.encode(), raw))}


def sign_stripe(raw, key, at):
    mac = digest(key.encode(), str(at).encode(), b".", raw).hex()
    return {"Stripe-Signature": f"t={at},v0=x,v1={'0' * 64},v1={mac}"}


def sign_standard(raw, key, at, message="msg_1"):
    mac = b64(digest(whsec(key), f"{message}.{at}.".encode(), raw))
    return {"webhook-id": message, "webhook-timestamp": str(at),
            "webhook-signature": f"v1,AAAA v1,{mac}"}


def sign_adyen_header(raw, key, at):
    return {"HmacSignature": b64(digest(bytes.fromhex(key), raw))}


def item(key, **more):
    """A notification item as Adyen signs it."""
    doc = {"pspReference": f"PSP{next(_numbers)}", "originalReference": None,
           "merchantAccountCode": "Shop", "merchantReference": "o:1\\", "eventCode": "CAPTURE",
           "success": "true", "amount": {"value": 4488, "currency": "EUR"}, **more}
    signed = ":".join(str(v) if v is not None else "" for v in (
        doc["pspReference"], doc["originalReference"], doc["merchantAccountCode"],
        doc["merchantReference"], doc["amount"]["value"], doc["amount"]["currency"],
        doc["eventCode"], doc["success"]))
    doc["additionalData"] = {"hmacSignature": b64(digest(bytes.fromhex(key), signed.encode()))}
    return {"NotificationRequestItem": doc}


def adyen(*items):
    return json.dumps({"live": "false", "notificationItems": list(items)}).encode()


def body(**more):
    """A body with an id of its own, under the names that the platforms use."""
    number = f"m-{next(_numbers)}"
    return json.dumps({"id": number, "event_id": number, "count": 5, **more}).encode()


# topic: scheme, kind of key, further lines of the signature, how the sender signs
SCHEMES = {
    "base64": ("hmac-sha256-base64", "TEXT", "      header: X-Sig\n", sign_base64("X-Sig")),
    "hex": ("hmac-sha256-hex", "TEXT", "      header: X-Hub-Signature-256\n      prefix: \"sha256=\"\n",
            lambda raw, key, at: {"X-Hub-Signature-256": "sha256=" + digest(key.encode(), raw).hex()}),
    "shopify": ("shopify", "TEXT", "", sign_base64("X-Shopify-Hmac-Sha256")),
    "woocommerce": ("woocommerce", "TEXT", "", sign_base64("X-WC-Webhook-Signature")),
    "square": ("square", "TEXT", f"      url: \"{URL}\"\n", sign_square),
    "stripe": ("stripe", "TEXT", "", sign_stripe),
    "standard": ("standard-webhooks", "WHSEC", "      tolerance_s: 60\n", sign_standard),
    "adyen-header": ("adyen-header", "HEX", "", sign_adyen_header),
    "adyen": ("adyen", "HEX", "", None),
    "windowed": ("shopify", "TEXT", "      replay_window_s: 300\n", sign_base64("X-Shopify-Hmac-Sha256")),
}
KEYS = {"TEXT": (TEXT_KEY, TEXT_KEY_NEW), "WHSEC": (WHSEC, WHSEC_NEW),
        "HEX": (ADYEN_KEY, "abcdef0123456789")}
BODY_SIGNED = [t for t, row in SCHEMES.items() if row[3]]


def make(binary, folder, env, schemes=SCHEMES):
    hub = Hub(binary, folder, env)
    path = hub.config / "connectors" / "signed"
    path.mkdir(parents=True)
    text = CONNECTOR + "".join(TOPIC.format(topic=t, scheme=s, kind=k, more=m)
                               for t, (s, k, m, _) in schemes.items())
    (path / "connector.yaml").write_text(text)
    (path / "count.lua").write_text(MAPPING)
    return hub


def environment(names=("OLD", "NEW")):
    return {f"{name}_{kind}": keys[("OLD", "NEW").index(name)]
            for kind, keys in KEYS.items() for name in names}


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    yield from running(make(binary, tmp_path_factory.mktemp("hub"), environment()).start())


def received(api):
    """How many messages are stored (what becomes of them goes on meanwhile)."""
    return len(docs.events(api, type="payload.received"))


def send(hub, topic, raw, headers):
    return hub.client(key=None).post("/x/signed/" + topic, raw=raw, headers=headers)


def genuine(topic, raw=None, which=0, at=None):
    _, kind, _, sign = SCHEMES[topic]
    raw = body() if raw is None else raw
    return raw, sign(raw, KEYS[kind][which], int(time.time()) if at is None else at)


@pytest.mark.parametrize("topic", BODY_SIGNED)
@pytest.mark.parametrize("which", [0, 1], ids=["old", "new"])
def test_both_active_secrets_are_taken(hub, topic, which):
    raw, headers = genuine(topic, which=which)
    assert send(hub, topic, raw, headers).ok()["payload_id"]


@pytest.mark.parametrize("topic", BODY_SIGNED)
def test_what_is_altered_is_401_and_leaves_nothing(hub, api, topic):
    raw, headers = genuine(topic)
    before = received(api)
    send(hub, topic, raw.replace(b"5", b"6", 1), headers).problem(401)
    send(hub, topic, raw + b" ", headers).problem(401)
    send(hub, topic, b"", headers).problem(401)
    send(hub, topic, raw, {}).problem(401)
    for name, value in headers.items():
        send(hub, topic, raw, {**headers, name: ""}).problem(401)
        send(hub, topic, raw, {**headers, name: value[:-1]}).problem(401)
        assert send(hub, topic, raw, {**headers, name: "\x7f" + value}).status in (400, 401)
    _, other = genuine(topic, body())
    send(hub, topic, raw, {**headers, **{k: v for k, v in other.items() if "ignature" in k
                                         or "Hmac" in k or k == "X-Sig"}}).problem(401)
    assert received(api) == before
    send(hub, topic, raw, headers).ok()


@pytest.mark.parametrize("topic, tolerance_s", [("stripe", 300), ("standard", 60)])
def test_an_old_or_early_signature_is_401(hub, topic, tolerance_s):
    now = int(time.time())
    for off in (-tolerance_s - 30, tolerance_s + 30, -10 ** 9, 10 ** 12):
        raw, headers = genuine(topic, at=now + off)
        assert "time" in send(hub, topic, raw, headers).problem(401)["detail"]
    raw, headers = genuine(topic, at=now - tolerance_s + 20)
    send(hub, topic, raw, headers).ok()


@pytest.mark.parametrize("topic", ["stripe", "standard", "square"])
def test_the_schemes_own_id_makes_a_message_the_same(hub, api, topic):
    """No dedup is declared: the id that the scheme signs is taken."""
    raw, headers = genuine(topic)
    first = send(hub, topic, raw, headers)
    again = send(hub, topic, raw, headers)
    assert again.ok() == first.ok() and again.header("idempotency-replayed") == "true"
    stored = [e for e in docs.events(api) if docs.short(e) == "payload.received"
                and e["subject"] == first.json["payload_id"]]
    assert len(stored) == 1


@pytest.mark.parametrize("topic, header", [("shopify", "X-Shopify-Webhook-Id"),
                                           ("woocommerce", "X-WC-Webhook-Delivery-ID")])
def test_the_platforms_id_makes_a_message_the_same(hub, topic, header):
    raw, headers = genuine(topic)
    first = send(hub, topic, raw, {**headers, header: "one"}).ok()
    assert send(hub, topic, raw, {**headers, header: "one"}).ok() == first
    # that id is not signed: another one is another message, unless a window is set
    assert send(hub, topic, raw, {**headers, header: "two"}).ok() != first


def test_within_the_window_signed_bytes_are_one_message_under_any_id(hub):
    raw, headers = genuine("windowed")
    answers = [send(hub, "windowed", raw, {**headers, "X-Shopify-Webhook-Id": name}).ok()
               for name in ("one", "two", "three")]
    answers.append(send(hub, "windowed", raw, headers).ok())
    assert all(a == answers[0] for a in answers)
    raw, headers = genuine("windowed")  # without any id
    first = send(hub, "windowed", raw, headers).ok()
    assert first != answers[0] and send(hub, "windowed", raw, headers).ok() == first


def test_adyen_signs_each_item(hub, api):
    one, two = item(ADYEN_KEY), item(ADYEN_KEY, eventCode="REFUND")
    send(hub, "adyen", adyen(one), {}).ok()
    send(hub, "adyen", adyen(one, two), {}).ok()
    before = received(api)
    wrong = [
        adyen(), adyen(one, item("00")), b"[]", b"", b"{", b'{"notificationItems":{}}',
        adyen(one, {"NotificationRequestItem": {}}),
        adyen(one).replace(b'"success": "true"', b'"success": "false"'),
        adyen(one).replace(b'"success": "true"', b'"success": "true", "success": "false"'),
        adyen(one).replace(b"4488", b"1"),
        adyen(one).replace(b'"amount"', b'"amount": {"value": 1, "currency": "EUR"}, "amount"'),
    ]
    for raw in wrong:
        send(hub, "adyen", raw, {}).problem(401)
    assert received(api) == before


def test_a_withdrawn_secret_opens_nothing(binary, tmp_path):
    """Rotation: old and new are active, then the new one alone."""
    for hub in running(make(binary, tmp_path, environment(["NEW"])).start()):
        for topic in BODY_SIGNED:
            raw, headers = genuine(topic, which=0)
            send(hub, topic, raw, headers).problem(401)
            raw, headers = genuine(topic, which=1)
            send(hub, topic, raw, headers).ok()


def test_without_secrets_nothing_gets_in(binary, tmp_path):
    for hub in running(make(binary, tmp_path, {}).start()):
        for topic in BODY_SIGNED:
            raw, headers = genuine(topic)
            send(hub, topic, raw, headers).problem(401)
        send(hub, "adyen", adyen(item(ADYEN_KEY)), {}).problem(401)


@pytest.mark.parametrize("scheme, kind, more, env, found", [
    ("adyen", "HEX", "", {"OLD_HEX": "no hex"}, "hexadecimal"),
    ("standard-webhooks", "WHSEC", "", {"OLD_WHSEC": "whsec_%"}, "base64"),
    ("square", "TEXT", "", {}, "/receive/0/signature/url"),
    ("hmac-sha256-hex", "TEXT", "", {}, "/receive/0/signature/header"),
    ("hmac-md5", "TEXT", "", {}, "/receive/0/signature/scheme"),
])
def test_check_finds_what_is_wrong_with_a_signature(binary, tmp_path, scheme, kind, more, env, found):
    hub = make(binary, tmp_path, {}, {"t": (scheme, kind, more, None)})
    done = binary.run("check", "-C", hub.config, env=env)
    assert done.returncode == 1 and found in done.stdout + done.stderr
    assert "no hex" not in done.stdout + done.stderr, "a secret is not told"


def test_the_platforms_own_vectors(binary, tmp_path):
    """Square signs without a time, so that a recorded message must be taken as it is."""
    path = SUITES / "10-schemas" / "signature_vectors.json"
    vectors = json.loads(path.read_text()) if path.is_file() else []
    for i, vector in enumerate(v for v in vectors if v["platform"] == "square"):
        topic = ("square", "TEXT", f"      url: \"{vector['url']}\"\n", None)
        hub = make(binary, tmp_path / str(i), {"NEW_TEXT": vector["key"]}, {"square": topic})
        for hub in running(hub.start()):
            headers = {vector["header"]: vector["signature"]}
            send(hub, "square", vector["body"].encode(), headers).ok()
            send(hub, "square", vector["body"].encode() + b" ", headers).problem(401)
