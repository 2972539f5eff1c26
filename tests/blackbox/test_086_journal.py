"""The journal as a chain of segments: left, sealed, archived, brought back, verified, copied, while
the hub runs and over kills."""

import hashlib
import json
import shutil
import sqlite3

import pytest

import docs
from hub import until

SMALL = {"PENSTOCK_JOURNAL_SEGMENT_BYTES": str(1 << 20)}


def listing(hub):
    out = hub.binary.ok("journal", "list", "--json", "-C", hub.config)
    return [json.loads(line) for line in out.splitlines()]


def verify(hub, *args):
    done = hub.binary.run("journal", "verify", "--json", *args, "-C", hub.config)
    return done.returncode, json.loads(done.stdout)


def folder(hub):
    return hub.config / "data" / "journal"


def fill(hub, segments, sku="SEG"):
    """Orders until so many segments are sealed."""
    api = hub.client()
    api.post("/v1/stock/counts", docs.count(sku, 100000)).ok(201)

    def enough():
        for _ in range(60):
            api.post("/v1/orders", docs.order((sku, 1))).ok(201)
        return sum(s["state"] == "sealed" for s in listing(hub)) >= segments
    until(enough, 60 * hub.binary.patience, f"{segments} sealed segments")
    return docs.events(api)


@pytest.fixture
def small_hub(idle_hub):
    idle_hub.env.update(SMALL)
    return idle_hub.start()


def test_segments_are_left_and_sealed_while_orders_come(small_hub):
    hub = small_hub
    events = fill(hub, 3)
    rows = listing(hub)
    assert [r["segment"] for r in rows] == list(range(1, len(rows) + 1))
    assert rows[-1]["state"] == "live" and "last_seq" not in rows[-1]
    assert rows[0]["first_seq"] == 1 and "before_sha256" not in rows[0]
    sealed = [r for r in rows if r["state"] == "sealed"]
    for before, row in zip(rows, rows[1:]):
        assert row["first_seq"] == before["last_seq"] + 1
        if row["state"] == "sealed":
            assert row["before_sha256"] == before["sha256"]
    for row in sealed:
        file = folder(hub) / f"{row['segment']:08}.db"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == row["sha256"]
        assert file.stat().st_size == row["bytes"]
        assert not file.with_name(file.name + "-wal").exists()
    code, report = verify(hub)  # beside the running hub
    assert code == 0 and report["ok"] and report["records"] >= len(events)
    assert report["head_sha256"] and report["segments"] >= len(rows)
    hub.kill()
    hub.start()
    assert docs.events(hub.client())[:len(events)] == events
    hub.stop()
    hub.verify()


def test_archived_segments_are_read_as_before(small_hub, tmp_path):
    hub, store = small_hub, tmp_path / "store"
    store.mkdir()
    events = fill(hub, 3)
    cut = listing(hub)[2]["first_seq"]
    out = hub.binary.ok("journal", "archive", "-C", hub.config, "--before", cut, "--to", store)
    assert "2 segments archived" in out
    rows = listing(hub)
    assert [r["state"] for r in rows[:3]] == ["archived", "archived", "sealed"]
    assert all((store / f"{n:08}.db.zst").stat().st_size == rows[n - 1]["archive_bytes"]
               and not (folder(hub) / f"{n:08}.db").exists() for n in (1, 2))
    assert docs.events(hub.client())[:len(events)] == events  # the running hub finds them
    hub.kill()
    hub.start()  # and so does one that replays all of it
    assert docs.events(hub.client())[:len(events)] == events
    assert verify(hub)[0] == 0 and verify(hub, "--full")[1]["archived"] == 2

    away = tmp_path / "away"
    store.rename(away)
    for cached in (folder(hub) / "cache").iterdir():
        cached.unlink()
    code, report = verify(hub)
    assert code == 0 and report["offline"] == 2
    # A hub that starts from the written state works without them; what is asked of them waits.
    hub.restart()
    api = hub.client()
    gone = api.get("/v1/events?after=0&limit=1")
    assert gone.status == 503 and b"offline" in gone.body, gone
    assert api.post("/v1/orders", docs.order(("SEG", 1))).status in (201, 409)
    hub.stop()
    for path in (hub.config / "data").glob("state.db*"):
        path.unlink()
    hub.launch()
    hub.process.popen.wait(20)
    assert hub.process.popen.returncode == 1 and "archived and offline" in hub.process.log()
    hub.process = None
    gone = hub.binary.run("journal", "restore", "-C", hub.config)
    assert gone.returncode == 1 and "--from" in gone.stderr
    assert "2 segments restored" in hub.binary.ok(
        "journal", "restore", "-C", hub.config, "--from", away)
    assert [r["state"] for r in listing(hub)[:3]] == ["sealed"] * 3
    hub.start()
    assert docs.events(hub.client())[:len(events)] == events
    hub.stop()
    hub.verify()


