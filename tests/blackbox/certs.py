"""certs: certificates made with the openssl command, and connections that speak TLS.

Owns: Authority (a CA in a folder), Pair (a certificate with its key), TlsConnection (wire.Connection
over TLS). Nothing here is kept beyond the test's folder.
"""

import socket
import ssl
import subprocess

import wire


def openssl(*args, input=None, check=True, timeout_s=30):
    done = subprocess.run(["openssl", *map(str, args)], input=input, capture_output=True,
                          timeout=timeout_s, check=False)
    assert not check or done.returncode == 0, done
    return done


class Pair:
    """Files of a certificate and its key."""

    def __init__(self, certificate, key):
        self.certificate, self.key = certificate, key

    def serial(self):
        return openssl("x509", "-in", self.certificate, "-noout", "-serial").stdout.strip()

    def fingerprint(self):
        text = openssl("x509", "-in", self.certificate, "-noout", "-fingerprint", "-sha256").stdout
        return text.decode().split("=")[1].strip().replace(":", "").lower()


class Authority:
    """A CA of its own folder."""

    def __init__(self, folder, name="Test CA"):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = folder / "ca.pem", folder / "ca.key"
        self.database = folder / "index.txt"
        self.database.write_text("")
        (folder / "crlnumber").write_text("01\n")
        (folder / "ca.conf").write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={self.database}\ncrlnumber={folder}/crlnumber\n"
            "default_md=sha256\ndefault_crl_days=30\nunique_subject=no\n")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-keyout", self.key, "-out", self.certificate, "-days", "30", "-subj", f"/CN={name}")

    def issue(self, name, *alternatives, days=30, rsa=False, subject=None):
        """A pair for these subject alternative names ("DNS:a.example", "IP:127.0.0.1" ...)."""
        stem = self.folder / name
        key, request, certificate = (stem.with_suffix(s) for s in (".key", ".csr", ".pem"))
        kind = ["rsa:2048"] if rsa else ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        openssl("req", "-new", "-newkey", *kind, "-nodes", "-keyout", key, "-out", request,
                "-subj", subject or f"/CN={name}")
        extensions = stem.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={','.join(alternatives)}\n" if alternatives else "")
        openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.key,
                "-CAcreateserial", "-days", days, "-out", certificate, "-extfile", extensions)
        return Pair(certificate, key)

    def crl(self, *revoked):
        """The list of what is revoked, with these added."""
        for pair in revoked:
            openssl("ca", "-config", self.folder / "ca.conf", "-revoke", pair.certificate,
                    "-keyfile", self.key, "-cert", self.certificate)
        out = self.folder / "ca.crl"
        openssl("ca", "-config", self.folder / "ca.conf", "-gencrl", "-keyfile", self.key, "-cert",
                self.certificate, "-out", out)
        return out


def client_context(authority, pair=None, version=None, alpn=None):
    context = ssl.create_default_context(cafile=str(authority.certificate))
    if version:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)
    if pair:
        context.load_cert_chain(str(pair.certificate), str(pair.key))
    return context


class TlsConnection(wire.Connection):
    """A connection over TLS. An end without close_notify is an error of reading (Gone)."""

    def __init__(self, port, context, name="localhost", timeout_s=30, session=None, source=None):
        self.raw = socket.create_connection(("127.0.0.1", port), timeout=timeout_s,
                                            source_address=source)
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.sock = context.wrap_socket(self.raw, server_hostname=name, session=session,
                                            suppress_ragged_eofs=False)
        except BaseException:
            self.raw.close()
            raise
        self.stream = self.sock.makefile("rb")
        self.host = f"localhost:{port}"
        self.closed = False

    def drop(self):
        """Closes the socket without a word of TLS."""
        self.closed = True
        self.stream.close()
        raw = socket.socket(fileno=self.sock.detach())
        raw.close()


class TlsClient(wire.Client):
    """JSON over TLS, one connection for each thread."""

    def __init__(self, port, context, key=None, timeout_s=30):
        super().__init__("localhost", port, key, timeout_s)
        self.context = context

    def connection(self):
        connection = getattr(self._local, "connection", None)
        if connection is None or connection.closed:
            try:
                connection = TlsConnection(self.port, self.context, timeout_s=self.timeout_s)
            except OSError as error:
                raise wire.Gone(str(error)) from error
            self._local.connection = connection
            self._open.append(connection)
        return connection
