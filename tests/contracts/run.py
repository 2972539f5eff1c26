"""A run over the contract: requests made from a running hub's own /openapi.json, valid and not,
and every answer held to the document.

    python3 tests/contracts/run.py http://127.0.0.1:8480 KEY [--seed N] [--seconds S]

A finding is: a 5xx; a status, media type or header the operation does not document; a body that
does not match the documented schema; a document that breaks the schema and is taken all the same.
Each is printed with the request as a curl command. The same seed makes the same requests as long
as the hub answers the same.
"""

import argparse
import base64
import hashlib
import hmac
import http.client
import json
import random
import re
import string
import sys
import time
import urllib.parse

import jsonschema

SKUS = [f"RUN-{i}" for i in range(6)]
KNOWN = {
    "sku": SKUS, "location": ["WH-HAM", "S01", "S02"], "channel": ["web-de", "web-fr"],
    "currency": ["EUR", "JPY", "USD"], "country": ["DE", "FR"], "quantity": ["1", "2", "0.5"],
    "delta": ["5", "-1"], "on_hand": ["1000000"], "reason": ["damaged"], "store": ["S01"],
}
# Headers of the connection and of the coding, which no operation needs to name.
TRANSPORT = {"date", "content-length", "content-type", "connection", "transfer-encoding", "vary",
             "content-encoding", "keep-alive", "accept-encoding", "pragma", "allow"}
TEXTS = ["", " ", "x", "ä", "€uro", "日本語", "🛒" * 10, "a" * 64, "a" * 65, "a" * 129, "a" * 5000, "\u0000",
         "\t", "\u202e", "'; drop table orders; --", "{{7*7}}", "../../etc", "null", "-0", "1e400",
         "0" * 30, "é".encode().decode("latin-1"), "\ud83d", "%00", "a/b", "a\nb"]
NUMBERS = [0, -1, 1, 2**31, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -2**63, -2**63 - 1, 10**40, 1.5, 1e300]
WRONG = [None, True, [], {}, "text", 7, -0.5, [[]], {"a": {"b": []}}, ["x"] * 50]


class Contract:
    """The document, its schemas, and a validator for each."""

    def __init__(self, document):
        self.document = document
        self.resolver = jsonschema.RefResolver.from_schema(document)
        self.validators = {}

    def resolve(self, node):
        while "$ref" in node:
            at = self.document
            for part in node["$ref"][2:].split("/"):
                at = at[part.replace("~1", "/").replace("~0", "~")]
            node = at
        return node

    def faults(self, schema, instance):
        key = id(schema)
        if key not in self.validators:
            self.validators[key] = jsonschema.Draft202012Validator(
                schema, resolver=self.resolver,
                format_checker=jsonschema.draft202012_format_checker)
        return [f"/{'/'.join(map(str, fault.absolute_path))}: {fault.message[:200]}"
                for fault in self.validators[key].iter_errors(instance)]

    def operations(self):
        for path, item in self.document["paths"].items():
            for method, operation in item.items():
                yield method.upper(), path, operation


