"""The exception queue over HTTP and on the command line: what can not be processed is shown with its
message, cause and next action; put right, processed again or given up, one by one and many at once;
what came later with the same key waits for it, in order, over kills."""

import json
import threading

import pytest

import docs
from conftest import running
from hub import Hub
from wire import until

CONNECTOR = """connector: parts
version: "7"
owner: store
receive:
  - topic: orders
    signature: {scheme: none}
    dedup: {header: X-Id}
    key: {member: order}
    mapping: order.lua
    command: order.capture
  - topic: coded
    signature: {scheme: none}
    dedup: {header: X-Id}
    key: {member: order}
    mapping: coded.lua
    command: order.capture
  - topic: cuts
    signature: {scheme: none}
    dedup: {header: X-Id}
    key: {member: order}
    mapping: cut.lua
    command: order.cancel_by_number
"""
ORDER = """return function(doc)
  local lines = {}
  for i, line in ipairs(doc.lines) do
    lines[i] = {line_id = tostring(i), sku = line.sku, quantity = tostring(line.qty), unit_price = 100,
      total = 100 * line.qty}
  end
  return {channel = 'web-de', channel_order_id = doc.order, placed_at = doc.at, currency = 'EUR',
    customer = {email = opt(doc, 'email')},
    lines = lines, totals = {grand = doc.total}}
end
"""
CODED = """return function(doc) return {channel = 'web-de', channel_order_id = doc.order,
  placed_at = '2026-11-23T09:15:00Z', currency = 'EUR', totals = {grand = 100},
  lines = {{line_id = '1', sku = code('sku', doc.article), quantity = '1', unit_price = 100, total = 100}}} end
"""
CUT = """return function(doc) return {channel = 'web-de', channel_order_id = doc.order, reference = doc.ref,
  reason = doc.ref, lines = {{line_id = '1', quantity = tostring(doc.qty)}}} end
"""


class Parts:
    """A hub with a partner of our own, and its messages."""

    def __init__(self, hub):
        self.hub, self.sent = hub, 0

    @property
    def api(self):
        return self.hub.client()

    def send(self, topic, doc):
        self.sent += 1
        raw = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
        return self.hub.client(key=None).post(f"/x/parts/{topic}", raw=raw, headers={
            "X-Id": f"m-{self.sent}", "Content-Type": "application/json"}).ok()

    def order(self, number, qty=9, **more):
        return self.send("orders", {"order": number, "at": "2026-11-23T09:15:00Z", "total": 100 * qty,
                                    "lines": [{"sku": "P", "qty": qty}], **more})

    def cut(self, number, ref, qty=1):
        return self.send("cuts", {"order": number, "ref": ref, "qty": qty})

    def cuts(self, number):
        """Reasons of an order's cancellations, in order."""
        return [e["data"]["reason"] for e in docs.events(self.api)
                if docs.short(e) == "order.cancelled" and e["data"]["order_id"] == self.order_id(number)]

    def order_id(self, number):
        items = self.api.get("/v1/orders" + docs.query(channel="web-de", channel_order_id=number)).ok()
        return items["items"][0]["order_id"] if items["items"] else None

    def open(self, count, **filters):
        """The open cases, once there are so many."""
        def ask():
            found = docs.listed(self.api, "/ops/exceptions", state="open", **filters)
            return found if len(found) == count else None
        return until(ask, 20, f"{count} open cases") if count else until(
            lambda: not docs.listed(self.api, "/ops/exceptions", state="open", **filters), 20, "none open")

    def cli(self, *args, code=0, key=None, stdin=None):
        more = {} if key is None else {"key": key}
        run = self.hub.cli("exceptions", *map(str, args), input=stdin, **more)
        assert run.returncode == code, (run.returncode, run.stdout, run.stderr)
        return run


def at(case, *verb):
    return "/ops/exceptions/" + "/".join([case["exception_id"], *verb])


