"""flaky: a way to another system that loses things: a proxy for HTTP POSTs in front of it.

Owns: Flaky. What it does with the next requests is queued in `faults`: "drop" passes the request on and
loses the answer after the work is done, "refuse" breaks the connection before anything was passed
on, a function is called while the request is at work there. Otherwise it passes on. `target` may be set
when the other system is up.
"""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

# Not passed on: of the connection, or written by the server itself.
OWN_HEADERS = ("connection", "keep-alive", "transfer-encoding", "content-length", "date", "server")


class Flaky:
    def __init__(self, url):
        self.target = urlsplit(url)
        self.faults = []
        self.lock = threading.Lock()
        self.done = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # a client that went away
        self.url = f"http://127.0.0.1:{self.server.server_port}{self.target.path}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def take(self):
        with self.lock:
            return self.faults.pop(0) if self.faults else None

    def pass_on(self, path, body, headers):
        connection = http.client.HTTPConnection(self.target.hostname, self.target.port, timeout=60)
        try:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def handler(self):
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                fault = proxy.take()
                self.close_connection = True
                if fault == "refuse":
                    proxy.done.append(fault)
                    return
                if callable(fault):
                    threading.Thread(target=fault, daemon=True).start()
                try:
                    status, fields, text = proxy.pass_on(self.path, body, headers)
                except (OSError, http.client.HTTPException):
                    return
                if fault == "drop":
                    proxy.done.append(fault)
                    return
                try:
                    self.send_response(status)
                    for name, value in fields:
                        if name.lower() not in OWN_HEADERS:
                            self.send_header(name, value)
                    self.send_header("Content-Length", str(len(text)))
                    self.end_headers()
                    self.wfile.write(text)
                    self.close_connection = False
                except OSError:
                    self.close_connection = True

            def log_message(self, *args):
                pass

        return Handler
