"""The audit: who did what, when and from where; and that what was changed afterwards is found."""

import ctypes
import hashlib
import json
import shutil
import sqlite3
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import docs
from wire import until


def lines(api, **filters):
    """All lines of the audit, over all pages."""
    return docs.listed(api, "/ops/audit", **filters)


def set_config(hub, text):
    with open(hub.config / "penstock.yaml", "a") as yaml:
        yaml.write(text)


@pytest.fixture
def seller(hub):
    """A key that may sell and see, but not what is personal."""
    return hub.client(key=hub.create_key("seller", "orders:write", "orders:read", "stock:read"))


# --- changes ------------------------------------------------------------------------------------

def test_a_change_says_who_when_from_where_and_what_was_before(hub, api, stocked):
    sku = stocked(10)
    order = api.post("/v1/orders", docs.order(docs.line(sku, 2, line_id="1")),
                     headers={"Penstock-Correlation-Id": "case-1"}).ok(201)
    order_id = order["order_id"]
    api.post(f"/v1/orders/{order_id}/cancel", {"reason": "x"}).ok()
    first, second = lines(api, about=order_id, kind="change")
    assert first["action"] == "order.capture" and second["action"] == "order.cancel"
    assert first["actor"] == hub.key[:15] == second["actor"]
    assert first["from"] == "127.0.0.1"
    assert first["correlation_id"] == "case-1"
    assert [e["type"] for e in first["events"]] == ["order.captured", "stock.reserved"]
    assert "before" not in first["events"][0]
    cancelled = next(e for e in second["events"] if e["type"] == "order.cancelled")
    assert cancelled["before"] == first["seq"], "the change before, by reference"
    found = docs.events(api, after=cancelled["seq"] - 1, limit=1)[0]
    assert docs.short(found) == "order.cancelled", "what it was changed to, by reference"


def test_filters_and_pages(api, stocked):
    skus = [stocked(1) for _ in range(5)]
    counts = lines(api, route="stock.count", limit=2)
    assert {f"{s}@WH-HAM" for s in skus} <= {e["subject"] for x in counts for e in x["events"]}
    assert {x["action"] for x in counts} == {"stock.count"}
    seqs = [x["seq"] for x in counts]
    assert seqs == sorted(set(seqs))
    middle = counts[len(counts) // 2]
    assert [x["seq"] for x in lines(api, route="stock.*", since=middle["time"])] == \
        [s for s in seqs if s >= middle["seq"]]
    assert [x["seq"] for x in lines(api, route="stock.*", until=middle["time"])] == \
        [s for s in seqs if s < middle["seq"]]
    assert lines(api, actor="nobody") == []
    api.get("/ops/audit?since=yesterday").problem(400)
    api.get("/ops/audit?cursor=x").problem(400)


# --- who was denied -----------------------------------------------------------------------------

def test_denied_and_refused_calls(hub, api, seller, stocked):
    sku = stocked(1)
    seller.post("/v1/stock/counts", docs.count(sku, 5)).problem(403)
    made_up = "pk_abcdefghjkmn_" + "0" * 52
    hub.client(key=made_up).get("/v1/orders").problem(401)
    body = docs.order((sku, 50), customer={"name": "Unsichtbar Geheim", "email": "u@example.org"})
    seller.post("/v1/orders", body).problem(409)
    who = seller.key[:15]
    denied = until(lambda: lines(api, kind="denied", actor=who), 5, "the denied call")[0]
    assert denied["action"] == "POST /v1/stock/counts" and denied["reason"] == "forbidden"
    assert denied["needs"] == "stock:write" and denied["from"] == "127.0.0.1"
    unknown = until(lambda: [x for x in lines(api, kind="denied") if "actor" not in x], 5, "the 401")
    assert unknown[0]["claims"] == made_up[:15] and "about" not in unknown[0]
    assert made_up not in json.dumps(unknown), "a secret in the audit"
    refused = until(lambda: lines(api, kind="refused", actor=who), 5, "the refused order")[0]
    assert refused["action"] == "POST /v1/orders" and refused["reason"] == "out-of-stock"
    assert "Geheim" not in json.dumps(lines(api)), "what was refused is not kept"


def test_a_flood_of_denied_calls_is_a_few_lines(idle_hub):
    hub = idle_hub
    hub.env |= {"PENSTOCK_AUDIT_WINDOW_S": "2", "PENSTOCK_LOOP_THREADS": "2"}
    hub.start()
    api = hub.client()
    before = docs.last_seq(api)

    def knock(_):
        client = hub.client(key=None)
        for _ in range(250):
            client.get("/v1/orders").problem(401)
        client.close()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(knock, range(8)))
    found = until(lambda: (lambda all_: all_ if sum(x.get("count", 1) for x in all_) == 2000 else None)(
        lines(api, kind="denied")), 15, "every call to be counted")
    assert len(found) <= 12, f"{len(found)} lines for 2000 calls alike"
    counted = [x for x in found if "count" in x]
    assert counted and all(x["first_at"] <= x["last_at"] for x in counted)
    assert docs.last_seq(api) - before < 30