@pytest.fixture(scope="module")
def parts(binary, tmp_path_factory):
    hub = Hub(binary, tmp_path_factory.mktemp("hub"))
    folder = hub.config / "connectors" / "parts"
    folder.mkdir(parents=True)
    (folder / "connector.yaml").write_text(CONNECTOR)
    (folder / "order.lua").write_text(ORDER)
    (folder / "cut.lua").write_text(CUT)
    (folder / "coded.lua").write_text(CODED)
    for one in running(hub.start()):
        docs_api = hub.client()
        docs_api.post("/v1/stock/counts", docs.count("P", 100000)).ok(201)
        yield Parts(hub)


def test_later_ones_wait_until_it_is_put_right(parts):
    number = docs.order_id()
    parts.order(number)
    until(lambda: parts.order_id(number), 20, "the order")
    sent = parts.cut(number, "a", "many")
    for ref in "bcd":
        parts.cut(number, ref)
    case, = parts.open(1)
    assert (case["kind"], case["owner"], case["connector"], case["topic"]) == (
        "document-invalid", "store", "parts", "cuts")
    assert case["lane"] == f"parts/{number}" and case["version"] == 1 and case["attempts"] == 0
    assert case["subject"] == sent["payload_id"] and case["case"]["mapping"] == "parts/cut.lua"
    assert case["case"]["mapping_version"].startswith("7")
    until(lambda: len(docs.listed(parts.api, "/ops/parked", connector="parts")) == 3, 20, "three to wait")
    assert parts.cuts(number) == []
    story = parts.api.get(at(case)).ok()
    assert story["payload"]["document"]["qty"] == "many" and story["payload"]["versions"] == []
    assert story["preview"]["outcome"] == "document-invalid"
    assert "/lines/0/quantity" in json.dumps(story["preview"]["faults"])
    assert any(case["exception_id"] in line for line in story["commands"])
    assert "payload.received" in [e["type"] for e in story["events"]]
    # a retry without a change fails again, as the same case
    answer = parts.api.post(at(case, "retry"), {"reason": "perhaps"}).ok(202)
    assert (answer["change"], answer["attempts"], answer["version"]) == ("retried", 1, 2)
    until(lambda: parts.open(1)[0]["version"] == 3, 20, "it to fail again")
    # a dry run says what would become of it, and does nothing
    fix = {"set": [{"pointer": "/qty", "value": 2}], "reason": "typed wrong"}
    preview = parts.api.post(at(case, "fix"), {**fix, "dry_run": True}).ok(202)["preview"]
    assert preview["outcome"] == "maps" and preview["mapping"] == "parts/cut.lua"
    assert {"target": "/lines/0/quantity", "sources": ["/qty"]} in preview["trace"]
    assert parts.open(1)[0]["version"] == 3
    parts.api.post(at(case, "fix"), fix).ok(202)
    parts.open(0)
    until(lambda: parts.cuts(number) == list("abcd"), 20, "all in their order")
    story = parts.api.get(at(case)).ok()
    assert story["state"] == "resolved" and story["payload"]["document"]["qty"] == 2
    assert [v["changed"] for v in story["payload"]["versions"]] == [["/qty"]]
    assert story["payload"]["versions"][0]["reason"] == "typed wrong"
    assert parts.api.get(at(case) + "?original=true").ok()["payload"]["document"]["qty"] == "many"
    resolved = [e for e in docs.events(parts.api) if docs.short(e) == "exception.resolved"]
    assert resolved[-1]["data"]["resolution"] == "fixed" and resolved[-1]["data"]["lane"] == case["lane"]


def test_a_discard_lets_go_what_waits(parts):
    number = docs.order_id()
    parts.order(number)
    until(lambda: parts.order_id(number), 20, "the order")
    parts.cut(number, "a", 1000)
    for ref in "bc":
        parts.cut(number, ref)
    case, = parts.open(1)
    assert case["kind"] == "refused"
    parts.api.post(at(case, "discard"), {}).problem(422)
    answer = parts.api.post(at(case, "discard"), {"reason": "nobody has so many"}).ok()
    assert (answer["resolution"], answer["version"]) == ("discarded", 2)
    until(lambda: parts.cuts(number) == list("bc"), 20, "the others")
    assert parts.api.get(at(case)).ok()["state"] == "discarded"
    parts.api.post(at(case, "retry"), {}).problem(409)
    parts.api.post(at(case, "resolve"), {"reason": "again"}).problem(409)
    parts.api.post("/ops/exceptions/exc_none/retry", {}).problem(404)


