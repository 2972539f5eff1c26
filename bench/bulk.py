"""Pushes a bulk body over a few plain connections and reads the answers beside it, with as
little work as Python allows, so that the hub is what is measured.

A body is prepared in full before the clock starts. A line counts when its result says 201.
"""
import socket
import threading
import time

READ_BYTES = 1 << 20
TAKEN = b'"status":201'


class Push(threading.Thread):
    """One connection: sends from this thread, reads in another."""

    def __init__(self, port, key, body, barrier):
        super().__init__()
        self.port, self.body, self.barrier = port, body, barrier
        self.head = (f"POST /v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                     f"Authorization: Bearer {key}\r\nContent-Type: application/x-ndjson\r\n"
                     f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n").encode()
        self.taken, self.answer_head, self.error = 0, b"", None

    def read(self, link):
        rest = b""
        try:
            while True:
                part = link.recv(READ_BYTES)
                if not part:
                    break
                if len(self.answer_head) < 400:
                    self.answer_head += part[:400]
                part = rest + part
                self.taken += part.count(TAKEN)
                # a mark cut in two is put together again, one found whole is not kept
                last = part.rfind(TAKEN)
                keep = min(len(TAKEN) - 1, len(part) if last < 0 else len(part) - last - len(TAKEN))
                rest = part[len(part) - keep:] if keep else b""
        except OSError as error:
            self.error = error

    def run(self):
        try:
            with socket.create_connection(("127.0.0.1", self.port)) as link:
                reader = threading.Thread(target=self.read, args=(link,))
                try:
                    self.barrier.wait()
                except threading.BrokenBarrierError:
                    return
                reader.start()
                try:
                    link.sendall(self.head)
                    link.sendall(self.body)
                except OSError as error:
                    self.error = error
                reader.join()
        except OSError as error:
            self.error = error
            self.barrier.abort()


def push(port, key, bodies):
    """Sends the bodies side by side; answers (lines taken, seconds, what went wrong or None)."""
    barrier = threading.Barrier(len(bodies) + 1)
    threads = [Push(port, key, body, barrier) for body in bodies]
    for thread in threads:
        thread.start()
    try:
        barrier.wait()
    except threading.BrokenBarrierError:
        return 0, 1, next((str(t.error) for t in threads if t.error), "no connection")
    began = time.monotonic()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    wrong = next((f"{t.error}" for t in threads if t.error), None)
    if not wrong:
        wrong = next((f"answer: {t.answer_head[:300]!r}" for t in threads
                      if not t.answer_head.startswith(b"HTTP/1.1 200")), None)
    return sum(t.taken for t in threads), seconds, wrong
