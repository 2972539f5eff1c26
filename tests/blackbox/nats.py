"""nats: a real nats-server with JetStream on, for a test's own use, a small client of its protocol, and a way to
it that can be cut.

Owns: Server (one process, its data in a folder of its own; survives stop and start), Nats (a connection), Cut (a
proxy for bytes that can lose what the server answers). Every wait is bounded.
"""

import base64
import json
import shutil
import socket
import subprocess
import threading
import time

from wire import until

PROGRAM = shutil.which("nats-server") or "/usr/sbin/nats-server"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    def __init__(self, folder, config=""):
        self.folder, self.port, self.process = folder, free_port(), None
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "nats.conf"
        self.file.write_text(f'host: 127.0.0.1\nport: {self.port}\nserver_name: t\n'
                             f'jetstream {{ store_dir: "{folder}/data", max_mem: 64M, max_file: 256M }}\n{config}')
        self.url = f"nats://127.0.0.1:{self.port}"

    def start(self):
        log = open(self.folder / "nats.log", "ab")
        self.process = subprocess.Popen([PROGRAM, "-c", str(self.file)], stdout=log, stderr=log)
        log.close()
        until(self.answers, 10, "nats-server")
        return self

    def answers(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                return s.recv(5) == b"INFO "
        except OSError:
            return False

    def stop(self):
        if self.process:
            self.process.kill()
            self.process.wait(10)
        self.process = None

    def client(self, tls=None, **more):
        return Nats(self.port, tls, **more)


class Nats:
    """One connection; requests wait for their reply. Not for use by two threads."""

    def __init__(self, port, tls=None, **connect):
        """`tls`: a context; who the server is, it says in plain text first."""
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        info = b""
        while not info.endswith(b"\r\n"):
            info += self.socket.recv(1)
        self.info = json.loads(info.split(b" ", 1)[1])
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.file, self.number = self.socket.makefile("rb"), 0
        self.inbox = f"_IN{self.socket.getsockname()[1]}"
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True, "lang": "py", **connect}
        self.send(b"CONNECT " + json.dumps(options).encode() + b"\r\n" +
                  f"SUB {self.inbox}.> 1\r\nPING\r\n".encode())
        while self.file.readline() != b"PONG\r\n":
            pass

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def message(self):
        while True:
            line = self.file.readline().split()
            assert line, "the server closed the connection"
            if line[0] == b"PING":
                self.send(b"PONG\r\n")
            if line[0] in (b"MSG", b"HMSG"):
                raw = self.file.read(int(line[-1]) + 2)[:-2]
                head = int(line[-2]) if line[0] == b"HMSG" else 0
                return line[1].decode(), raw[:head].decode(), raw[head:]
            assert line[0] != b"-ERR", line

    def request(self, subject, body=b"", headers=None):
        self.number += 1
        inbox = f"{self.inbox}.{self.number}"
        head = "NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in (headers or {}).items()) + "\r\n"
        raw = head.encode() + body
        self.send(f"HPUB {subject} {inbox} {len(head.encode())} {len(raw)}\r\n".encode() + raw + b"\r\n")
        while True:
            to, head, body = self.message()
            if to == inbox:
                assert " 503" not in head.split("\r\n")[0], f"nobody answers {subject}"
                return body

    def api(self, what, doc=None):
        done = json.loads(self.request(f"$JS.API.{what}", json.dumps(doc).encode() if doc is not None else b""))
        assert "error" not in done, (what, done)
        return done

    def stream(self, name, *subjects, **more):
        return self.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": list(subjects), "storage": "file",
                                                  "retention": "limits", "num_replicas": 1, **more})

    def publish(self, subject, doc, **headers):
        body = doc if isinstance(doc, bytes) else json.dumps(doc).encode()
        ack = json.loads(self.request(subject, body, {k.replace("_", "-"): v for k, v in headers.items()}))
        assert "error" not in ack, ack
        return ack

    def count(self, name):
        return self.api(f"STREAM.INFO.{name}")["state"]["messages"]

    def messages(self, name):
        """All of a stream: (subject, headers, document)."""
        state = self.api(f"STREAM.INFO.{name}")["state"]
        found = []
        for seq in range(max(1, state["first_seq"]), state["last_seq"] + 1):
            m = self.api(f"STREAM.MSG.GET.{name}", {"seq": seq})["message"]
            head = base64.b64decode(m.get("hdrs", "")).decode().split("\r\n")[1:]
            pairs = dict(line.split(": ", 1) for line in head if ": " in line)
            found.append((m["subject"], pairs, json.loads(base64.b64decode(m.get("data", "")) or b"null")))
        return found


class Cut:
    """Passes bytes on. `silent`: nothing the server says comes back, and the connection ends a moment later."""

    def __init__(self, port):
        self.target, self.silent, self.lost, self.pairs = port, False, 0, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"nats://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                if self.listener.fileno() < 0:
                    return
                near.close()
                continue
            self.pairs.append((near, far))
            threading.Thread(target=self.pump, args=(near, far, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, True), daemon=True).start()

    def pump(self, source, sink, answers):
        try:
            while data := source.recv(65536):
                if answers and self.silent:
                    self.lost += 1
                    time.sleep(0.1)
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
        for pair in self.pairs:
            for end in pair:
                end.close()