def test_two_operators_at_once(parts):
    number = docs.order_id()
    parts.order(number, total=1)
    case, = parts.open(1)
    seen = case["version"]
    parts.api.post(at(case, "retry"), {"version": seen}).ok(202)
    until(lambda: parts.open(1)[0]["version"] > seen + 1, 20, "it to fail again")
    parts.api.post(at(case, "discard"), {"reason": "old", "version": seen}).problem(412)
    parts.api.post(at(case, "discard"), {"reason": "old"}, headers={"If-Match": f'"{seen}"'}).problem(412)
    parts.api.post(at(case, "fix"), {"set": [{"pointer": "/total", "value": 900}], "version": seen}).problem(412)
    now = parts.open(1)[0]["version"]
    answers = []

    def decide(verb, body):
        answers.append((verb, parts.hub.client().post(at(case, verb), {**body, "version": now}).status))

    threads = [threading.Thread(target=decide, args=one) for one in [
        ("discard", {"reason": "one"}), ("fix", {"set": [{"pointer": "/total", "value": 900}]})] * 3]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = [verb for verb, status in answers if status in (200, 202)]
    assert len(done) == 1, answers
    assert all(status in (409, 412) for _, status in answers if status not in (200, 202)), answers
    parts.open(0)
    assert bool(parts.order_id(number)) == (done == ["fix"])


def test_a_kill_between_decision_and_effect(parts):
    for round_ in range(5):
        number = docs.order_id()
        parts.order(number)
        until(lambda: parts.order_id(number), 20, "the order")
        parts.cut(number, "a", "many")
        for ref in "bcd":
            parts.cut(number, ref)
        case, = parts.open(1)
        if round_ % 2:
            parts.api.post(at(case, "discard"), {"reason": "no"}).ok()
        else:
            parts.api.post(at(case, "fix"), {"set": [{"pointer": "/qty", "value": 1}]}).ok(202)
        parts.hub.kill()
        parts.hub.start()
        until(lambda: parts.cuts(number) == list("bcd" if round_ % 2 else "abcd"), 20, "the rest, in order")
        parts.open(0)


def test_personal_data_is_for_who_may_see_it(parts):
    secret = "wanderer@exceptions.example"
    parts.order(docs.order_id(), total=1, email=secret)
    case, = parts.open(1)
    assert secret not in json.dumps(case)
    key = parts.hub.create_key("support", "ops:read", "ops:resolve")
    story = parts.hub.client(key).get(at(case)).ok()
    assert secret not in json.dumps(story) and "personal:read" in story["payload"]["hidden"]
    assert secret in json.dumps(parts.api.get(at(case)).ok())
    lines = until(lambda: [x for x in docs.listed(parts.api, "/ops/audit")
                           if case["exception_id"] in json.dumps(x)], 20, "an audit line")
    assert any(x["kind"] == "read" and "GET" in x["action"] for x in lines), lines
    # who may not see it may put it right all the same
    parts.hub.client(key).post(at(case, "fix"), {"set": [{"pointer": "/total", "value": 900}]}).ok(202)
    parts.open(0)


def test_an_erased_person_is_in_no_version(parts):
    secret, number = "versions@exceptions.example", docs.order_id()
    parts.order(number, total=1, email=secret)
    case, = parts.open(1)
    parts.api.post(at(case, "fix"), {"set": [{"pointer": "/note", "text": secret},
                                             {"pointer": "/total", "value": 900}]}).ok(202)
    parts.open(0)
    order_id = parts.order_id(number)
    assert json.dumps(docs.events(parts.api)).count(secret) >= 3
    parts.api.delete(f"/v1/customers/{order_id}").ok(200)
    assert secret not in json.dumps(docs.events(parts.api))
    assert secret not in json.dumps(parts.api.get(at(case)).ok())


def lines_of(answer):
    assert answer.status == 200, answer
    return answer.lines