def test_what_is_counted_is_written_at_the_end(idle_hub):
    hub = idle_hub.start()  # windows of a minute: nothing of it would be written meanwhile
    client = hub.client(key=None)
    for _ in range(30):
        client.get("/v1/orders").problem(401)
    hub.restart()
    assert sum(x.get("count", 1) for x in lines(hub.client(), kind="denied")) == 30


def test_bulk_lines_that_are_refused_count(api, stocked):
    sku = stocked(0)
    correlation = {"Penstock-Correlation-Id": "bulk-refused"}
    answer = api.bulk("/v1/orders", [docs.order((sku, 1)) for _ in range(20)], headers=correlation)
    assert {x["status"] for x in answer.lines} == {409}
    found = until(lambda: lines(api, kind="refused", route="POST /v1/orders",
                                correlation="bulk-refused"), 5, "the line")
    assert found[0]["reason"] == "out-of-stock"


# --- who has read what is personal ----------------------------------------------------------------

def test_reading_what_is_personal_is_told_before_it_is_answered(hub, api, seller, stocked):
    sku = stocked(10)
    order_id = api.post("/v1/orders", docs.full_order(sku)).ok(201)["order_id"]
    answer = api.get(f"/v1/orders/{order_id}")
    assert answer.ok()["customer"]["email"] == "ida@example.org"
    read = lines(api, kind="read", about=order_id)
    assert len(read) == 1 and read[0]["action"] == "GET /v1/orders/{order_id}"
    assert read[0]["actor"] == hub.key[:15]
    assert "email" not in seller.get(f"/v1/orders/{order_id}").ok()["customer"]
    assert len(lines(api, kind="read", about=order_id)) == 1, "who sees nothing personal"
    number = answer.json["channel_order_id"]
    api.get(f"/v1/orders?channel=web-de&channel_order_id={number}").ok()
    assert lines(api, kind="read", route="GET /v1/orders")
    docs.events(api, key=order_id)
    feeds = lines(api, kind="read", route="GET /v1/events")
    assert feeds and feeds[-1]["about"].startswith("events 1 to ")


def test_a_stream_is_told_once_and_then_counted(idle_hub):
    hub = idle_hub
    hub.env["PENSTOCK_AUDIT_WINDOW_S"] = "1"
    hub.start()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("ST", 100)).ok(201)
    from test_065_events import Stream
    stream = Stream(hub, "/v1/events?after=0&type=order.captured")
    for _ in range(5):
        order_id = api.post("/v1/orders", docs.full_order("ST")).ok(201)["order_id"]
        event = json.loads(stream.next()["data"])
        assert event["subject"] == order_id and "ida@example.org" in json.dumps(event)
    found = until(lambda: (lambda all_: all_ if sum(x.get("count", 1) for x in all_) == 5 else None)(
        lines(api, kind="read", route="GET /v1/events")), 10, "five parts")
    assert found[0]["about"].endswith("and what follows") and len(found) <= 4
    stream.c.close()


@pytest.mark.parametrize("policy", ["async", "off"])
def test_the_policy_of_reads(idle_hub, policy):
    hub = idle_hub
    set_config(hub, f"audit:\n  reads: {policy}\n  addresses: network\n")
    hub.start()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("P", 100)).ok(201)
    order_id = api.post("/v1/orders", docs.full_order("P")).ok(201)["order_id"]
    for _ in range(3):
        api.get(f"/v1/orders/{order_id}").ok()
    assert lines(api, kind="change")[0]["from"] == "127.0.0.0"
    if policy == "async":
        until(lambda: lines(api, kind="read", about=order_id), 5, "the line")
    else:
        time.sleep(0.3)
        assert not lines(api, kind="read", about=order_id)


