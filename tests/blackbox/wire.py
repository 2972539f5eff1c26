"""wire: HTTP/1.1 as the tests speak it: one connection, raw bytes where a test wants them.

Owns: Connection (a socket, keep-alive), Answer (what came back), Client (JSON, one key).
Holds always: every read has a deadline; nothing is retried behind the caller's back, because a
test that counts effects must know what was sent.
"""

import json
import socket
import threading
import time

DEADLINE_S = 30.0


class Gone(Exception):
    """The peer closed or reset the connection before a whole answer was there."""


class Headers(dict):
    """Header fields, names in lower case; of a repeated field the values are joined by comma."""

    def add(self, name, value):
        name = name.lower()
        self[name] = f"{self[name]}, {value}" if name in self else value


class Answer:
    """One HTTP answer. `request` says what it answers, for messages."""

    def __init__(self, status, reason, headers, body, request):
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.request = request

    def header(self, name):
        return self.headers.get(name.lower())

    @property
    def json(self):
        return json.loads(self.body.decode("utf-8"))

    @property
    def lines(self):
        """The documents of an NDJSON body."""
        return [json.loads(line) for line in self.body.decode("utf-8").splitlines() if line]

    @property
    def seq(self):
        return int(self.headers["penstock-seq"])

    def __repr__(self):
        return f"{self.request} -> {self.status} {self.headers} {self.body[:2000]!r}"

    def ok(self, *statuses):
        """The JSON of an answer that must have one of these statuses (200 where none named)."""
        assert self.status in (statuses or (200,)), repr(self)
        return self.json

    def problem(self, status, pointers=None, slug=None):
        """Checks a problem document (RFC 9457) and answers it. `pointers`: all of them must be
        named, and no other, where given."""
        assert self.status == status, repr(self)
        kind = (self.header("content-type") or "").split(";")[0]
        assert kind == "application/problem+json", repr(self)
        doc = self.json
        for member in ("type", "title", "status", "detail", "correlation_id"):
            assert member in doc, f"{member} missing: {self!r}"
        assert doc["status"] == status, repr(self)
        assert doc["title"] and doc["type"], repr(self)
        for item in doc.get("errors", []):
            assert set(item) >= {"pointer", "detail"} and item["detail"], repr(self)
        if pointers is not None:
            found = sorted({item["pointer"] for item in doc.get("errors", [])})
            assert found == sorted(set(pointers)), f"pointers {found}: {self!r}"
        if slug is not None:
            assert doc["type"].rstrip("/").endswith(slug), repr(self)
        return doc


class Connection:
    """One TCP connection. Not for two threads at once."""

    def __init__(self, host, port, timeout_s=DEADLINE_S):
        self.sock = socket.create_connection((host, port), timeout=timeout_s)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.sock.makefile("rb")
        self.host = f"{host}:{port}"
        self.closed = False

    def close(self):
        if not self.closed:
            self.closed = True
            self.stream.close()
            self.sock.close()

    def __del__(self):
        """One that a test left in the traceback of an expected failure is closed with it."""
        if not getattr(self, "closed", True):
            self.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, data):
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone(str(error)) from error

    def _line(self):
        line = self.stream.readline(65537)
        if not line.endswith(b"\n"):
            raise Gone(f"closed within {line!r}")
        return line.rstrip(b"\r\n")

    def _exactly(self, count):
        data = self.stream.read(count)
        if len(data) != count:
            raise Gone(f"closed after {len(data)} of {count} bytes of the body")
        return data

    def read_head(self):
        """Status line and header section: (status, reason, Headers)."""
        try:
            first = self._line()
            version, status, reason = (first.split(b" ", 2) + [b""])[:3]
            assert version == b"HTTP/1.1", f"not an HTTP/1.1 answer: {first!r}"
            headers = Headers()
            while True:
                line = self._line()
                if not line:
                    return int(status), reason.decode(), headers
                name, _, value = line.partition(b":")
                headers.add(name.decode(), value.strip().decode())
        except OSError as error:
            raise Gone(str(error) or type(error).__name__) from error

    def read_chunk(self):
        """The next chunk of a chunked body, b"" at its end."""
        try:
            size = int(self._line().split(b";")[0], 16)
            data = self._exactly(size) if size else b""
            assert self._line() == b""
            return data
        except OSError as error:
            raise Gone(str(error) or type(error).__name__) from error

    def read_answer(self, request="", method="GET"):
        status, reason, headers = self.read_head()
        try:
            if method == "HEAD" or status in (204, 304) or 100 <= status < 200:
                body = b""
            elif "chunked" in headers.get("transfer-encoding", ""):
                body = b"".join(iter(self.read_chunk, b""))
            elif "content-length" in headers:
                body = self._exactly(int(headers["content-length"]))
            else:
                body = self.stream.read()
        except OSError as error:
            raise Gone(str(error) or type(error).__name__) from error
        return Answer(status, reason, headers, body, request)

    def at_end(self, timeout_s=DEADLINE_S):
        """True where the peer closes without sending anything more."""
        self.sock.settimeout(timeout_s)
        try:
            return self.stream.read(1) == b""
        except ConnectionError:
            return True
        except OSError:
            return False

    def head(self, method, path, headers, length):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def request(self, method, path, headers=(), body=None):
        data = self.head(method, path, headers, None if body is None else len(body))
        self.send(data + (body or b""))
        return self.read_answer(f"{method} {path} {(body or b'')[:600]!r}", method)