def test_a_damaged_archive_is_never_made_or_taken(small_hub, tmp_path):
    hub = small_hub
    fill(hub, 2)
    hub.stop()
    first = folder(hub) / "00000001.db"
    whole = first.read_bytes()
    first.write_bytes(whole[:70000] + b"?" + whole[70001:])
    done = hub.binary.run("journal", "archive", "-C", hub.config)
    assert done.returncode == 1 and "segment 1" in done.stderr and first.exists()
    code, report = verify(hub)
    assert code == 1 and report["faults"][0]["seq"] == 1
    assert "not what was sealed" in report["faults"][0]["detail"]
    first.write_bytes(whole)
    assert verify(hub)[0] == 0
    hub.binary.ok("journal", "archive", "-C", hub.config, "--before", 2 ** 40)
    packed = folder(hub) / "00000001.db.zst"
    data = packed.read_bytes()
    for spoiled in (data[:len(data) // 2], data[:500] + b"????" + data[504:], b"", b"no archive"):
        packed.write_bytes(spoiled)
        assert verify(hub)[0] == 1
        assert hub.binary.run("journal", "restore", "-C", hub.config).returncode == 1
        assert not first.exists()
    packed.write_bytes(data)
    hub.binary.ok("journal", "restore", "-C", hub.config)
    assert first.read_bytes() == whole and not packed.exists()
    hub.start()


def test_a_changed_record_is_named(small_hub):
    hub = small_hub
    fill(hub, 1)
    seq = int(docs.events(hub.client(), type="order.captured")[5]["penstockseq"])
    hub.stop()
    with sqlite3.connect(folder(hub) / "00000001.db") as db:
        db.execute("UPDATE event SET data = replace(data, '1999', '1998') WHERE seq = ?", [seq])
    db.close()
    done = hub.binary.run("journal", "verify", "-C", hub.config)
    assert done.returncode == 1 and f"record {seq}:" in done.stdout and "segment 1" in done.stdout
    with sqlite3.connect(folder(hub) / "00000001.db") as db, \
            pytest.raises(sqlite3.IntegrityError, match="closed"):
        db.execute("INSERT INTO event VALUES(1000000, 1, 't', 's', '{}', '{}', 1)")
    db.close()


def test_a_missing_segment_is_said(small_hub):
    hub = small_hub
    fill(hub, 2)
    hub.stop()
    second = folder(hub) / "00000002.db"
    second.rename(folder(hub) / "kept")
    code, report = verify(hub)
    assert code == 1 and any("00000002.db" in f["detail"] for f in report["faults"])
    (folder(hub) / "kept").rename(second)
    assert verify(hub)[0] == 0
    hub.start()


def test_retention_asks_the_law_and_the_hub(small_hub):
    hub = small_hub
    fill(hub, 2)

    def retain(*args):
        return hub.binary.ok("journal", "retain", "-C", hub.config, *args, env=hub.env)
    assert "for ever" in retain("--remove")
    hub.env["PENSTOCK_JOURNAL_KEEP_DAYS"] = "3653"
    assert "are not over" in retain("--remove")
    chain = folder(hub) / "chain.db"
    with sqlite3.connect(chain) as db:  # as if it were of 2010
        db.execute("UPDATE segment SET last_time_us = 1280000000000000 WHERE number = 1")
    db.close()
    hub.stop()  # it ends with its state written down
    hub.start()
    # A subscription that waits for its system's address needs them all.
    until(lambda: "still needs" in hub.binary.run(
        "journal", "retain", "-C", hub.config, env=hub.env).stdout, 20, "the hub's word")
    hub.stop()
    for name in ("generic-erp", "tryton", "vendure"):  # what was never turned on asks for nothing
        shutil.rmtree(hub.config / "connectors" / name)
    hub.start()
    until(lambda: "could be removed" in retain(), 20, "the hub to say what it needs no more")
    assert "1 segments could be removed" in retain() and verify(hub)[1]["removed"] == 0
    assert "1 segments removed" in retain("--remove")
    code, report = verify(hub)
    assert code == 0 and report["removed"] == 1
    assert report["first_seq"] == listing(hub)[1]["first_seq"]
    assert not (folder(hub) / "00000001.db").exists() and listing(hub)[0]["sha256"]
    hub.restart()  # from the written state: what was removed is not missed
    assert docs.stock(hub.client(), "SEG")


def test_export_and_import_over_segments(small_hub, binary, tmp_path):
    hub = small_hub
    events = fill(hub, 6)  # the next segment is made beside the import, which must last as long
    hub.stop()
    file, copy = tmp_path / "journal.ndjson", tmp_path / "copy"
    file.write_text(binary.ok("journal", "export", "-C", hub.config))
    binary.ok("journal", "import", "-C", hub.config, "--data", copy, file,
              env={"PENSTOCK_JOURNAL_SEGMENT_BYTES": "65536"})
    out = binary.ok("journal", "verify", "--full", "--json", "-C", hub.config, "--data", copy)
    report, original = json.loads(out), verify(hub, "--full")[1]
    assert report["sha256"] == original["sha256"] and report["records"] == original["records"]
    assert report["records"] >= len(events) and report["segments"] >= 2