def test_the_audit_is_for_who_may_read_it(hub, api, seller):
    seller.get("/ops/audit").problem(403)
    auditor = hub.client(key=hub.create_key("auditor", "audit:read"))
    assert lines(auditor, kind="admin")
    reader = hub.client(key=hub.create_key("reader", "events:read"))
    assert not [e for e in docs.events(reader) if ".audit." in e["type"]]
    reader.get("/v1/events?type=audit.noted").problem(403)
    assert docs.events(api, type="audit.noted")
    assert lines(api, kind="read", route="GET /ops/audit", actor=auditor.key[:15])


# --- the hub itself -----------------------------------------------------------------------------

def test_what_is_done_beside_the_hub_is_told_when_it_runs(idle_hub):
    hub = idle_hub
    early = hub.create_key("early", "orders:read")
    hub.start()
    api = hub.client()
    late = hub.create_key("late", "orders:read", "orders:write")
    hub.binary.ok("key", "revoke", "-C", hub.config, late[:15])
    hub.binary.ok("journal", "export", "-C", hub.config)

    def found():
        told = {(x["action"], x.get("about")): x for x in lines(api, kind="admin")}
        wanted = {("key.created", early[:15]), ("key.created", late[:15]),
                  ("key.revoked", late[:15]), ("journal.export", None), ("hub.started", None)}
        return told if wanted <= set(told) else None
    told = until(found, 10, "the audit to have it")
    assert told["key.created", late[:15]]["detail"] == "late: orders:read orders:write"
    assert told["key.created", late[:15]]["actor"].startswith("os:")
    assert "sha256" in told["hub.started", None]["detail"]
    everything = json.dumps(lines(api))
    assert late[16:] not in everything and early[16:] not in everything
    hub.restart()
    again = lines(hub.client(), kind="admin", route="key.created", about=early[:15])
    assert len(again) == 1, "told once"
    assert lines(hub.client(), kind="admin", route="hub.stopped")


def test_a_changed_configuration_shows(idle_hub):
    hub = idle_hub.start()
    hub.restart()
    set_config(hub, "audit:\n  reads: async\n")
    hub.restart()
    first, second, third = [x["detail"].split("sha256 ")[1]
                            for x in lines(hub.client(), route="hub.started")]
    assert first == second != third


def test_what_changes_the_hub_by_a_call_is_told(idle_hub):
    hub = idle_hub.start()
    api = hub.client()
    api.post("/ops/read-model/rebuild").ok(202)
    found = until(lambda: lines(api, kind="admin", route="POST /ops/read-model/rebuild"), 5, "it")
    assert found[0]["actor"] == hub.key[:15]


# --- where from ---------------------------------------------------------------------------------

def test_only_a_trusted_proxy_is_believed(idle_hub):
    hub = idle_hub
    hub.start()
    forged = {"X-Forwarded-For": "203.0.113.9"}
    hub.client().post("/v1/stock/counts", docs.count("X1", 1), headers=forged).ok(201)
    hub.stop()
    set_config(hub, "trusted_proxies: [127.0.0.0/8, '2001:db8::/32']\n")
    hub.start()
    api = hub.client()
    for sku, headers in (
            ("X2", forged), ("X3", {"X-Forwarded-For": "10.0.0.1, 198.51.100.4, 127.0.0.9"}),
            ("X4", {"Forwarded": 'for="[2001:db8::7]:99";proto=https, for=127.0.0.2'}),
            ("X5", {"X-Forwarded-For": "unknown"})):
        api.post("/v1/stock/counts", docs.count(sku, 1), headers=headers).ok(201)
    came = {x["events"][0]["subject"].split("@")[0]: x["from"] for x in lines(api, route="stock.count")}
    assert came == {"X1": "127.0.0.1", "X2": "203.0.113.9", "X3": "198.51.100.4",
                    "X4": "2001:db8::7", "X5": "127.0.0.1"}
    hub.stop()
    set_config(hub, "")
    bad = (hub.config / "penstock.yaml").read_text().replace("127.0.0.0/8", "127.0.0.0/40")
    (hub.config / "penstock.yaml").write_text(bad)
    done = hub.binary.run("check", "-C", hub.config)
    assert done.returncode == 1 and "127.0.0.0/40" in done.stderr + done.stdout


# --- the command --------------------------------------------------------------------------------

