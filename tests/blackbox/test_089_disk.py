"""Disk trouble on the real binary: a full disk, a folder that may not be written, damaged files.

What can be done for real needs to mount: where that is not permitted the test is skipped and says
so. What a disk does by whim (short writes, errors of single calls, failed syncs) is tested on a
disk in memory: unit tests disk and shelf_disk.
"""

import contextlib
import re
import subprocess
import time

import pytest

import docs
from ledger import Ledger
from test_067_read_model import fill, metric
from wire import until


@contextlib.contextmanager
def mounted(*args, at):
    """mount ARGS AT, or the test is skipped."""
    at.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *args, str(at)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", str(at)], check=True)


def fill_disk(folder, leave=0):
    """A file that takes all room but `leave` bytes."""
    path = folder / "filler"
    with open(path, "wb", buffering=0) as file:
        block = b"\0" * 65536
        try:
            while True:
                file.write(block)
        except OSError:
            pass
        size = file.tell()
        file.truncate(max(0, size - leave))
    return path


def capture_until_refused(api, sku, limit=20000):
    """Orders until one is refused: those acknowledged, and the refusal."""
    made = []
    for _ in range(limit):
        answer = api.post("/v1/orders", docs.order((sku, 1)), headers=docs.key())
        if answer.status != 201:
            return made, answer
        made.append(answer.json["order_id"])
    raise AssertionError(f"{limit} orders fit")


def all_there(api, made):
    for order in made:
        api.get(f"/v1/orders/{order}").ok()


def log_lines(hub, word):
    return [x for x in hub.process.err_path.read_text("utf-8").splitlines() if word in x]


def start_on(hub, disk):
    """Starts the hub with its data on that disk, its key in there, too."""
    hub.args = ["--data", disk / "data"]
    hub.key = hub.binary.ok("key", "create", "-C", hub.config, "--data", disk / "data",
                            "--name", "disk", "--scope", "*").strip()
    hub.start()


def test_a_full_disk(idle_hub, tmp_path):
    hub = idle_hub
    with mounted("-t", "tmpfs", "-o", "size=64m", "tmpfs", at=tmp_path / "disk") as disk:
        start_on(hub, disk)
        api = hub.client()
        api.post("/v1/stock/counts", docs.count("FULL", 1000000)).ok(201)
        for round_ in range(3):
            filler = fill_disk(disk, leave=100_000)
            made, refused = capture_until_refused(api, "FULL")
            assert refused.status == 503 and int(refused.header("retry-after")) > 0, refused
            until(lambda: api.get("/readyz").status == 503, 10, "not ready")
            ready = api.get("/readyz")
            assert "full" in ready.json["detail"], ready
            again = api.post("/v1/orders", docs.order(("FULL", 1)))
            assert again.status == 503 and "full" in again.json["detail"], again
            assert docs.stock(api, "FULL")[2] is not None, "availability goes on"
            assert api.get("/livez").status == 200
            time.sleep(1.5)
            filler.unlink()
            until(lambda: api.get("/readyz").status == 200, 15, "ready again, by itself")
            more = api.post("/v1/orders", docs.order(("FULL", 1))).ok(201)["order_id"]
            all_there(api, made + [more])
            assert len(log_lines(hub, "level=error")) < 12 * (round_ + 1), "a flood of lines"
        until(lambda: metric(api, "penstock_read_model_lag_events") == 0, 20, "the read model")
        count = len(docs.listed(api, "/v1/orders", limit=1000))
        assert int(docs.stock(api, "FULL")[2]) == count
        hub.stop()
        hub.binary.ok("journal", "verify", "-C", hub.config, "--data", disk / "data")


def test_a_folder_that_becomes_read_only(idle_hub, tmp_path):
    hub = idle_hub
    with mounted("-t", "tmpfs", "-o", "size=64m", "tmpfs", at=tmp_path / "disk") as disk:
        start_on(hub, disk)
        made = fill(hub.client(), "RO", 50)
        hub.stop()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        refused = hub.binary.run("serve", "-C", hub.config, "--data", disk / "data", "--listen",
                                 "127.0.0.1:0")
        assert refused.returncode == 1, refused
        assert str(disk) in refused.stderr and re.search("(?i)read-only", refused.stderr), refused
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        hub.start()
        all_there(hub.client(), made)
        hub.stop()


def pages_damaged(path, first, count, page_bytes):
    """Writes rubbish into pages of a file at rest."""
    with open(path, "r+b") as file:
        for page in range(first, first + count):
            file.seek(page * page_bytes + 8)
            file.write(b"rubbish" * 8)


def test_a_damaged_read_model_is_made_again_by_itself(idle_hub):
    hub = idle_hub.start()
    made = fill(hub.client(), "RD", 2000)
    hub.stop()
    path = hub.config / "data" / "read.db"
    for first, count in ((0, 1), (30, 60)):
        pages_damaged(path, first, count, 4096)
        hub.start()
        api = hub.client()
        refused = []
        def listed():
            answer = api.get("/v1/orders?limit=1000")
            if answer.status != 200:
                refused.append(answer)
                return False
            return {o["order_id"] for o in docs.listed(api, "/v1/orders", limit=1000)} == made
        until(listed, 30, "the list to be whole again")
        for answer in refused:
            assert answer.status == 503 and answer.json["correlation_id"], answer
            assert "made anew" in answer.json["detail"], answer
        order = next(iter(made))
        assert api.get(f"/ops/trace/{order}").status == 200
        assert log_lines(hub, "read model"), "it says so"
        hub.stop()


