"""The examples of the documents, sent to a real hub: contracts/examples/*.json in order, then an
event of each type that happened, contracts/examples/events/*.json.

    python3 tests/contracts/examples.py --write build/penstock

An answer must be the file's, but for what is new each time: ids, times, positions. Ids are matched
by where they stand, so that a later request asks for the id this hub gave. An event marked "apart"
happened on another hub: it takes more than these requests. --write puts what the hub answers into
the files: look at the difference before it is committed. In a request
"$040-capture.order_id" takes a value from an earlier answer; --write replaces it, too.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
import tempfile
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "contracts" / "examples"
SECRET = "examples-secret"
# What differs each time: members that need only be there, and ids, which are matched.
ANEW = re.compile(
    r"(^|_)(at|since|seq|time|until|from|behind|behind_ms|behind_s|expires_at|penstockseq|after|next_cursor|cursor|"
    r"last)$"
    r"|^id$|^key$|^secret$|^delivery$|^age_s$|^mapping_version$")
ID = re.compile(r"\bcrm:[0-9]+\b|\b[a-z]{3}_[0-9a-z]{26}\b|\b[0-9a-f]{32}\b|\b[0-9a-f]{16}\b|\bpk_[0-9a-z]{12}\b")


def dump(document):
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def learn(actual, known, ids):
    """Ids of this hub's answer and those that stand in their places in the file's."""
    if isinstance(actual, dict) and isinstance(known, dict):
        for name in actual.keys() & known.keys():
            learn(actual[name], known[name], ids)
    elif isinstance(actual, list) and isinstance(known, list):
        for one, other in zip(actual, known):
            learn(one, other, ids)
    elif isinstance(actual, str) and isinstance(known, str):
        mine, theirs = [m.group() for m in ID.finditer(actual)], [m.group() for m in ID.finditer(known)]
        if len(mine) == len(theirs):
            ids.update({a: b for a, b in zip(mine, theirs) if a not in ids})


def differs(actual, known, at=""):
    """Where the answer is not the file's."""
    if type(actual) is not type(known):
        return [f"{at}: {actual!r:.200}, not {known!r:.200}"]
    if isinstance(actual, dict):
        found = [f"{at}/{name}: {'is new' if name in actual else 'is not there'}"
                 for name in sorted(actual.keys() ^ known.keys())]
        for name in sorted(actual.keys() & known.keys()):
            if not (ANEW.search(name) and type(actual[name]) is type(known[name])):
                found += differs(actual[name], known[name], f"{at}/{name}")
        return found
    if isinstance(actual, list):
        if len(actual) != len(known):
            return [f"{at}: {len(actual)} items, not {len(known)}"]
        return [f for i, (a, k) in enumerate(zip(actual, known)) for f in differs(a, k, f"{at}/{i}")]
    return [] if actual == known else [f"{at}: {actual!r:.300}, not {known!r:.300}"]