def test_list_and_export(idle_hub, tmp_path):
    hub = idle_hub.start()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("CLI", 5)).ok(201)
    hub.client(key=hub.create_key("none", "events:read")).get("/v1/orders").problem(403)
    until(lambda: lines(api, kind="denied"), 5, "the denied call")
    text = hub.cli("audit", "list", "--kind", "denied")
    assert text.returncode == 0 and "GET /v1/orders" in text.stdout and "orders:read" in text.stdout
    listed = [json.loads(x) for x in hub.cli("audit", "list", "--json").stdout.splitlines()]
    assert {"change", "denied", "admin"} <= {x["kind"] for x in listed}
    exported = hub.cli("audit", "export", "--until", listed[-1]["time"]).stdout.splitlines()
    anchor = json.loads(exported[-1])
    assert anchor["penstock_anchor"] == 1
    assert [json.loads(x)["seq"] for x in exported[:-1]] == \
        [x["seq"] for x in listed if x["time"] < listed[-1]["time"]]
    (tmp_path / "export").write_text("\n".join(exported) + "\n")
    done = hub.binary.run("audit", "verify", "-C", hub.config, "--anchor", tmp_path / "export")
    assert done.returncode == 0 and "1 of 1 anchors hold" in done.stdout, done
    hub.stop()
    offline = [json.loads(x) for x in
               hub.binary.ok("audit", "list", "-C", hub.config, "--json").splitlines()]
    assert [x["seq"] for x in offline[:len(listed)]] == [x["seq"] for x in listed]
    hub.start()
    until(lambda: lines(hub.client(), route="audit.list"), 5, "the look at the files")


def test_verify_needs_a_cell_and_an_anchor_must_be_one(idle_hub, tmp_path):
    hub = idle_hub.start()
    hub.stop()
    assert hub.binary.run("audit", "verify").returncode == 2
    assert hub.binary.run("audit", "nonsense", "-C", hub.config).returncode == 2
    (tmp_path / "a").write_text("nothing\n")
    done = hub.binary.run("audit", "verify", "-C", hub.config, "--anchor", tmp_path / "a")
    assert done.returncode == 1 and "no anchor" in done.stderr
    without = hub.binary.run("audit", "verify", "-C", hub.config)
    assert without.returncode == 0 and "no anchor was given" in without.stdout


# --- what was changed afterwards ------------------------------------------------------------------

@pytest.fixture(scope="module")
def sealed(binary, tmp_path_factory):
    """A stopped hub of several sealed segments, an anchor of it, and a way to tamper with a copy."""
    from hub import Hub
    folder = tmp_path_factory.mktemp("sealed")
    hub = Hub(binary, folder, env={"PENSTOCK_JOURNAL_SEGMENT_BYTES": "65536",
                                   "PENSTOCK_PERSONS_KEY": "ab" * 32})
    hub.start()
    api = hub.client()
    api.post("/v1/stock/counts", docs.count("SEAL", 100000)).ok(201)
    for _ in range(8):
        api.bulk("/v1/orders", [docs.order(("SEAL", 1)) for _ in range(60)])
        time.sleep(0.4)
    hub.stop()
    for _ in range(20):  # until some of it lies in a segment that is not sealed
        anchor = json.loads(binary.ok("audit", "anchor", "-C", hub.config))
        if anchor["seq"] - anchor["tail_from"] >= 8:
            break
        hub.start()
        for n in range(5):
            hub.client().post("/v1/stock/counts", docs.count("SEAL", 100000 + n)).ok(201)
        hub.stop()
    assert anchor["segment"] >= 3 and anchor["seq"] - anchor["tail_from"] >= 8
    return hub, json.dumps(anchor) + "\n"


@pytest.fixture
def copy(sealed, tmp_path, binary):
    """(journal folder, verify) of a copy; verify answers the finished command."""
    hub, anchor = sealed
    data = tmp_path / "data"
    shutil.copytree(hub.config / "data", data)
    (tmp_path / "anchor").write_text(anchor)

    def verify(with_anchor=True):
        more = ["--anchor", tmp_path / "anchor"] if with_anchor else []
        return binary.run("audit", "verify", "-C", hub.config, "--data", data, *more)
    return data / "journal", verify


def record_sum(row):
    """The checksum beside a record: it finds bad disks, and who changes a record can make it, too."""
    seq, time_us, kind, subject, meta, data = row
    lib = ctypes.CDLL("libxxhash.so.0")
    lib.XXH3_64bits_withSeed.restype = ctypes.c_uint64
    lib.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]

    def hashed(text, seed):
        raw = text.encode()
        return lib.XXH3_64bits_withSeed(raw, len(raw), seed % 2 ** 64)
    total = hashed(kind, seq)
    for text, seed in ((subject, lambda t: t ^ time_us), (meta, int), (data, int)):
        total = hashed(text, seed(total))
    return total - 2 ** 64 if total >= 2 ** 63 else total


