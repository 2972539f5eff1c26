"""kafka: brokers for a test: librdkafka's mock cluster in a small program (tests/support/kafka_peer.c), or, where
KAFKA_BROKERS is set, those. What of a mock is asked for alone (faults) is skipped with real ones."""

import json
import os
import subprocess

import pytest

REAL = os.environ.get("KAFKA_BROKERS")


class Kafka:
    def __init__(self, binary):
        program = next((p for p in (binary.path.parent / "tests/unit/kafka-peer", binary.path.parent / "kafka-peer")
                        if p.exists()), None)
        if not program:
            pytest.skip("a build without Kafka")
        self.process = subprocess.Popen([str(program), *([REAL] if REAL else [])], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.brokers = self.process.stdout.readline().strip()
        self.url = f"kafka://{self.brokers}"

    def ask(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def topic(self, name, partitions=4):
        self.ask("topic", name, partitions)

    def put(self, topic, key, doc, ident="-"):
        body = doc if isinstance(doc, str) else json.dumps(doc)
        assert self.ask("put", topic, key, ident, body)["put"]

    def records(self, topic):
        return self.ask("dump", topic)

    def fail(self, api, *errors):
        if REAL:
            pytest.skip("real brokers do not fail when asked to")
        for error in errors:
            self.ask("fail", api, error)

    def down(self):
        self.fail(0)
        self.ask("down")

    def up(self):
        self.ask("up")

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)