class Maker:
    """Values for schemas, mostly valid; and ways of breaking them."""

    def __init__(self, contract, rng):
        self.contract, self.rng = contract, rng
        self.seen = {}  # ids from answers, by member

    def text(self, schema, name):
        rng = self.rng
        values = KNOWN.get(name) or self.seen.get(name)
        if values and rng.random() < 0.8:
            return rng.choice(values)
        most = min(schema.get("maxLength", 40), 5000)
        pattern = schema.get("pattern", "")
        if "0|[1-9]" in pattern:
            return rng.choice(["0", "1", "2.5", "0.000001", "-1", "999999999", "10"])
        if "date-time" in schema.get("format", "") or "[0-9]{4}-" in pattern:
            return rng.choice(["2026-11-23T09:15:00+01:00", "2026-11-22T23:59:59.999999Z",
                               "2024-02-29T00:00:00-11:30"])
        if schema.get("format") == "date":
            return "2026-11-23"
        if pattern.startswith("^[A-Za-z0-9"):
            alphabet = string.ascii_letters + string.digits + "._:/-"
        else:
            alphabet = string.ascii_letters + string.digits + " äß€日🛒'\"\\<&"
        length = rng.choice([1, 2, 8, most, most // 4 or 1])
        made = "".join(rng.choice(alphabet) for _ in range(length)).strip() or "x"
        while len(made.encode()) > most:  # the hub counts bytes
            made = made[:len(made) // 2]
        return made or "x"

    def value(self, schema, name="", depth=0):
        rng, schema = self.rng, self.contract.resolve(schema)
        if "enum" in schema:
            return rng.choice(schema["enum"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = rng.choice(kind)
        if kind == "string":
            return self.text(schema, name)
        if kind == "integer":
            least, most = schema.get("minimum", -10**6), schema.get("maximum", 10**6)
            return rng.choice([v for v in (least, most, 0, 1, 2, 100, 1999, -5) if least <= v <= most])
        if kind == "boolean":
            return rng.random() < 0.5
        if kind == "array":
            least = schema.get("minItems", 0)
            count = max(least, rng.choice([0, 1, 1, 2, 3]) if depth < 6 else 0)
            return [self.value(schema["items"], name, depth + 1) for _ in range(count)]
        if kind == "object":
            return self.object(schema, depth)
        return rng.choice([1, "any", {"a": [1, "2", None]}, [], True])

    def object(self, schema, depth):
        made = {}
        for name, member in schema.get("properties", {}).items():
            if self.contract.resolve(member).get("readOnly") or member.get("readOnly"):
                continue
            if name in schema.get("required", []) or self.rng.random() < 0.3:
                made[name] = self.value(member, name, depth + 1)
        return made

    def order(self):
        """An order whose sums agree, so that what lies behind validity is reached, too."""
        price, count = self.rng.choice([1, 100, 1999]), self.rng.choice([1, 2, 3])
        return {"channel": "web-de", "channel_order_id": f"run-{self.rng.randrange(200)}",
                "placed_at": "2026-11-23T09:15:00+01:00", "currency": "EUR",
                "lines": [{"line_id": "1", "sku": self.rng.choice(SKUS), "quantity": str(count),
                           "unit_price": price, "total": price * count}],
                "totals": {"grand": price * count}}

    def broken(self, document):
        """The document with one place made otherwise."""
        rng = self.rng
        places = []

        def walk(node):
            items = node.items() if isinstance(node, dict) else enumerate(node)
            for key, value in items:
                places.append((node, key))
                if isinstance(value, (dict, list)):
                    walk(value)
        made = json.loads(json.dumps(document))
        if not isinstance(made, (dict, list)) or rng.random() < 0.05:
            return rng.choice(WRONG)
        walk(made)
        if not places or rng.random() < 0.15:
            if isinstance(made, dict):
                made[rng.choice(["unknown", "Channel", "__proto__", "", "ä"])] = rng.choice(WRONG)
            return made
        node, key = rng.choice(places)
        way = rng.randrange(4)
        if way == 0 and isinstance(node, dict):
            del node[key]
        elif way == 1:
            node[key] = rng.choice(TEXTS)
        elif way == 2:
            node[key] = rng.choice(NUMBERS)
        else:
            node[key] = rng.choice(WRONG)
        return made


def without_null(node, schema, contract):
    """null is absent for an optional member (the hub's rule, as RFC 7396 has it): take such out."""
    schema = contract.resolve(schema)
    if isinstance(node, dict):
        members = schema.get("properties", {})
        needed = schema.get("required", [])
        return {k: without_null(v, members.get(k, {}), contract) for k, v in node.items()
                if not (v is None and k in members and k not in needed)}
    if isinstance(node, list):
        return [without_null(v, schema.get("items", {}), contract) for v in node]
    return node


class Request:
    def __init__(self, method, target, headers, body, breaks):
        self.method, self.target, self.headers, self.body = method, target, headers, body
        self.breaks = breaks  # why it must not be taken, or None

    def curl(self, base):
        words = ["curl", "-i", "-X", self.method]
        for name, value in self.headers.items():
            words += ["-H", f"'{name}: {value if name != 'Authorization' else 'Bearer $KEY'}'"]
        if self.body is not None:
            shown = self.body.decode("utf-8", "backslashreplace").replace("'", "'\\''")
            words += ["--data-binary", f"'{shown[:3000]}'"]
        return " ".join(words + [f"'{base}{self.target}'"])


class Run:
    def __init__(self, base, key, seed, secret=None, patience=1.0):
        url = urllib.parse.urlsplit(base)
        self.base, self.key, self.seed = base.rstrip("/"), key, seed
        self.rng = random.Random(seed)
        self.where = (url.hostname, url.port)
        self.timeout_s = 30 * patience
        self.secret = secret  # of the shopify connector's webhooks
        self.link = None
        self.sent, self.counts, self.findings = 0, {}, []
        status, _, body = self.send(Request("GET", "/openapi.json", {}, None, None))
        assert status == 200, status
        self.contract = Contract(json.loads(body))
        self.maker = Maker(self.contract, self.rng)
        self.list = sorted(self.contract.operations(), key=lambda row: (row[1], row[0]))

    def send(self, request):
        for attempt in (1, 2):
            try:
                if self.link is None:
                    self.link = http.client.HTTPConnection(*self.where, timeout=self.timeout_s)
                self.link.putrequest(request.method, request.target, skip_accept_encoding=True)
                for name, value in request.headers.items():
                    self.link.putheader(name, value.encode("utf-8"))
                if request.body is not None:
                    self.link.putheader("Content-Length", str(len(request.body)))
                self.link.endheaders(request.body)
                answer = self.link.getresponse()
                body = answer.read()
                headers = {name.lower() for name, _ in answer.getheaders()}
                kind = (answer.getheader("Content-Type") or "").split(";")[0].strip()
                if answer.will_close:
                    self.link.close()
                    self.link = None
                return answer.status, (headers, kind), body
            except (ConnectionError, http.client.HTTPException):
                # an answer that came while the body was still being sent ends the connection
                self.link.close()
                self.link = None
                if attempt == 2:
                    raise

    # --- requests ---

    def path_of(self, path):
        def fill(match):
            name = match.group(1)
            seen = self.maker.seen.get(name)
            if name == "connector" and self.rng.random() < 0.5:
                return "shopify"
            if name == "topic" and self.rng.random() < 0.5:
                return "orders-create"
            if seen and self.rng.random() < 0.8:
                return urllib.parse.quote(str(self.rng.choice(seen)), safe="")
            chosen = self.rng.choice(["1", "none", "ord_x", "a:1", "erp-orders:7", "ä", "a b", "%", "x" * 300])
            return urllib.parse.quote(chosen, safe="")
        return re.sub(r"{([^}]+)}", fill, path)

    def query_of(self, operation):
        pairs, breaks = [], None
        for parameter in operation.get("parameters", []):
            parameter = self.contract.resolve(parameter)
            if parameter["in"] != "query":
                continue
            if not parameter["required"] and self.rng.random() < 0.6:
                continue
            schema = parameter["schema"]
            many = schema.get("type") == "array"
            inner = schema["items"] if many else schema
            for _ in range(self.rng.choice([1, 2]) if many else 1):
                value = self.maker.value(inner, parameter["name"])
                if parameter["name"] == "wait":
                    value = self.rng.choice([0, 1])
                if self.rng.random() < 0.15:
                    value = self.rng.choice([t for t in TEXTS if "\ud83d" not in t])
                    if inner.get("type") == "integer" and not re.fullmatch(r"\d+", value):
                        breaks = f"?{parameter['name']}={value[:20]!r} is no whole number"
                pairs.append((parameter["name"], value))
        if self.rng.random() < 0.05 and operation.get("x-scope"):
            pairs.append((self.rng.choice(["unknown", "Limit", "sku[]", ""]), "1"))
        return urllib.parse.urlencode(pairs), breaks

    def headers_of(self, operation):
        headers = {"Authorization": f"Bearer {self.key}"}
        for parameter in operation.get("parameters", []):
            parameter = self.contract.resolve(parameter)
            if parameter["in"] != "header" or self.rng.random() < 0.85:
                continue
            good = {"Idempotency-Key": f'"k{self.rng.randrange(50)}"', "If-Match": '"1"',
                    "Penstock-Wait-Seq": "1", "Last-Event-ID": "0",
                    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            bad = ["", "x" * 300, "-1", "ä", "*", '"', "1,2", "99999999999999999999"]
            headers[parameter["name"]] = (
                self.rng.choice(bad) if self.rng.random() < 0.5 else good.get(parameter["name"], "run"))
        return headers

    def body_of(self, operation, headers):
        """(bytes or None, why it must not be taken or None)"""
        rng = self.rng
        described = operation.get("requestBody")
        if not described:
            if rng.random() < 0.9:
                return None, None
            headers["Content-Type"] = "application/json"
            return rng.choice([b"", b"{}", b"null", b"{", b"x"]), None
        media = rng.choice(sorted(described["content"]))
        schema = described["content"][media]["schema"]
        headers["Content-Type"] = "application/json" if media == "*/*" else media
        if rng.random() < 0.04:
            headers["Content-Type"] = rng.choice(["text/plain", "application/xml", "", "a/b; c"])
        if media not in ("application/json", "application/x-ndjson"):
            return rng.choice([b"", b"grant_type=client_credentials", b"{}", b"a=%zz&a=1", b"\xff\xfe",
                               b"grant_type=client_credentials&client_id=a&client_secret=b"]), None
        one = schema.get("contentSchema", schema)
        if media == "application/x-ndjson":
            lines = [self.document(one)[0] for _ in range(rng.choice([0, 1, 2, 5]))]
            return b"\n".join(lines), None
        return self.document(one)

    def document(self, schema):
        rng, maker = self.rng, self.maker
        title = self.contract.resolve(schema).get("title")
        made = maker.order() if title == "order" and rng.random() < 0.5 else maker.value(schema)
        if rng.random() < 0.45:
            made = maker.broken(made)
        breaks = None
        faults = self.contract.faults(schema, without_null(made, schema, self.contract))
        if faults:
            breaks = faults[0]
        text = json.dumps(made, ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
        if rng.random() < 0.06:
            cut = rng.randrange(len(text) + 1)
            text = rng.choice([text[:cut], text + text, b"\xef\xbb\xbf" + text, text.replace(b"{", b"[", 1),
                               b"[" * 100, text.replace(b'":', b'":\xc3', 1)])
            try:
                json.loads(text.decode("utf-8"))
            except (ValueError, RecursionError):
                breaks = "it is no JSON"
        return text, breaks

    def request(self, method, path, operation):
        headers = self.headers_of(operation)
        query, breaks = self.query_of(operation)
        body, wrong = self.body_of(operation, headers)
        if operation.get("x-scope") and self.rng.random() < 0.02:
            headers["Authorization"] = self.rng.choice(["", "Bearer", "Bearer nobody", "Basic eDp5", "Bearer ä"])
            breaks = "nobody may"
        target = self.path_of(path)
        if target.startswith("/x/") and self.secret and body is not None and self.rng.random() < 0.7:
            digest = hmac.new(self.secret.encode(), body, hashlib.sha256).digest()
            headers["X-Shopify-Hmac-Sha256"] = base64.b64encode(digest).decode()
        if target == "/oauth2/token" and self.rng.random() < 0.3:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            key_id, _, secret = self.key.rpartition("_")
            body = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": key_id,
                                           "client_secret": self.rng.choice([self.key, secret]),
                                           "scope": self.rng.choice(["", "*", "orders:read", "no:such"])}
                                          ).encode()
        return Request(method, target + (f"?{query}" if query else ""), headers, body, breaks or wrong)

    # --- answers ---

    def find(self, what, request, status, body):
        self.findings.append(f"{what}\n    {request.curl(self.base)}\n    -> {status} "
                             f"{body[:1500].decode('utf-8', 'replace')}")

    def judge(self, method, path, operation, request, status, kind_headers, body):
        headers, kind = kind_headers
        self.counts[f"{method} {path}"] = self.counts.get(f"{method} {path}", {})
        per = self.counts[f"{method} {path}"]
        per[status] = per.get(status, 0) + 1
        if status >= 500:
            return self.find(f"{status}", request, status, body)
        # an argument of the path that is nothing makes it another path
        documented = operation["responses"].get(str(status))
        if not documented:
            return self.find(f"{status} is not documented", request, status, body)
        documented = self.contract.resolve(documented)
        unknown = headers - TRANSPORT - {name.lower() for name in documented.get("headers", {})}
        if unknown:
            self.find(f"headers that are not documented: {sorted(unknown)}", request, status, body)
        content = documented.get("content", {})
        if kind not in content:
            return self.find(f"media type {kind!r} is not documented", request, status, body)
        if kind.endswith("json") and kind != "application/x-ndjson":
            document = json.loads(body)
            faults = self.contract.faults(content[kind]["schema"], document)
            if faults:
                self.find(f"the answer is not as documented: {faults[:3]}", request, status, body)
            self.learn(document)
        elif kind == "application/x-ndjson":
            for line in body.splitlines():
                faults = self.contract.faults(content[kind]["schema"]["contentSchema"], json.loads(line))
                if faults:
                    self.find(f"a line is not as documented: {faults[:3]}", request, status, line)
        if status < 300 and request.breaks:
            self.find(f"taken although {request.breaks}", request, status, body)
        return None

    def learn(self, document):
        """Ids for later requests."""
        found = document.get("items", [document])[:3] if isinstance(document, dict) else []
        for one in found:
            for name in ("order_id", "reservation_id", "exception_id", "seq", "payload_id", "customer_id"):
                if isinstance(one, dict) and one.get(name):
                    known = self.maker.seen.setdefault(name, [])
                    known.append(one[name])
                    del known[:-40]

    def stock(self):
        for sku in SKUS:
            body = json.dumps({"sku": sku, "location": "WH-HAM", "on_hand": "1000000"}).encode()
            self.send(Request("POST", "/v1/stock/counts", {"Authorization": f"Bearer {self.key}",
                                                          "Content-Type": "application/json"}, body, None))

    def go(self, seconds, most=100000):
        self.stock()
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.sent < most and len(self.findings) < 20:
            method, path, operation = self.rng.choice(self.list)
            if path == "/ops/read-model/rebuild" and self.rng.random() < 0.9:
                continue
            request = self.request(method, path, operation)
            if request.headers.get("Accept") == "text/event-stream":
                continue
            status, headers, body = self.send(request)
            self.sent += 1
            self.judge(method, path, operation, request, status, headers, body)
        if self.link:
            self.link.close()
        return self


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("hub")
    parser.add_argument("key")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--secret", help="of the shopify connector's webhooks")
    given = parser.parse_args()
    run = Run(given.hub, given.key, given.seed, given.secret).go(given.seconds)
    for name in sorted(run.counts):
        print(f"{name}: {dict(sorted(run.counts[name].items()))}")
    print(f"seed {run.seed}: {run.sent} requests, {len(run.findings)} findings")
    print("\n".join(run.findings))
    return 1 if run.findings else 0


if __name__ == "__main__":
    sys.exit(main())
