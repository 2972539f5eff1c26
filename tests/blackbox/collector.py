"""collector: an OpenTelemetry collector of the tests' own: OTLP/HTTP with JSON, read as strictly as
protobuf's JSON mapping wants it. `script` says what the next requests are answered with instead of 200."""

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SPAN_MEMBERS = {"traceId", "spanId", "parentSpanId", "flags", "name", "kind", "startTimeUnixNano",
                "endTimeUnixNano", "attributes", "droppedAttributesCount", "status"}
VALUE_KINDS = {"stringValue": str, "intValue": str, "boolValue": bool}


def attributes(items):
    """KeyValue messages as a dict; ints are texts in protobuf's JSON."""
    found = {}
    for item in items:
        assert set(item) == {"key", "value"} and len(item["value"]) == 1, item
        [(kind, value)] = item["value"].items()
        assert isinstance(value, VALUE_KINDS[kind]), item
        assert item["key"] not in found, f"twice: {item}"
        assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+", item["key"]), item
        found[item["key"]] = int(value) if kind == "intValue" else value
    return found


class Span:
    def __init__(self, doc, resource):
        assert set(doc) <= SPAN_MEMBERS, doc
        assert re.fullmatch("[0-9a-f]{32}", doc["traceId"]) and int(doc["traceId"], 16), doc
        assert re.fullmatch("[0-9a-f]{16}", doc["spanId"]) and int(doc["spanId"], 16), doc
        self.parent = doc.get("parentSpanId")
        assert self.parent is None or re.fullmatch("[0-9a-f]{16}", self.parent), doc
        assert type(doc["kind"]) is int and 1 <= doc["kind"] <= 5, doc
        assert type(doc.get("flags", 0)) is int
        for member in ("startTimeUnixNano", "endTimeUnixNano"):
            assert isinstance(doc[member], str) and re.fullmatch("[0-9]{19}", doc[member]), doc
        self.trace, self.id, self.name, self.kind = (
            doc["traceId"], doc["spanId"], doc["name"], doc["kind"])
        self.start, self.end = int(doc["startTimeUnixNano"]), int(doc["endTimeUnixNano"])
        assert self.start <= self.end and self.name, doc
        self.failed = doc.get("status", {}).get("code") == 2
        assert doc.get("status", {"code": 2}) == {"code": 2}, doc
        self.at = attributes(doc["attributes"])
        assert "droppedAttributesCount" not in doc, doc
        self.resource = resource

    def __repr__(self):
        return f"{self.name} {self.id} under {self.parent} {self.at}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        collector = self.server.collector
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        with collector.lock:
            todo = collector.script.pop(0) if collector.script else 200
            collector.requests.append((todo, self.path, dict(self.headers), raw))
            if todo == 200:
                collector.take(raw)
        self.send_response(todo)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


class Collector:
    def __init__(self):
        self.lock = threading.Lock()
        self.script, self.requests, self.spans, self.wrong = [], [], [], []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.collector = self
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def take(self, raw):
        try:
            doc = json.loads(raw)
            assert set(doc) == {"resourceSpans"}
            for group in doc["resourceSpans"]:
                assert set(group) == {"resource", "scopeSpans"} and set(group["resource"]) == {"attributes"}
                resource = attributes(group["resource"]["attributes"])
                for scope in group["scopeSpans"]:
                    assert set(scope) == {"scope", "spans"} and scope["scope"]["name"] == "penstock"
                    self.spans += [Span(span, resource) for span in scope["spans"]]
        except (AssertionError, KeyError, ValueError) as error:
            self.wrong.append(repr(error))

    def trace(self, trace_id):
        with self.lock:
            assert not self.wrong, self.wrong
            return [span for span in self.spans if span.trace == trace_id]

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def log(self):
        return "\n".join(map(repr, self.spans[-100:])) + "\n".join(self.wrong)