def test_untouched(copy):
    _, verify = copy
    done = verify()
    assert done.returncode == 0 and "nothing up to record" in done.stdout, done


@pytest.mark.parametrize("what", ["byte", "remove", "swap"])
@pytest.mark.parametrize("where", ["sealed", "live"])
def test_a_changed_removed_or_swapped_record_is_found(copy, sealed, where, what):
    folder, verify = copy
    anchor = json.loads(sealed[1])
    files = sorted(folder.glob("????????.db"))
    if where == "live":
        files.reverse()  # the first segment may hold one record alone: its tables fill it
    path = next(f for f in files if holds(f, anchor["seq"]))
    columns = "seq, time, type, subject, meta, data"
    with sqlite3.connect(path) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type='trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        # of a call, not of the hub's own: the address or the key in it is what is changed
        calls = [x for (x,) in db.execute(
            "SELECT seq FROM event WHERE seq > (SELECT min(seq) FROM event) AND seq <= ?"
            " AND (meta LIKE '%127.0.0.1%' OR meta LIKE '%pk\\_%' ESCAPE '\\') ORDER BY seq", [anchor["seq"]])]
        seq = calls[len(calls) // 2]
        one, two = (list(db.execute(f"SELECT {columns} FROM event WHERE seq = ?", [x]).fetchone())
                    for x in (seq - 1, seq))
        assert record_sum(one) == db.execute("SELECT sum FROM event WHERE seq = ?", [seq - 1]).fetchone()[0]
        if what == "byte":
            two[4] = two[4].replace("127.0.0.1", "127.0.0.2").replace("pk_", "pk0")
        elif what == "swap":
            one, two = [one[0], *two[1:]], [two[0], *one[1:]]
        for row in (one, two):
            db.execute("DELETE FROM event WHERE seq = ?", [row[0]])
            if what != "remove" or row is one:
                db.execute(f"INSERT INTO event({columns}, sum) VALUES(?,?,?,?,?,?,?)",
                           [*row, record_sum(row)])
    db.close()
    done = verify()
    assert done.returncode == 1, done
    if where == "live" and what == "byte":
        alone = verify(with_anchor=False)
        assert alone.returncode == 0, "in the live segment, the anchor alone can tell"


def holds(path, seq):
    with sqlite3.connect(path) as db:
        try:
            return db.execute("SELECT count(*) FROM event WHERE seq <= ?", [seq]).fetchone()[0] > 3
        except sqlite3.DatabaseError:
            return False


def export_digest(rows):
    """The SHA-256 in the last line of an export (store/journal_verify.h)."""
    total = hashlib.sha256()
    for text in rows:
        row = json.loads(text)
        at = text.index(',"meta":') + len(',"meta":')
        _, end = json.JSONDecoder().raw_decode(text[at:])
        meta, data = text[at:at + end], text[at + end + len(',"data":'):-1]
        total.update(struct.pack("<QQ", row["seq"], row["time_us"]))
        for part in (row["type"], row["subject"], meta, data):
            total.update(struct.pack("<Q", len(part.encode())) + part.encode())
    return total.hexdigest()


def test_a_journal_made_anew_consistently_is_found_by_the_anchor_alone(sealed, binary, tmp_path):
    """Everything replaced by who can write every file: exported, one value changed, the export's
    digest made right, imported into a new cell. The chain is whole; only the anchor knows."""
    hub, anchor = sealed
    rows = binary.ok("journal", "export", "-C", hub.config).splitlines()
    forged = [x.replace('"actor":"pk_', '"actor":"pk0', 1) if i == 20 else x
              for i, x in enumerate(rows[:-1])]
    assert forged != rows[:-1]
    total = json.loads(rows[-1]) | {"sha256": export_digest(forged)}
    assert export_digest(rows[:-1]) == json.loads(rows[-1])["sha256"]
    path = tmp_path / "forged.ndjson"
    path.write_text("\n".join([*forged, json.dumps(total)]) + "\n")
    cell = tmp_path / "cell"
    shutil.copytree(hub.config, cell, ignore=shutil.ignore_patterns("data"))
    binary.ok("journal", "import", "-C", cell, path,
              env={"PENSTOCK_JOURNAL_SEGMENT_BYTES": "65536"})
    whole = binary.run("audit", "verify", "-C", cell)
    assert whole.returncode == 0, "a chain made anew is whole in itself"
    (tmp_path / "anchor").write_text(anchor)
    done = binary.run("audit", "verify", "-C", cell, "--anchor", tmp_path / "anchor")
    assert done.returncode == 1, done
    assert "not" in done.stdout