def test_many_at_once(parts):
    numbers = [docs.order_id() for _ in range(150)]
    for number in numbers:
        parts.order(number, total=1)
    parts.open(150)
    counts = parts.api.get("/ops/exception-counts").ok()["items"]
    assert [(c["kind"], c["owner"], c["open"]) for c in counts] == [("document-invalid", "store", 150)]
    bulk = "/ops/exceptions/bulk"
    parts.api.post(bulk, {"action": "discard", "kind": "document-invalid"}).problem(422)
    parts.api.post(bulk, {"action": "retry"}).problem(422)
    fix = {"action": "fix", "set": [{"pointer": "/total", "value": 900}], "connector": "parts"}
    dry = lines_of(parts.api.post(bulk, {**fix, "dry_run": True, "limit": 3}))
    assert [x["preview"]["outcome"] for x in dry] == ["maps"] * 3
    some = parts.open(150)[:2]
    stale = lines_of(parts.api.post(bulk, {"action": "retry", "items": [
        {"exception_id": some[0]["exception_id"], "version": 9}, {"exception_id": "exc_none"},
        {"exception_id": some[1]["exception_id"], "version": 1}]}))
    assert [x["status"] for x in stale] == [412, 404, 202]
    until(lambda: {c["version"] for c in parts.open(150)} == {1, 3}, 20, "the retry to fail")
    done = lines_of(parts.api.post(bulk, {**fix, "limit": 100}))
    assert [x["status"] for x in done] == [202] * 100 and [x["line"] for x in done] == list(range(1, 101))
    parts.open(50)
    done = lines_of(parts.api.post(bulk, {"action": "discard", "text": "GRAND", "reason": "a test"}))
    assert [x["status"] for x in done] == [200] * 50, done[0]
    parts.open(0)
    assert sum(parts.order_id(n) is not None for n in numbers) == 100


def test_lists_and_filters(parts):
    numbers = [docs.order_id() for _ in range(5)]
    since = docs.now()
    for number in numbers:
        parts.order(number, total=1)
    found = parts.open(5, connector="parts", since=since)
    pages = docs.listed(parts.api, "/ops/exceptions", state="open", limit=2)
    assert [x["exception_id"] for x in pages] == [x["exception_id"] for x in found]
    one = parts.open(1, text=numbers[3].lower())
    assert one[0]["lane"] == f"parts/{numbers[3]}"
    assert parts.open(1, subject=one[0]["subject"]) == one
    parts.open(0, owner="nobody")
    assert docs.listed(parts.api, "/ops/exceptions", state="open", since=docs.now(60)) == []
    parts.api.get("/ops/exceptions?since=yesterday").problem(422)
    lines_of(parts.api.post("/ops/exceptions/bulk", {"action": "discard", "state": "open", "reason": "done"}))
    parts.open(0)


def test_the_command_line(parts):
    number = docs.order_id()
    parts.order(number)
    until(lambda: parts.order_id(number), 20, "the order")
    parts.cut(number, "a", "many")
    parts.cut(number, "b")
    case, = parts.open(1)
    listed = parts.cli("list", "--kind", "document-invalid").stdout
    assert case["exception_id"] in listed and "store" in listed and listed.count("\n") == 1
    assert json.loads(parts.cli("list", "--json").stdout)["exception_id"] == case["exception_id"]
    assert parts.cli("list", "--owner", "nobody").stdout == ""
    assert json.loads(parts.cli("counts", "--json").stdout)["open"] == 1
    shown = parts.cli("show", case["exception_id"]).stdout
    for words in ("document-invalid", "/lines/0/quantity", '"qty": "many"', f"parts/{number}", "parts/cut.lua",
                  f"penstock exceptions discard {case['exception_id']}", "received from parts"):
        assert words in shown, (words, shown)
    assert json.loads(parts.cli("show", case["exception_id"], "--json").stdout)["payload"]["document"]["ref"] == "a"
    dry = parts.cli("fix", case["exception_id"], "--set", "/qty=3", "--dry-run").stdout
    assert "/lines/0/quantity <- /qty" in dry, dry
    parts.cli("discard", case["exception_id"], "--reason", "x", "--version", 9, code=1)
    parts.cli("discard", case["exception_id"], code=2)
    parts.cli("fix", case["exception_id"], "--set", "qty=3", code=2)
    parts.cli("forget", case["exception_id"], code=2)
    parts.cli("fix", "--kind", "document-invalid", code=2)
    parts.cli("retry", code=2)
    assert parts.open(1)[0]["version"] == 1
    parts.cli("fix", case["exception_id"], "--set", "/qty=1", "--reason", "typed wrong")
    until(lambda: parts.cuts(number) == ["a", "b"], 20, "both")
    parts.open(0)
    parts.cli("retry", case["exception_id"], code=1)


