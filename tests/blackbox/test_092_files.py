"""Files left in a folder: taken when complete, divided into records, each once, whatever is stopped; what can
not be read is told with file, line and column and holds up nothing else."""

import json
import os
import time

import pytest

import docs
from conftest import running
from hub import Hub
from wire import until

YAML = """connector: depot
version: "1"
owner: logistics
service_level: within a minute
files:
  - topic: orders
    folder: "${env:DEPOT}/in"
    pattern: "orders*.csv"
    every_s: 1
    ready: {stable_s: 1}
    csv: {delimiter: ";", encoding: windows-1252}
    decimals: [price]
    decimal: ","
    group: [order]
    key: {member: row.order}
    mapping: order.lua
    command: fact.keep
  - topic: lines
    folder: "${env:DEPOT}/lines"
    pattern: "*.ndjson"
    every_s: 1
    ready: {done: ".done"}
    format: ndjson
    mapping: line.lua
    command: fact.keep
"""
ORDER = """return function(doc)
  local lines = {}
  for i, row in ipairs(doc.rows) do lines[i] = {sku = row.sku, price = row.price, words = row.words} end
  return {kind = "order", key = doc.row.order, document = {lines = lines}}
end
"""
LINE = """return function(doc) return {kind = "line", key = tostring(doc.id), document = {n = doc.n}} end
"""


@pytest.fixture
def depot(tmp_path):
    for name in ("in", "lines"):
        (tmp_path / "depot" / name).mkdir(parents=True)
    return tmp_path / "depot"


@pytest.fixture
def hub(binary, tmp_path, depot):
    hub = Hub(binary, tmp_path, {"DEPOT": str(depot)})
    folder = hub.config / "connectors" / "depot"
    folder.mkdir()
    (folder / "connector.yaml").write_text(YAML)
    (folder / "order.lua").write_text(ORDER)
    (folder / "line.lua").write_text(LINE)
    yield from running(hub.start())


def kept(api, kind="order"):
    return {f["key"]: f["fact"]["document"] for f in docs.listed(api, "/v1/facts", kind=kind)}


def state(api, topic):
    [item] = [x for x in docs.listed(api, "/ops/files") if (x["connector"], x["topic"]) == ("depot", topic)]
    return item


def leave(path, text, encoding="cp1252"):
    """As a careful sender does: under another name first."""
    part = path.with_name(path.name + ".part")
    part.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    os.rename(part, path)


def ended(api, topic, count):
    until(lambda: state(api, topic)["files"] == count, 20, f"{count} files of {topic}")
    return state(api, topic)


HEAD = "order;sku;price;words\r\n"


def invalid(api, count):
    """The causes of the cases of records that are not as they should be, once there are so many: lists
    may lag."""
    def listed():
        causes = [x["case"]["cause"] for x in docs.listed(api, "/ops/exceptions", kind="record-invalid")]
        return causes if len(causes) >= count else None
    causes = until(listed, 20, f"{count} cases")
    assert len(causes) == count
    return causes


def test_rows_become_orders(hub, depot):
    api = hub.client()
    leave(depot / "in" / "orders-1.csv", HEAD + "A1;TEE;1.234,50;größer \x80\r\nA1;CUP;5;\"a;b\"\"c\r\nd\"\r\n"
          "A2;TEE;-0,5;x".replace("\x80", "€"))
    assert ended(api, "orders", 1)["taken"] == 2
    until(lambda: len(kept(api)) == 2, 20, "the orders")
    assert kept(api) == {
        "A1": {"lines": [{"sku": "TEE", "price": "1234.50", "words": "größer €"},
                         {"sku": "CUP", "price": "5", "words": 'a;b"c\r\nd'}]},
        "A2": {"lines": [{"sku": "TEE", "price": "-0.5", "words": "x"}]}}
    assert (depot / "in" / "done" / "orders-1.csv").exists()
    report = json.loads((depot / "in" / "done" / "orders-1.csv.report.json").read_text())
    assert (report["records"], report["bad"], report["problems"]) == (2, 0, [])
    # the same content under another name
    seq = docs.last_seq(api)
    leave(depot / "in" / "orders-again.csv", (depot / "in" / "done" / "orders-1.csv").read_bytes())
    assert ended(api, "orders", 2)["repeated"] == 1
    assert json.loads((depot / "in" / "done" / "orders-again.csv.report.json").read_text())["known"] is True
    assert not [e for e in docs.events(api, after=seq) if docs.short(e) == "payload.received"]
    # another content under the same name
    leave(depot / "in" / "orders-1.csv", HEAD + "A3;TEE;1;z\r\n")
    ended(api, "orders", 3)
    until(lambda: len(kept(api)) == 3, 20, "the third order")
    assert len(list((depot / "in" / "done").glob("*-orders-1.csv"))) == 1


