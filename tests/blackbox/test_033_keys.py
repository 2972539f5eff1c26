"""API keys over their life: made with an end, listed with their last use, rotated with an overlap,
revoked; client certificates as callers; tokens bound to one."""

import datetime
import json
import re
import shutil
import sqlite3
import time

import pytest

import docs
from certs import Authority, TlsClient, client_context
from conftest import ROOT, running
from hub import Hub
from idp import Idp, b64, configure
from test_021_tls import TlsHub
from wire import until


def works(hub, key):
    return hub.client(key=key).get("/v1/events?limit=1").status == 200


def create(hub, *args):
    return json.loads(hub.binary.ok("key", "create", "-C", hub.config, "--json", *args))


def listed(hub):
    return {row["id"]: row for row in
            json.loads(hub.binary.ok("key", "list", "-C", hub.config, "--json"))["items"]}


def instant(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


# --- expiry -------------------------------------------------------------------------------------

def test_a_key_ends_when_it_was_said_to(hub):
    doc = create(hub, "--name", "short", "--scope", "events:read", "--expires", "3s")
    assert works(hub, doc["key"])
    until(lambda: not works(hub, doc["key"]), 10, "the key has expired")
    said = hub.client(key=doc["key"]).get("/v1/events").problem(401)
    assert doc["expires_at"][:19] in said["detail"] and "penstock key rotate" in said["detail"]
    other = doc["key"][:-1] + ("a" if doc["key"][-1] != "a" else "b")
    assert "expired" not in hub.client(key=other).get("/v1/events").problem(401)["detail"]
    assert listed(hub)[doc["id"]]["state"] == "expired"
    assert re.search(rf"^{doc['id']}.* expired ", hub.binary.ok("key", "list", "-C", hub.config), re.M)


@pytest.mark.parametrize("given, seconds", [
    ("90d", 90 * 86400), ("12h", 12 * 3600), ("30m", 1800), ("45s", 45), ("never", None),
])
def test_an_end_is_a_time_from_now(hub, given, seconds):
    doc = create(hub, "--scope", "*", "--expires", given)
    if seconds is None:
        assert doc["expires_at"] is None
    else:
        assert abs(instant(doc["expires_at"]) - time.time() - seconds) < 5


def test_an_end_is_a_date_or_an_instant(hub):
    assert create(hub, "--scope", "*", "--expires", "2099-01-31")["expires_at"] == "2099-01-31T00:00:00Z"
    doc = create(hub, "--scope", "*", "--expires", "2099-01-31T12:00:00+02:00")
    assert doc["expires_at"] == "2099-01-31T10:00:00Z"
    for wrong in ("90", "x", "-3d", "2020-01-01", "0s", "2099-02-30", "90 d", "", "9999999999d"):
        done = hub.binary.run("key", "create", "-C", hub.config, "--scope", "*", "--expires", wrong)
        assert done.returncode == 2 and "--expires" in done.stderr and not done.stdout, wrong


def test_keys_near_their_end_are_counted(hub):
    def figure(name):
        text = hub.client().get("/metrics").body.decode()
        return int(re.search(rf"^{name} (\d+)$", text, re.M).group(1))
    def ending():
        soon = time.time() + 14 * 86400
        return sum(1 for row in listed(hub).values() if row["state"] == "valid"
                   and row["expires_at"] and instant(row["expires_at"]) < soon)
    before = ending()
    create(hub, "--scope", "*", "--expires", "13d")
    create(hub, "--scope", "*", "--expires", "15d")
    assert ending() == before + 1
    valid = sum(1 for row in listed(hub).values() if row["state"] == "valid")
    until(lambda: figure("penstock_api_keys") == valid, 10, "both are counted")
    assert figure("penstock_api_keys_ending") == before + 1


# --- last use -----------------------------------------------------------------------------------

def test_last_use_is_listed(hub):
    doc, idle = create(hub, "--scope", "*"), create(hub, "--scope", "*")
    assert doc["last_used_at"] is None
    began = time.time()
    for _ in range(20):
        assert works(hub, doc["key"])
    until(lambda: listed(hub)[doc["id"]]["last_used_at"], 10, "its use is noted")
    used = listed(hub)[doc["id"]]["last_used_at"]
    assert began - 1 <= instant(used) <= time.time()
    time.sleep(2.5)
    assert works(hub, doc["key"])
    time.sleep(1.5)
    assert listed(hub)[doc["id"]]["last_used_at"] == used  # at most once a minute
    assert listed(hub)[idle["id"]]["last_used_at"] is None
    assert "last" not in json.dumps(listed(hub)[doc["id"]]["scopes"])


def test_use_at_the_end_is_written_too(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    for _ in running(hub.start()):
        doc = create(hub, "--scope", "*")
        assert works(hub, doc["key"])
    assert listed(hub)[doc["id"]]["last_used_at"]


# --- rotation -----------------------------------------------------------------------------------

def test_rotation_with_an_overlap(hub):
    doc = create(hub, "--name", "till", "--scope", "events:read", "--scope", "orders:write",
                 "--expires", "30d")
    done = hub.binary.run("key", "rotate", "-C", hub.config, doc["id"], "--overlap", "3s", "--json")
    assert done.returncode == 0, done
    new = json.loads(done.stdout)
    assert new["name"] == "till" and new["scopes"] == ["events:read", "orders:write"]
    assert new["id"] != doc["id"] and new["key"] != doc["key"]
    assert abs(instant(new["expires_at"]) - time.time() - 30 * 86400) < 60
    assert works(hub, new["key"]) and works(hub, doc["key"])
    until(lambda: not works(hub, doc["key"]), 10, "the overlap is over")
    assert works(hub, new["key"])
    assert hub.binary.run("key", "rotate", "-C", hub.config, doc["id"]).returncode == 1


def test_rotation_at_once_and_by_default(hub):
    doc = create(hub, "--scope", "events:read")
    assert works(hub, doc["key"])
    out = hub.binary.ok("key", "rotate", "-C", hub.config, doc["key"], "--overlap", "0").strip()
    assert re.fullmatch(r"pk_\w{12}_\w{52}", out)  # the key alone
    until(lambda: not works(hub, doc["key"]), 5, "the old key has ended")
    assert works(hub, out)
    hub.binary.ok("key", "rotate", "-C", hub.config, out[:15])
    ends = instant(listed(hub)[out[:15]]["expires_at"])
    assert abs(ends - time.time() - 86400) < 60
    for args in ((), ("pk_000000000000",), (out[:15], "--overlap", "x"), ("nobody",)):
        assert hub.binary.run("key", "rotate", "-C", hub.config, *args).returncode in (1, 2)


def test_rotation_while_calls_go_on(hub, stocked):
    """A caller that takes the new key within the overlap is never refused."""
    key = create(hub, "--scope", "orders:write")["key"]
    for _ in range(3):
        hub.client(key=key).post("/v1/orders", docs.order((stocked(1), 1))).ok(201)
        new = hub.binary.ok("key", "rotate", "-C", hub.config, key[:15], "--overlap", "1h").strip()
        hub.client(key=key).post("/v1/orders", docs.order((stocked(1), 1))).ok(201)
        key = new


def test_a_key_file_of_an_older_release_is_taken(binary, tmp_path):
    """The format before keys could end, with a key in it: nobody has to make new ones."""
    hub = Hub(binary, tmp_path)
    path = hub.config / "data" / "keys.db"
    with sqlite3.connect(path) as db:
        row = db.execute("SELECT id, name, scopes, hash, created_us FROM api_key").fetchone()
    for leftover in path.parent.glob("keys.db*"):
        leftover.unlink()
    db = sqlite3.connect(path)
    db.executescript("PRAGMA journal_mode=WAL; PRAGMA application_id=1347111729; PRAGMA user_version=1;"
                     "CREATE TABLE api_key(id TEXT PRIMARY KEY, name TEXT NOT NULL, scopes TEXT NOT NULL,"
                     "hash BLOB NOT NULL, created_us INTEGER NOT NULL, revoked_us INTEGER NOT NULL "
                     "DEFAULT 0) WITHOUT ROWID;")
    db.execute("INSERT INTO api_key VALUES(?, ?, ?, ?, ?, 0)", row)
    db.commit()
    db.close()
    for _ in running(hub.start()):
        assert works(hub, hub.key)
        assert listed(hub)[hub.key[:15]]["state"] == "valid"


# --- the page -----------------------------------------------------------------------------------

def blocks(page):
    """The indented blocks of a page, as text."""
    found, block = [], []
    for line in page.splitlines() + ["end"]:
        if line.startswith("    ") or (block and not line):
            block.append(line[4:])
        elif block:
            found.append("\n".join(block).strip())
            block = []
    return found


def test_the_examples_of_the_page_work(binary, tmp_path):
    """Every `penstock` line of docs/security.md runs, and every section `auth` passes check."""
    page = blocks((ROOT / "docs" / "security.md").read_text())
    sections = [block for block in page if block.startswith("auth:")]
    lines = [line for block in page for line in block.splitlines() if line.startswith("penstock ")]
    assert len(sections) == 3 and len(lines) == 5
    for i, section in enumerate(sections):
        hub = Hub(binary, tmp_path / str(i))
        with open(hub.config / "penstock.yaml", "a", encoding="utf-8") as file:
            file.write("\n" + section + "\n")
        binary.ok("check", "-C", hub.config)
    key = None
    for line in lines:
        words = line.split()[1:]
        words = [str(hub.config) if word == "shop" else key[:15] if word == "ID" else word
                 for word in words]
        out = binary.ok(*words)
        key = out.strip() if words[1] == "create" else key


# --- certificates -------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("clients"), "Clients CA")


@pytest.fixture(scope="module")
def shop(binary, tmp_path_factory, authority, clients):
    folder = tmp_path_factory.mktemp("shop")
    shutil.copy(clients.certificate, folder / "clients.pem")
    hub = TlsHub(binary, folder, authority, [authority.issue("hub", "DNS:localhost")],
                 f"  client_certificates: optional\n  client_ca: {folder}/clients.pem\n")
    hub.idp = Idp()
    hub.pinned = clients.issue("pinned", "DNS:whatever")
    configure(hub, {"issuers": [hub.idp.section()], "certificates": [
        {"caller": "till-7", "dns": "till-7.shop.example", "scopes": ["events:read", "orders:write"]},
        {"caller": "wms", "uri": "spiffe://shop/wms", "scopes": ["stock:*"]},
        {"caller": "mail", "email": "ops@shop.example", "scopes": ["events:read"]},
        {"caller": "by-hash", "fingerprint": hub.pinned.fingerprint(), "scopes": ["*"]},
    ]})
    yield from running(hub.start())
    hub.idp.close()


def with_certificate(hub, pair, key=None):
    client = TlsClient(hub.tls_port, client_context(hub.authority, pair), key)
    hub.clients.append(client)
    return client


def test_a_certificate_is_a_caller(shop, clients, sku):
    shop.client().post("/v1/stock/counts", docs.count(name := sku(), 5)).ok(201)
    till = with_certificate(shop, clients.issue("till-7", "DNS:x", "DNS:till-7.shop.example"))
    till.get("/v1/events?limit=1").ok()
    order = till.post("/v1/orders", docs.order((name, 1))).ok(201)
    assert "till-7@certificate" in shop.cli("trace", order["order_id"], "--json").stdout
    till.get("/v1/availability?sku=x").problem(403)
    wms = with_certificate(shop, clients.issue("w", "URI:spiffe://shop/wms"))
    wms.get("/v1/availability?sku=x").ok()
    wms.get("/v1/events").problem(403)
    with_certificate(shop, clients.issue("m", "email:ops@shop.example")).get("/v1/events?limit=1").ok()
    with_certificate(shop, shop.pinned).get("/v1/orders?limit=1").ok()


def test_a_certificate_nobody_named_is_no_caller(shop, clients):
    for names in (("DNS:till-8.shop.example",), ("URI:till-7.shop.example",),
                  ("DNS:TILL-7.shop.example.evil",), ("email:till-7.shop.example@x",)):
        stranger = with_certificate(shop, clients.issue("till-7.shop.example", *names))
        assert "certificate" in stranger.get("/v1/events").problem(401)["detail"]
    nobody = with_certificate(shop, None)
    assert nobody.get("/v1/events").problem(401)["detail"].startswith("send an API key")


def test_a_key_goes_before_the_certificate(shop, clients):
    till = clients.issue("till-7", "DNS:till-7.shop.example")
    both = with_certificate(shop, till, shop.key)
    both.get("/v1/availability?sku=x").ok()  # what the key may, not the certificate
    wrong = with_certificate(shop, till, "pk_wrong")
    wrong.get("/v1/events").problem(401)  # and a wrong one is not passed over


def test_a_token_bound_to_a_certificate(shop, clients):
    """RFC 8705: worth nothing without the certificate it names, so a thief can not use it."""
    pair = clients.issue("bound", "DNS:bound")
    bound = shop.idp.token(cnf={"x5t#S256": b64(bytes.fromhex(pair.fingerprint()))})
    until(lambda: with_certificate(shop, pair, bound).get("/v1/events?limit=1").status == 200, 10,
          "the holder is let in")
    thief = with_certificate(shop, clients.issue("thief", "DNS:bound"), bound)
    assert "bound" in thief.get("/v1/events").problem(401)["detail"]
    with_certificate(shop, None, bound).get("/v1/events").problem(401)
    shop.client(key=bound).get("/v1/events").problem(401)


@pytest.mark.parametrize("row, said", [
    ({"caller": "x", "scopes": ["*"]}, "needs one of dns"),
    ({"caller": "x", "dns": "a", "uri": "b", "scopes": ["*"]}, "needs one of dns"),
    ({"caller": "x", "dns": "a"}, "scopes"),
    ({"caller": "x", "dns": "a", "scopes": []}, "scopes"),
    ({"caller": "x", "fingerprint": "A" * 64, "scopes": ["*"]}, "lower case"),
    ({"caller": "x", "fingerprint": "ab", "scopes": ["*"]}, "fingerprint"),
])
def test_faults_of_the_rows_are_named(binary, tmp_path, row, said):
    hub = Hub(binary, tmp_path)
    configure(hub, {"certificates": [row]})
    done = binary.run("check", "-C", hub.config)
    assert done.returncode == 1 and said in done.stderr + done.stdout, done


def test_two_callers_of_one_name_are_refused(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    configure(hub, {"certificates": [{"caller": c, "dns": "same", "scopes": ["*"]} for c in "ab"]})
    done = binary.run("serve", "-C", hub.config, "--listen", "127.0.0.1:0")
    assert done.returncode == 1 and "twice" in done.stderr