def test_the_whole_message_from_a_file_or_an_editor(parts, tmp_path):
    numbers = [docs.order_id() for _ in range(2)]
    for number in numbers:
        parts.send("orders", f"order {number}".encode())
    cases = parts.open(2)
    file = tmp_path / "message.json"
    for number, case in zip(numbers, cases):
        assert case["kind"] == "payload-malformed"
        file.write_text(json.dumps({"order": number, "at": "2026-11-23T09:15:00Z", "total": 1, "lines": [
            {"sku": "P", "qty": 1}]}))
        parts.cli("fix", case["exception_id"], "--file", file)
    until(lambda: all(c["kind"] == "document-invalid" for c in parts.open(2)), 20, "the sums to be wrong")
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/\"total\": 1/\"total\": 100/' \"$1\"\n")
    editor.chmod(0o755)
    parts.hub.env["EDITOR"] = str(editor)
    for case in cases:
        parts.cli("fix", case["exception_id"])
    parts.open(0)
    assert all(parts.order_id(number) for number in numbers)
    story = parts.api.get(at(cases[0])).ok()
    assert [v["changed"] for v in story["payload"]["versions"]] == [[], []]
    assert parts.api.get(at(cases[0]) + "?original=true").ok()["payload"]["text"].startswith("order ")


def test_a_code_that_is_missing(parts):
    numbers = [docs.order_id() for _ in range(4)]
    for number in numbers:
        parts.send("coded", {"order": number, "article": "T-1" if number != numbers[3] else "T-2"})
    found = {c["lane"].split("/")[1]: c for c in parts.open(4)}
    assert {c["kind"] for c in found.values()} == {"code-unmapped"}
    preview = parts.api.get(at(found[numbers[3]])).ok()["preview"]
    assert preview["outcome"] == "code-unmapped" and "T-2" in preview["cause"], preview
    dry = {"set": [{"pointer": "/article", "text": "T-1"}], "dry_run": True}
    assert parts.api.post(at(found[numbers[3]], "fix"), dry).ok(202)["preview"]["outcome"] == "code-unmapped"
    out = parts.cli("fix", found[numbers[1]]["exception_id"], "--code", "P").stdout
    assert "3 messages" in out, out
    left, = parts.open(1)
    assert left["lane"].endswith(numbers[3]) and left["version"] == 1
    assert parts.api.post(at(left, "fix"), dry).ok(202)["preview"]["outcome"] == "maps"
    assert all(parts.order_id(number) for number in numbers[:3])
    parts.cli("discard", left["exception_id"], "--reason", "a test")
    parts.open(0)


def test_many_on_the_command_line(parts):
    for _ in range(30):
        parts.order(docs.order_id(), total=1)
    parts.open(30)
    dry = parts.cli("discard", "--connector", "parts", "--dry-run", "--max", 5)
    assert dry.stdout.count("document-invalid") == 5 and "5 would be decided" in dry.stderr
    lines = parts.cli("fix", "--connector", "parts", "--set", "/total=900", "--max", 10, "--json").stdout
    assert [json.loads(line)["status"] for line in lines.splitlines()] == [202] * 10
    parts.open(20)
    run = parts.cli("discard", "--all", "--reason", "a test")
    assert "20 done, 0 refused" in run.stderr, run.stderr
    parts.open(0)
    assert len(parts.cli("list", "--state", "discarded", "--json").stdout.splitlines()) >= 20