def test_a_damaged_page_of_the_read_model_does_not_stop_the_rest(idle_hub):
    hub = idle_hub.start()
    made = fill(hub.client(), "RP", 2000)
    hub.stop()
    pages_damaged(hub.config / "data" / "read.db", 30, 60, 4096)
    hub.start()
    api = hub.client()
    first = api.get("/v1/orders?limit=1000")
    assert first.status in (200, 503), first
    api.post("/v1/orders", docs.order(("RP", 1))).ok(201)
    all_there(api, list(made)[:50])
    until(lambda: api.get("/v1/orders?limit=1000").status == 200, 30, "the list")
    hub.stop()


def journal_file(hub):
    return hub.config / "data" / "journal" / "00000001.db"


def test_a_damaged_journal_is_named_and_not_served(idle_hub):
    hub = idle_hub.start()
    fill(hub.client(), "JD", 2000)
    hub.stop()
    whole = journal_file(hub).read_bytes()
    pages_damaged(journal_file(hub), 60, 3, 16384)
    for path in (hub.config / "data").glob("state*"):
        path.unlink()  # the start has to read all of the journal then
    refused = hub.binary.run("serve", "-C", hub.config, "--listen", "127.0.0.1:0", env=hub.env)
    assert refused.returncode == 1, refused
    named = re.search(r"record (\d+) of the journal can not be read", refused.stderr)
    assert named and 1 < int(named.group(1)) < 4001, refused
    assert "00000001.db" in refused.stderr and "what to do" in refused.stderr
    found = hub.binary.run("journal", "verify", "-C", hub.config)
    assert found.returncode == 1 and f"record {named.group(1)}" in found.stdout, found
    journal_file(hub).write_bytes(whole)  # from the backup
    hub.start()
    assert hub.client().get("/readyz").ok()["seq"] > 4001


@pytest.mark.parametrize("name, hint", [("keys.db", "key create"), ("delivery.db", "looked up")])
def test_a_damaged_file_beside_it_is_named(idle_hub, name, hint):
    hub = idle_hub.start()
    fill(hub.client(), "BD", 10)
    hub.stop()
    path = hub.config / "data" / name
    whole = path.read_bytes()
    path.write_bytes(b"rubbish " * 1000)
    refused = hub.binary.run("serve", "-C", hub.config, "--listen", "127.0.0.1:0", env=hub.env)
    assert refused.returncode == 1 and name in refused.stderr and hint in refused.stderr, refused
    path.write_bytes(whole)
    hub.start()
    assert hub.client().get("/readyz").status == 200


def test_a_page_of_the_journal_that_goes_bad_while_it_runs(idle_hub):
    hub = idle_hub.start()
    api = hub.client()
    made = list(fill(api, "JP", 4000))
    hub.stop()
    hub.start()  # what is in no cache any more is read from the file
    api = hub.client()
    pages_damaged(journal_file(hub), 200, 40, 16384)
    bad = [a for a in (api.get(f"/v1/orders/{order}") for order in made[::20]) if a.status != 200]
    assert bad, "no order met the damaged pages"
    for answer in bad:
        assert answer.status in (500, 503) and answer.json["correlation_id"], answer
        assert "damaged" in answer.json["detail"], answer
    assert len(bad) < 150, "the others are answered"
    assert api.get("/livez").status == 200
    api.post("/v1/stock/counts", docs.count("JP", 5)).ok(201)
    api.post("/v1/orders", docs.order(("JP", 1)))
    assert hub.process.popen.poll() is None


def test_a_full_disk_loses_no_delivery(idle_hub, tmp_path):
    """Orders on their way to the books while nothing can be written: each is there once."""
    hub = idle_hub
    ledger = Ledger()
    try:
        ledger.connector(hub.config)
        with mounted("-t", "tmpfs", "-o", "size=64m", "tmpfs", at=tmp_path / "disk") as disk:
            start_on(hub, disk)
            api = hub.client()
            api.post("/v1/stock/counts", docs.count("OUT", 1000000)).ok(201)
            made = []
            for _ in range(3):
                filler = fill_disk(disk, leave=300_000)
                made += capture_until_refused(api, "OUT")[0]
                time.sleep(1)
                filler.unlink()
                until(lambda: api.get("/readyz").status == 200, 15, "ready again")
                made.append(api.post("/v1/orders", docs.order(("OUT", 1))).ok(201)["order_id"])
            captured = {e["subject"] for e in docs.events(api, type="order.captured")}
            assert set(made) <= captured
            until(lambda: set(ledger.ids()) == captured, 60 * hub.binary.patience, "all posted")
            until(lambda: {e["data"]["order_id"] for e in docs.events(api, type="posting.posted")}
                  == captured, 60 * hub.binary.patience, "all known to be posted")
            assert len(ledger.ids()) == len(captured), "one of them twice"
            hub.stop()
    finally:
        ledger.stop()
