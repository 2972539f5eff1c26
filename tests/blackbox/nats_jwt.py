"""nats_jwt: an operator, an account and a user of NATS, as `nsc` would make them: keys, signed claims, and the
user's credentials file (docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt)."""

import base64
import hashlib
import json
import time

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PREFIX = {"operator": 14 << 3, "account": 0, "user": 20 << 3}
SEED = 18 << 3


def crc16(data):
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021) & 0xffff if crc & 0x8000 else crc << 1
    return crc


def base32(raw):
    return base64.b32encode(raw + crc16(raw).to_bytes(2, "little")).decode().rstrip("=")


def part(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Key:
    def __init__(self, kind):
        self.private, self.kind = Ed25519PrivateKey.generate(), PREFIX[kind]
        raw = serialization.Encoding.Raw
        self.public = base32(bytes([self.kind]) + self.private.public_key().public_bytes(
            raw, serialization.PublicFormat.Raw))
        seed = self.private.private_bytes(raw, serialization.PrivateFormat.Raw, serialization.NoEncryption())
        self.seed = base32(bytes([SEED | self.kind >> 5, (self.kind & 31) << 3]) + seed)

    def claim(self, name, subject, nats):
        body = {"iat": int(time.time()), "iss": self.public, "name": name, "sub": subject,
                "nats": {**nats, "version": 2}}
        digest = hashlib.sha256(json.dumps(body).encode()).digest()
        body["jti"] = base64.b32encode(digest).decode().rstrip("=")
        text = part(b'{"typ":"JWT","alg":"ed25519-nkey"}') + "." + part(json.dumps(body).encode())
        return text + "." + part(self.private.sign(text.encode()))


class Trust:
    """`config` is of the server; `creds()` of one user."""

    def __init__(self):
        self.operator, self.account = Key("operator"), Key("account")
        system = Key("account")
        limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True, "conn": -1,
                  "leaf": -1}
        of_operator = self.operator.claim("O", self.operator.public,
                                          {"type": "operator", "system_account": system.public})
        streams = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        accounts = {a.public: self.operator.claim(name, a.public, {"type": "account", "limits": {**limits, **more}})
                    for a, name, more in ((self.account, "A", streams), (system, "SYS", {}))}
        preload = "".join(f"  {name}: {jwt}\n" for name, jwt in accounts.items())
        self.config = (f"operator: {of_operator}\nsystem_account: {system.public}\nresolver: MEMORY\n"
                       f"resolver_preload: {{\n{preload}}}\n")

    def creds(self, known=True):
        """`known`: of the account that the server has, else of another one."""
        user, account = Key("user"), self.account if known else Key("account")
        jwt = account.claim("U", user.public, {"type": "user", "subs": -1, "data": -1, "payload": -1})
        return (f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
                f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n")