def test_half_of_it_is_bad(hub, depot):
    api = hub.client()
    leave(depot / "in" / "orders-2.csv", HEAD + "B1;TEE;1,0;a\r\nB2;TEE;eins;b\r\nB2;CUP;2;c\r\n"
          "B3;TEE;3;d\r\nB4;TEE;4\r\nB5;TEE;5;\"e\"x\r\nB6;TEE;6;f\r\n")
    assert ended(api, "orders", 1)["rejected"] == 1
    until(lambda: len(kept(api)) == 3, 20, "the good ones")
    assert sorted(kept(api)) == ["B1", "B3", "B6"]
    report = json.loads((depot / "in" / "error" / "orders-2.csv.report.json").read_text())
    assert [(p["line"], p.get("column"), p["problem"]) for p in report["problems"]] == [
        (3, 3, "is no number"), (6, None, "has 3 columns, not 4"), (7, 4, "has text behind its closing quote")]
    rejected = (depot / "in" / "error" / "orders-2.csv.rejected").read_bytes().decode("cp1252")
    assert rejected.replace("\r\n", "\n") == (
        HEAD + "B2;TEE;eins;b\nB2;CUP;2;c\nB4;TEE;4\nB5;TEE;5;\"e\"x\n").replace("\r\n", "\n")
    causes = invalid(api, 3)
    assert "orders-2.csv (depot/orders), line 3, column 3 (price): is no number" in causes
    # mended, it is left again
    rejected = rejected.replace("\r\n", "\n").replace("eins", "1").replace("TEE;4\n", "TEE;4;y\n")
    leave(depot / "in" / "orders-2-mended.csv", rejected.replace("\"e\"x", "e"))
    ended(api, "orders", 2)
    until(lambda: len(kept(api)) == 6, 20, "the mended ones")
    assert len(kept(api)["B2"]["lines"]) == 2


def test_a_file_waits_until_it_is_complete(hub, depot):
    api = hub.client()
    path = depot / "in" / "orders-slow.csv"
    with open(path, "w", encoding="ascii") as out:
        out.write(HEAD)
        for number in range(25):
            out.write(f"C{number};TEE;1;x\n")
            out.flush()
            time.sleep(0.15)
            assert path.exists()
    ended(api, "orders", 1)
    until(lambda: len(kept(api)) == 25, 20, "the orders")
    lines = depot / "lines" / "a.ndjson"
    lines.write_text('{"id":1,"n":1}\n\n{"id":2,"n":\n{"id":3,"n":3}')
    time.sleep(2.5)
    assert lines.exists()
    (depot / "lines" / "a.ndjson.done").touch()
    ended(api, "lines", 1)
    until(lambda: kept(api, "line") == {"1": {"n": 1}, "3": {"n": 3}}, 20, "the lines")
    assert not list((depot / "lines").glob("*.done"))
    report = json.loads((depot / "lines" / "error" / "a.ndjson.report.json").read_text())
    assert [p["line"] for p in report["problems"]] == [3]


def test_headers(hub, depot):
    api = hub.client()
    leave(depot / "in" / "orders-3.csv", "number;sku;words\n1;2;3\n")
    leave(depot / "in" / "orders-4.csv", "order;sku;price;words;sku\n1;2;3;4;5\n")
    leave(depot / "in" / "orders-5.csv", "")
    assert ended(api, "orders", 3)["rejected"] == 2
    causes = " ".join(invalid(api, 2))
    assert 'the header has no column "order"' in causes and 'column 5 without a name, or twice: "sku"' in causes


def test_killed_in_the_middle(hub, depot):
    """20 000 records and a hub that dies four times: each is there once."""
    api = hub.client()
    count = 20000
    leave(depot / "in" / "orders-big.csv", HEAD + "".join(
        f"K{n // 2};S{n};{n},25;x\r\n" for n in range(2 * count)))
    for _ in range(4):
        until(lambda: state(hub.client(), "orders")["file"] or state(hub.client(), "orders")["files"], 20, "a start")
        time.sleep(0.15)
        hub.kill()
        hub.start()
    api = hub.client()
    until(lambda: (depot / "in" / "done" / "orders-big.csv").exists(), 60, "the file to be done")
    seen, after = {}, 0

    def all_there():
        nonlocal after
        for event in docs.events(api, after=after):
            after = max(after, event["penstockseq"])
            if docs.short(event) in ("fact.kept", "payload.received"):
                name = docs.short(event), event["data"]["key"]
                seen[name] = seen.get(name, 0) + 1
        return sum(1 for kind, _ in seen if kind == "fact.kept") == count
    until(all_there, 60, "all orders")
    assert set(seen.values()) == {1} and len(seen) == 2 * count
