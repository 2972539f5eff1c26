"""provider: an identity provider that people sign in at (OpenID Connect, code flow with PKCE), on
top of idp.Idp; and a browser small enough for it. What a test wants to go wrong it says with
`lie` (claims of the next ID token), `sign` (what makes the token of the claims) and `answer` (what the token
endpoint answers instead).
"""

import base64
import hashlib
import re
import urllib.parse

from idp import Idp, b64, encode

CLIENT, SECRET = "penstock-hub", "s3cret & +more"


class Provider(Idp):
    def __init__(self, name="staff"):
        self.codes, self.tokens_asked, self.metadata_asked = {}, 0, 0
        self.person = {"sub": "u-1", "preferred_username": "ann", "groups": ["admins"]}
        self.lie, self.sign, self.answer, self.metadata_lie = {}, None, None, {}
        self.asleep = False
        super().__init__(name, CLIENT)

    def metadata(self):
        doc = {"issuer": self.issuer, "authorization_endpoint": f"{self.url}/authorize?tenant=1",
               "token_endpoint": f"{self.url}/token", "jwks_uri": f"{self.url}/keys", **self.metadata_lie}
        return {name: value for name, value in doc.items() if value is not None}

    def answer_get(self, request):
        if self.asleep:
            request.close_connection = True
        elif request.path == "/.well-known/openid-configuration":
            self.metadata_asked += 1
            self.reply(request, 200, self.metadata())
        else:
            super().answer_get(request)

    def consent(self, url):
        """The person at the authorization endpoint says yes: what comes back with the browser."""
        asked = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query, strict_parsing=True))
        assert asked["tenant"] == "1" and asked["response_type"] == "code"
        assert asked["client_id"] == CLIENT and asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        for word in ("state", "nonce", "code_challenge"):
            assert re.fullmatch(r"[A-Za-z0-9_-]{43}", asked[word])
        assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
        code = f"code/{len(self.codes)}+é"
        self.codes[code] = {**asked, "used": False}
        return {"code": code, "state": asked["state"]}

    def answer_post(self, request):
        body = request.rfile.read(int(request.headers["Content-Length"])).decode()
        if self.asleep:
            request.close_connection = True
            return
        self.tokens_asked += 1
        form = dict(urllib.parse.parse_qsl(body, strict_parsing=True))
        kind, _, basic = request.headers.get("Authorization", "").partition(" ")
        client, _, secret = base64.b64decode(basic).decode().partition(":")
        asked = self.codes.get(form.get("code"))
        verifier = b64(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if self.answer:
            self.reply(request, *self.answer)
        elif (kind, urllib.parse.unquote(client), urllib.parse.unquote(secret)) != \
                ("Basic", CLIENT, SECRET):
            self.reply(request, 401, {"error": "invalid_client"})
        elif (not asked or asked["used"] or form["grant_type"] != "authorization_code"
              or form["redirect_uri"] != asked["redirect_uri"] or verifier != asked["code_challenge"]):
            self.reply(request, 400, {"error": "invalid_grant", "error_description": "no such code"})
        else:
            asked["used"] = True
            self.reply(request, 200, {"token_type": "Bearer", "access_token": "at-1", "expires_in": 60,
                                      "id_token": self.id_token(asked["nonce"])})

    def id_token(self, nonce):
        claims = self.claims(**{"scope": None, "aud": CLIENT, "nonce": nonce, **self.person,
                                "at_hash": b64(hashlib.sha256(b"at-1").digest()[:16]), **self.lie})
        if self.sign:
            return self.sign(claims)
        return encode({"alg": self.key.alg, "kid": self.key.kid}, claims, self.key.sign)

    def section(self, hub_url, **more):
        """Its part of `auth`."""
        doc = {"name": self.name, "issuer": self.issuer, "client_id": CLIENT,
               "client_secret": "${env:STAFF_SECRET}", "url": hub_url,
               "scopes": {"admins": ["*"], "readers": ["events:read"]}, **more}
        return {name: value for name, value in doc.items() if value is not None}


class Browser:
    """Keeps cookies; follows nothing by itself."""

    def __init__(self, hub):
        self.client, self.cookies, self.flags = hub.client(key=None), {}, {}

    def call(self, method, path, doc=None, headers=None):
        fields = dict(headers or {})
        if self.cookies:
            fields["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        answer = self.client.call(method, path, doc, headers=fields)
        for name, value, flags in re.findall(r"(\w[\w-]*penstock_\w+|penstock_\w+)=([^;,]*);([^,]*)",
                                             answer.header("set-cookie") or ""):
            self.flags[name] = flags
            if "Max-Age=0" in flags:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return answer

    def get(self, path, **kw):
        return self.call("GET", path, **kw)

    def post(self, path, doc=None, **kw):
        return self.call("POST", path, doc, **kw)

    def begin(self, query=""):
        answer = self.get(f"/ops/login{query}")
        assert answer.status == 302, answer
        assert answer.header("cache-control") == "no-store"
        return answer.header("location")

    def back(self, **values):
        return self.get("/ops/callback?" + urllib.parse.urlencode(values))

    def sign_in(self, provider, query=""):
        return self.back(**provider.consent(self.begin(query)))