class Client:
    """JSON over connections that are kept, one for each thread. Opens a new one where the last
    answer closed it or the last call failed."""

    def __init__(self, host, port, key=None, timeout_s=DEADLINE_S, hub=True):
        self.host, self.port, self.key, self.timeout_s = host, port, key, timeout_s
        self.hub = hub  # else the peer owes no correlation id
        self._local = threading.local()
        self._open = []

    def connection(self):
        connection = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            try:
                connection = Connection(self.host, self.port, self.timeout_s)
            except OSError as error:
                raise Gone(str(error)) from error
            self._local.connection = connection
            self._open.append(connection)
        return connection

    def close(self):
        for connection in self._open:
            connection.close()
        self._open.clear()

    def call(self, method, path, doc=None, *, raw=None, headers=None, key=..., media=None):
        """`doc` is sent as JSON, `raw` as it is. `key=None` sends no Authorization."""
        connection = self.connection()
        fields = []
        key = self.key if key is ... else key
        if key is not None:
            fields.append(("Authorization", f"Bearer {key}"))
        body = raw
        if doc is not None:
            body = json.dumps(doc, ensure_ascii=False, separators=(",", ":")).encode()
        given = {name.lower() for name in headers or {}}
        if body is not None and "content-type" not in given:
            fields.append(("Content-Type", media or "application/json"))
        if body is None and method in ("POST", "PUT", "PATCH"):
            body = b""
        fields += list((headers or {}).items())
        try:
            answer = connection.request(method, path, fields, body)
        except BaseException:
            connection.close()
            raise
        if "close" in (answer.header("connection") or "").lower():
            connection.close()
        if self.hub:
            assert answer.header("penstock-correlation-id"), f"no correlation id: {answer!r}"
        return answer

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def post(self, path, doc=None, **kw):
        return self.call("POST", path, doc, **kw)

    def put(self, path, doc=None, **kw):
        return self.call("PUT", path, doc, **kw)

    def delete(self, path, **kw):
        return self.call("DELETE", path, **kw)

    def bulk(self, path, docs, **kw):
        """NDJSON; `docs` are documents, or bytes for a line as it is."""
        lines = [d if isinstance(d, bytes) else json.dumps(d).encode() for d in docs]
        return self.post(path, raw=b"\n".join(lines) + b"\n", media="application/x-ndjson", **kw)


def until(question, timeout_s=DEADLINE_S, what="the condition"):
    """Asks again until the answer is true, and returns it; fails with `what` at the deadline."""
    deadline = time.monotonic() + timeout_s
    pause_s = 0.002
    while True:
        found = question()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)