class Examples:
    """Sends the examples to a hub. `ids`: this hub's, to those of the files."""

    def __init__(self, client):
        self.client, self.ids = client, {}
        self.answers = {}  # by name: what the hub answered, with the files' ids

    def files(self):
        return sorted(FOLDER.glob("*.json"))

    def mine(self, text):
        """A text of the files with this hub's ids."""
        for mine, known in self.ids.items():
            text = text.replace(known, mine)
        return text

    def known(self, document):
        text = json.dumps(document)
        for mine, known in self.ids.items():
            text = text.replace(mine, known)
        return json.loads(text)

    def filled(self, request):
        """"$040-capture.order_id" becomes the value."""
        def value(match):
            at = self.answers[match.group(1)]
            for part in match.group(2).split("."):
                at = at[int(part)] if isinstance(at, list) else at[part]
            return str(at)
        return json.loads(re.sub(r"\$([0-9]{3}[\w-]*)\.([\w.]+)", value, json.dumps(request)))

    def send(self, example):
        method, path = example["operation"].split(" ", 1)
        for name, value in example.get("path", {}).items():
            path = path.replace("{" + name + "}", urllib.parse.quote(self.mine(value), safe=""))
        if example.get("query"):
            path += "?" + self.mine(urllib.parse.urlencode(example["query"], doseq=True))
        headers = dict(example.get("headers", {}))
        raw, media = None, None
        if "lines" in example:
            raw = "".join(json.dumps(line) + "\n" for line in example["lines"]).encode()
            media = "application/x-ndjson"
        elif "body" in example:
            raw, media = json.dumps(example["body"]).encode(), "application/json"
        if example.get("sign") == "shopify":
            digest = hmac.new(SECRET.encode(), raw, hashlib.sha256).digest()
            headers["X-Shopify-Hmac-Sha256"] = base64.b64encode(digest).decode()
        if raw is not None:
            headers["Content-Type"] = media
            raw = self.mine(raw.decode()).encode()
        return self.client.call(method, path, raw=raw, headers=headers)

    def play(self, path, write=False, patience=1.0):
        """Sends one example; the differences. What a partner's message leads to comes a little later."""
        example = self.filled(json.loads(path.read_text("utf-8")))
        until = time.monotonic() + 10 * patience
        while True:
            answer = self.send(example)
            kind = (answer.header("content-type") or "").split(";")[0]
            actual = answer.lines if kind == "application/x-ndjson" else answer.json
            learn(actual, example.get("answer"), self.ids)
            shown = self.known(actual)
            found = [] if answer.status == example["status"] else [f"{answer.status}: {shown}"]
            found += differs(shown, example.get("answer"))
            waits = example["operation"].startswith("GET") and (
                not write or (shown.get("items") == [] and "open" in str(example.get("query"))))
            if not found or not waits or time.monotonic() > until:
                break
            time.sleep(0.05)
        self.answers[path.stem] = shown
        if write and (found or "$" in path.read_text("utf-8")):
            assert answer.status == example["status"], (path, answer)
            path.write_text(dump({**example, "media": kind, "answer": shown}), "utf-8")
            return []
        return [f"{path.name}: {fault}" for fault in found]

    def events(self, write=False):
        """The first event of each type; the differences."""
        found, seen, after = [], set(), 0
        while True:
            page = self.client.get(f"/v1/events?after={after}").ok()
            for event in page["items"]:
                name = event["type"].removeprefix("org.penstock.").removesuffix(".v1")
                after = event["penstockseq"]
                if name in seen:
                    continue
                seen.add(name)
                path = FOLDER / "events" / f"{name}.json"
                if write and not path.exists():
                    path.write_text(dump({"event": name, "title": f"{name} as it happened",
                                          "message": self.known(event)}), "utf-8")
                if not path.exists():
                    found.append(f"{name} has no example: write one")
                    continue
                example = json.loads(path.read_text("utf-8"))
                learn(event, example["message"], self.ids)
                faults = differs(self.known(event), example["message"])
                if faults and write:
                    path.write_text(dump({**example, "message": self.known(event)}), "utf-8")
                else:
                    found += [f"{name}: {fault}" for fault in faults]
            if not page.get("next_cursor"):
                break
        gone = {path.stem for path in (FOLDER / "events").glob("*.json")
                if not json.loads(path.read_text("utf-8")).get("apart")} - seen
        return found + [f"{name} did not happen" for name in sorted(gone)]


def main():
    sys.path[:0] = [str(ROOT / "tests" / "blackbox")]
    from hub import Binary, Hub
    if len(sys.argv) != 3 or sys.argv[1] != "--write":
        print(__doc__)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        hub = Hub(Binary(sys.argv[2]), folder, {"SHOPIFY_WEBHOOK_SECRET": SECRET}).start()
        examples = Examples(hub.client())
        for path in examples.files():
            examples.play(path, write=True)
        print("\n".join(examples.events(write=True)))
        hub.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
