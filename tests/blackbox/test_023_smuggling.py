"""Requests that two programs in a row could read differently (RFC 9112 section 11.2): each is refused
with the status named here, the connection ends, nothing of it or behind it is carried out, and the
next caller is served. Behind every one stands a count of stock with a good key: it would show.

Names: CL.TE, TE.CL and so on say by which field the program in front, and by which we, would find
the end of the body. Where a form is clear and taken, TAKEN says what it means."""

import json
import shutil
import socket
import subprocess

import pytest

import docs
from wire import Connection, Gone, until


def connect(hub, timeout_s=20):
    return Connection(hub.host, hub.port, timeout_s)


def count_of(hub, sku, quantity=7):
    """A whole request that would be carried out."""
    body = json.dumps(docs.count(sku, quantity)).encode()
    return (f"POST /v1/stock/counts HTTP/1.1\r\nHost: {hub.host}\r\nAuthorization: Bearer {hub.key}"
            f"\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            ).encode() + body


def stored(hub):
    return docs.stored(hub.client())


POST = "POST /v1/stock/counts HTTP/1.1\r\n"
KEYED = POST + "Host: x\r\nAuthorization: Bearer KEY\r\nContent-Type: application/json\r\n"
CHUNKED = KEYED + "Transfer-Encoding: chunked\r\n\r\n"
GET = "GET /livez HTTP/1.1\r\n"

FRAMING = {
    # Content-Length and Transfer-Encoding together, in every order and disguise
    "CL.TE": (400, KEYED + "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
    "TE.CL": (400, KEYED + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\n{\r\n0\r\n\r\n"),
    "CL.TE with Content-Length: 0":
        (400, KEYED + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TE.TE, one of them no coding":
        (400, KEYED + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n"),
    "TE.TE, twice the same":
        (400, KEYED + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TE named twice in a list":
        (400, KEYED + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "TE with something behind it": (400, KEYED + "Transfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n"),
    "TE with a coding before it": (501, KEYED + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "TE identity": (400, KEYED + "Transfer-Encoding: identity\r\n\r\n"),
    "TE empty": (400, KEYED + "Transfer-Encoding:\r\n\r\n0\r\n\r\n"),
    "TE with a letter before": (400, KEYED + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "TE in quotes": (400, KEYED + 'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n'),
    "TE with a parameter": (400, KEYED + "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    "TE with a vertical tab": (400, KEYED + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "TE with a form feed": (400, KEYED + "Transfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n"),
    "TE with NUL": (400, KEYED + "Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    "TE with a no-break space": (400, KEYED + "Transfer-Encoding: \xa0chunked\r\n\r\n0\r\n\r\n"),
    "TE with space before the colon": (400, KEYED + "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    "TE with tab before the colon": (400, KEYED + "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    "TE behind a space": (400, KEYED + "X: y\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TE behind a bare LF": (400, KEYED + "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TE behind a bare CR": (400, KEYED + "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TE folded": (400, KEYED + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "TE with an underscore": (400, KEYED + "Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TE on HTTP/1.0": (400, KEYED.replace("HTTP/1.1", "HTTP/1.0")
                       + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TE on HTTP/1.0 with Content-Length":
        (400, KEYED.replace("HTTP/1.1", "HTTP/1.0")
         + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    # Content-Length alone
    "CL twice": (400, KEYED + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
    "CL twice and different": (400, KEYED + "Content-Length: 2\r\nContent-Length: 0\r\n\r\n{}"),
    "CL as a list": (400, KEYED + "Content-Length: 2, 2\r\n\r\n{}"),
    "CL with a sign": (400, KEYED + "Content-Length: +2\r\n\r\n{}"),
    "CL below 0": (400, KEYED + "Content-Length: -0\r\n\r\n"),
    "CL in hexadecimal": (400, KEYED + "Content-Length: 0x2\r\n\r\n{}"),
    "CL with a point": (400, KEYED + "Content-Length: 2.0\r\n\r\n{}"),
    "CL with an exponent": (400, KEYED + "Content-Length: 2e0\r\n\r\n{}"),
    "CL with an underscore in the number": (400, KEYED + "Content-Length: 1_0\r\n\r\n{}"),
    "CL with an underscore in the name": (400, KEYED + "Content_Length: 2\r\n\r\n{}"),
    "CL with a space within": (400, KEYED + "Content-Length: 1 0\r\n\r\n{}"),
    "CL empty": (400, KEYED + "Content-Length:\r\n\r\n{}"),
    "CL beyond 64 bits": (400, KEYED + "Content-Length: 18446744073709551618\r\n\r\n{}"),
    "CL with a NUL": (400, KEYED + "Content-Length: 2\0\r\n\r\n{}"),
    "CL in Arabic digits": (400, KEYED + "Content-Length: \u0662\r\n\r\n{}"),
    "CL with space before the colon": (400, KEYED + "Content-Length : 2\r\n\r\n{}"),
    "CL folded": (400, KEYED + "Content-Length:\r\n\t2\r\n\r\n{}"),
}

CHUNKS = {
    "size with a sign": (400, CHUNKED + "+2\r\n{}\r\n0\r\n\r\n"),
    "size below 0": (400, CHUNKED + "-2\r\n{}\r\n0\r\n\r\n"),
    "size with 0x": (400, CHUNKED + "0x2\r\n{}\r\n0\r\n\r\n"),
    "size empty": (400, CHUNKED + "\r\n{}\r\n0\r\n\r\n"),
    "size with a space before": (400, CHUNKED + " 2\r\n{}\r\n0\r\n\r\n"),
    "size with a space behind": (400, CHUNKED + "2 \r\n{}\r\n0\r\n\r\n"),
    "size with a tab behind": (400, CHUNKED + "2\t\r\n{}\r\n0\r\n\r\n"),
    "size with an underscore": (400, CHUNKED + "0_2\r\n{}\r\n0\r\n\r\n"),
    "size with a NUL": (400, CHUNKED + "2\0\r\n{}\r\n0\r\n\r\n"),
    "size beyond 64 bits": (400, CHUNKED + "10000000000000002\r\n{}\r\n0\r\n\r\n"),
    "size with a hundred zeros before it": (400, CHUNKED + "0" * 100 + "2\r\n{}\r\n0\r\n\r\n"),
    "bare LF after the size": (400, CHUNKED + "2\n{}\r\n0\r\n\r\n"),
    "bare CR after the size": (400, CHUNKED + "2\r{}\r\n0\r\n\r\n"),
    "CR CR LF after the size": (400, CHUNKED + "2\r\r\n{}\r\n0\r\n\r\n"),
    "bare LF after the data": (400, CHUNKED + "2\r\n{}\n0\r\n\r\n"),
    "bare CR after the data": (400, CHUNKED + "2\r\n{}\r0\r\n\r\n"),
    "nothing after the data": (400, CHUNKED + "2\r\n{}0\r\n\r\n"),
    "more data than the size": (400, CHUNKED + "2\r\n{}  \r\n0\r\n\r\n"),
    "bare LF after the last size": (400, CHUNKED + "2\r\n{}\r\n0\n\r\n"),
    "bare LF at the end": (400, CHUNKED + "2\r\n{}\r\n0\r\n\n"),
    "bare LF in an extension": (400, CHUNKED + "2;a\nb\r\n{}\r\n0\r\n\r\n"),
    "bare CR in an extension": (400, CHUNKED + "2;a\rb\r\n{}\r\n0\r\n\r\n"),
    "bare LF in a quoted extension": (400, CHUNKED + '2;a="\nb"\r\n{}\r\n0\r\n\r\n'),
    "CR LF in a quoted extension": (400, CHUNKED + '2;a="\r\n"\r\n{}\r\n0\r\n\r\n'),
    "NUL in an extension": (400, CHUNKED + "2;a=\0\r\n{}\r\n0\r\n\r\n"),
    "an extension without a name": (400, CHUNKED + "2;=x\r\n{}\r\n0\r\n\r\n"),
    "an extension without a semicolon": (400, CHUNKED + "2 a=x\r\n{}\r\n0\r\n\r\n"),
    "a long extension": (413, CHUNKED + "2;" + "a" * 20000 + "\r\n{}\r\n0\r\n\r\n"),
    "a thousand extensions": (413, CHUNKED + "2" + ";abcdefghijkl=mnopqrs" * 1000 + "\r\n{}\r\n0\r\n\r\n"),
    "one-byte chunks with extensions": (413, CHUNKED + ("1;" + "e" * 200 + "\r\n \r\n") * 200 + "0\r\n\r\n"),
    "trailer Content-Length": (400, CHUNKED + "2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n"),
    "trailer Transfer-Encoding": (400, CHUNKED + "2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "trailer Host": (400, CHUNKED + "2\r\n{}\r\n0\r\nHost: y\r\n\r\n"),
    "trailer Authorization": (400, CHUNKED + "2\r\n{}\r\n0\r\nAuthorization: Bearer x\r\n\r\n"),
    "trailer Content-Type": (400, CHUNKED + "2\r\n{}\r\n0\r\nContent-Type: a/b\r\n\r\n"),
    "trailer Content-Encoding": (400, CHUNKED + "2\r\n{}\r\n0\r\nContent-Encoding: gzip\r\n\r\n"),
    "trailer Idempotency-Key": (400, CHUNKED + "2\r\n{}\r\n0\r\nIdempotency-Key: 1\r\n\r\n"),
    "trailer that is a request": (400, CHUNKED + "2\r\n{}\r\n0\r\nGET /livez HTTP/1.1\r\n\r\n"),
    "trailer folded": (400, CHUNKED + "2\r\n{}\r\n0\r\nX: a\r\n b\r\n\r\n"),
    "trailer with space before the colon": (400, CHUNKED + "2\r\n{}\r\n0\r\nX : a\r\n\r\n"),
    "trailer without a name": (400, CHUNKED + "2\r\n{}\r\n0\r\n: a\r\n\r\n"),
    "trailer with NUL": (400, CHUNKED + "2\r\n{}\r\n0\r\nX: a\0\r\n\r\n"),
    "trailer with a bare LF": (400, CHUNKED + "2\r\n{}\r\n0\r\nX: a\n\r\n"),
    "trailer with a bare CR": (400, CHUNKED + "2\r\n{}\r\n0\r\nX: a\rb\r\n\r\n"),
    "too many trailers": (431, CHUNKED + "2\r\n{}\r\n0\r\n" + "X: a\r\n" * 200 + "\r\n"),
    "a long trailer": (431, CHUNKED + "2\r\n{}\r\n0\r\nX: " + "a" * 20000 + "\r\n\r\n"),
}

HEADS = {
    "bare LF everywhere": (400, "GET /livez HTTP/1.1\nHost: x\n\n"),
    "bare LF after the request line": (400, "GET /livez HTTP/1.1\nHost: x\r\n\r\n"),
    "bare LF as the empty line": (400, GET + "Host: x\r\n\n"),
    "CR CR LF": (400, GET + "Host: x\r\r\n\r\n"),
    "folded": (400, GET + "Host: x\r\nX-A: a\r\n b\r\n\r\n"),
    "folded first field": (400, GET + " Host: x\r\n\r\n"),
    "only a space on a line": (400, GET + "Host: x\r\n \r\n\r\n"),
    "space before the colon": (400, GET + "Host : x\r\n\r\n"),
    "no colon": (400, GET + "Host: x\r\nX-A\r\n\r\n"),
    "no name": (400, GET + "Host: x\r\n: y\r\n\r\n"),
    "space in a name": (400, GET + "Host: x\r\nX A: y\r\n\r\n"),
    "brackets in a name": (400, GET + "Host: x\r\nX[A]: y\r\n\r\n"),
    "a letter beyond ASCII in a name": (400, GET + "Host: x\r\nX-\xc4: y\r\n\r\n"),
    "NUL in a name": (400, GET + "Host: x\r\nX\0A: y\r\n\r\n"),
    "NUL in a value": (400, GET + "Host: x\r\nX-A: a\0b\r\n\r\n"),
    "escape in a value": (400, GET + "Host: x\r\nX-A: a\x1bb\r\n\r\n"),
    "delete in a value": (400, GET + "Host: x\r\nX-A: a\x7fb\r\n\r\n"),
    "no Host": (400, GET + "\r\n"),
    "two Hosts": (400, GET + "Host: x\r\nHost: y\r\n\r\n"),
    "two equal Hosts": (400, GET + "Host: x\r\nhost: x\r\n\r\n"),
    "empty Host": (400, GET + "Host:\r\n\r\n"),
    "Host with userinfo": (400, GET + "Host: u:p@x\r\n\r\n"),
    "Host with a path": (400, GET + "Host: x/livez\r\n\r\n"),
    "Host with a query": (400, GET + "Host: x?a\r\n\r\n"),
    "Host with a space": (400, GET + "Host: x y\r\n\r\n"),
    "Host that is a list": (400, GET + "Host: x,y\r\n\r\n"),
    "Host with a bad port": (400, GET + "Host: x:80a\r\n\r\n"),
    "Host with a port too high": (400, GET + "Host: x:65536\r\n\r\n"),
    "Host with two ports": (400, GET + "Host: x:80:80\r\n\r\n"),
    "Host with a lone bracket": (400, GET + "Host: [::1\r\n\r\n"),
    "Host with a bad address": (400, GET + "Host: [zz]\r\n\r\n"),
    "Host with something behind the bracket": (400, GET + "Host: [::1]x\r\n\r\n"),
    "Host of a port alone": (400, GET + "Host: :80\r\n\r\n"),
    "Host with a backslash": (400, GET + "Host: x\\y\r\n\r\n"),
    "absolute form of another host": (400, "GET http://y/livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "absolute form of another port": (400, "GET http://x:81/livez HTTP/1.1\r\nHost: x:80\r\n\r\n"),
    "absolute form with userinfo": (400, "GET http://u@x/livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "absolute form without host": (400, "GET http:///livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "absolute form without Host field": (400, "GET http://x/livez HTTP/1.1\r\n\r\n"),
    "absolute form of another scheme": (400, "GET ftp://x/livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "authority form": (400, "GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "asterisk form of GET": (400, "GET * HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a target without a slash": (400, "GET livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a fragment": (400, "GET /livez#x HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a fragment in absolute form": (400, "GET http://x/livez#x HTTP/1.1\r\nHost: x\r\n\r\n"),
    "NUL in the target": (400, "GET /livez\0 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a control character in the target": (400, "GET /li\x01vez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "delete in the target": (400, "GET /li\x7fvez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "beyond ASCII in the target": (400, "GET /livez?\xc4 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "a backslash in the target": (400, "GET /x\\..\\livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "two spaces": (400, "GET  /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "space at the end of the line": (400, "GET /livez HTTP/1.1 \r\nHost: x\r\n\r\n"),
    "space before the method": (400, " GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "tabs in the request line": (400, "GET\t/livez\tHTTP/1.1\r\nHost: x\r\n\r\n"),
    "two targets": (400, "GET /livez /readyz HTTP/1.1\r\nHost: x\r\n\r\n"),
    "no target": (400, "GET HTTP/1.1\r\nHost: x\r\n\r\n"),
    "method in lower case": (501, "get /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "method in brackets": (400, "[GET] /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "method unknown": (501, "FROB /livez HTTP/1.1\r\nHost: x\r\n\r\n"),
    "CONNECT": (400, "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n"),
    "HTTP/0.9": (400, "GET /livez\r\n"),
    "HTTP/0.9 by number": (505, "GET /livez HTTP/0.9\r\nHost: x\r\n\r\n"),
    "HTTP/1.2": (505, "GET /livez HTTP/1.2\r\nHost: x\r\n\r\n"),
    "HTTP/2.0": (505, "GET /livez HTTP/2.0\r\nHost: x\r\n\r\n"),
    "HTTP/2 preface": (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/01.1": (400, "GET /livez HTTP/01.1\r\nHost: x\r\n\r\n"),
    "HTTP/1.10": (400, "GET /livez HTTP/1.10\r\nHost: x\r\n\r\n"),
    "http/1.1": (400, "GET /livez http/1.1\r\nHost: x\r\n\r\n"),
    "ICE": (400, "SOURCE /livez ICE/1.0\r\nHost: x\r\n\r\n"),
    "RTSP": (400, "DESCRIBE /livez RTSP/1.0\r\nHost: x\r\n\r\n"),
    "TLS": (400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + "\x00" * 40 + "\r\n\r\n"),
    "five empty lines before": (400, "\r\n" * 5 + GET + "Host: x\r\n\r\n"),
    "Connection names Host": (400, GET + "Host: x\r\nConnection: Host\r\n\r\n"),
    "Connection names Content-Length":
        (400, KEYED + "Connection: close, Content-Length\r\nContent-Length: 2\r\n\r\n{}"),
    "Connection names Transfer-Encoding":
        (400, KEYED + "Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "Connection names Authorization":
        (400, KEYED + "Connection: authorization\r\nContent-Length: 2\r\n\r\n{}"),
    "Connection names Idempotency-Key":
        (400, KEYED + "Connection: Idempotency-Key\r\nIdempotency-Key: 1\r\nContent-Length: 2\r\n\r\n{}"),
    "two Content-Types":
        (400, KEYED + "Content-Type: application/x-ndjson\r\nContent-Length: 2\r\n\r\n{}"),
    "Expect of something else": (417, KEYED + "Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}"),
    "Expect disguised (0.CL)": (417, KEYED + "Expect: y 100-continue\r\nContent-Length: 2\r\n\r\n{}"),
    "Expect twice": (417, KEYED + "Expect: 100-continue\r\nExpect: x\r\nContent-Length: 2\r\n\r\n{}"),
}


def check_refused(hub, status, text):
    """Exactly this status, the end of the connection, and no effect."""
    before = stored(hub)
    data = text.replace("KEY", hub.key).encode("utf-8" if "\u0662" in text else "latin-1")
    with connect(hub) as c:
        try:
            c.send(data + count_of(hub, "SMUGGLED"))
        except Gone:
            pass  # refused while it was still being sent: the answer may be there all the same
        answer = c.read_answer(text[:400])
        answer.problem(status)
        assert answer.header("connection") == "close", answer
        assert c.at_end(), f"something follows {answer}"
    assert stored(hub) == before
    assert hub.client().get("/livez").status == 200


@pytest.mark.parametrize("name", FRAMING)
def test_010_where_the_body_ends_is_never_guessed(hub, name):
    check_refused(hub, *FRAMING[name])


@pytest.mark.parametrize("name", CHUNKS)
def test_020_chunks(hub, name):
    check_refused(hub, *CHUNKS[name])


@pytest.mark.parametrize("name", HEADS)
def test_030_heads(hub, name):
    check_refused(hub, *HEADS[name])


# What is clear, if odd, is taken: a form refused without need is an outage.
ONE = docs.count("TAKEN", 3)
BODY = json.dumps(ONE)
SIZE = f"{len(BODY):x}"
TAKEN = {
    "Transfer-Encoding in other case": KEYED + f"tRANSFER-eNCODING: Chunked\r\n\r\n{SIZE}\r\n{BODY}\r\n0\r\n\r\n",
    "spaces and tabs around values": KEYED + f"X-A: \t a \t\r\nContent-Length: \t {len(BODY)}\r\n\r\n{BODY}",
    "zeros before Content-Length": KEYED + f"Content-Length: 000{len(BODY)}\r\n\r\n{BODY}",
    "chunk sizes with zeros": CHUNKED + f"000{SIZE}\r\n{BODY}\r\n000\r\n\r\n",
    "chunk sizes in capitals": CHUNKED + f"{SIZE.upper()}\r\n{BODY}\r\n0\r\n\r\n",
    "chunk extensions": CHUNKED + f'{SIZE};a;b=c;d="e;\\" \t\xe9"\r\n{BODY}\r\n0;last\r\n\r\n',
    "chunk extensions with spaces": CHUNKED + f"{SIZE} ; a = b\r\n{BODY}\r\n0\r\n\r\n",
    "trailers": CHUNKED + f"{SIZE}\r\n{BODY}\r\n0\r\nX-Check: a\r\nX-Other:\r\n\r\n",
    "an empty line before": "\r\n" + KEYED + f"Content-Length: {len(BODY)}\r\n\r\n{BODY}",
    "absolute form": KEYED.replace("POST /v1", "POST HTTP://X/v1")
                     + f"Content-Length: {len(BODY)}\r\n\r\n{BODY}",
    "absolute form of https": KEYED.replace("POST /v1", "POST https://x/v1")
                              + f"Content-Length: {len(BODY)}\r\n\r\n{BODY}",
    "Upgrade to h2c": KEYED + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
                      "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"
                      f"Content-Length: {len(BODY)}\r\n\r\n{BODY}",
    "Upgrade to WebSocket": KEYED + "Connection: upgrade\r\nUpgrade: websocket\r\n"
                            f"Content-Length: {len(BODY)}\r\n\r\n{BODY}",
    "a byte beyond ASCII in a value": KEYED + f"X-A: \xe4\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}",
    "Host with a port": KEYED.replace("Host: x", "Host: x.example:8480")
                        + f"Content-Length: {len(BODY)}\r\n\r\n{BODY}",
    "Host that is an address": KEYED.replace("Host: x", "Host: [::1]:8480")
                               + f"Content-Length: {len(BODY)}\r\n\r\n{BODY}",
    "Expect": KEYED + f"Expect: 100-Continue\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}",
}


@pytest.mark.parametrize("name", TAKEN)
def test_040_what_is_clear_is_taken_and_the_next_request_too(hub, api, name):
    before = stored(hub)
    with connect(hub) as c:
        c.send(TAKEN[name].replace("KEY", hub.key).encode("latin-1")
               + b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = c.read_answer()
        if answer.status == 100:
            answer = c.read_answer()
        assert answer.status == 201, answer
        assert c.read_answer().json == {"alive": True}
        assert c.at_end()
    assert stored(hub) > before
    assert docs.stock(api, "TAKEN")[0] == "3"


def test_050_the_body_of_a_get_is_read_past(hub):
    """CL.0: a program in front that forwards a GET with its body must not find us reading the body
    as the next request."""
    before = stored(hub)
    inner = count_of(hub, "INNER")
    with connect(hub) as c:
        for path, status in (("/livez", 200), ("/v1/nothing", 404), ("/v1/orders", 401)):
            c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(inner)}\r\n\r\n".encode()
                   + inner)
            assert c.read_answer().status == status
            c.send(f"GET {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                   f"{len(inner):x}\r\n".encode() + inner + b"\r\n0\r\n\r\n")
            answer = c.read_answer()
            assert answer.status == status
            if answer.header("connection") == "close":  # refused, and its length unknown
                assert c.at_end()
                break
        else:
            pytest.fail("an early refusal over a chunked body must end the connection")
    assert stored(hub) == before


def test_051_a_body_refused_early_is_never_the_next_request(hub):
    """Whatever the answer says before the body has come: its bytes are counted past, or the
    connection ends."""
    before = stored(hub)
    inner = count_of(hub, "INNER")
    heads = [
        ("POST /v1/stock/counts HTTP/1.1\r\nHost: x\r\n", 401),
        ("POST /v1/nothing HTTP/1.1\r\nHost: x\r\n", 404),
        ("POST /livez HTTP/1.1\r\nHost: x\r\n", 405),
        ("TRACE /livez HTTP/1.1\r\nHost: x\r\n", 405),
        (KEYED.replace("KEY", hub.key).replace("application/json", "text/plain"), 415),
    ]
    for head, status in heads:
        with connect(hub) as c:
            c.send(head.encode() + f"Content-Length: {len(inner)}\r\n\r\n".encode())
            assert c.read_answer().status == status
            c.send(inner + b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            assert c.read_answer().json == {"alive": True}
    assert stored(hub) == before


def test_052_a_head_refused_that_expects_100_gets_no_100(hub):
    """And its connection ends: whether the body still comes is the client's to choose."""
    before = stored(hub)
    with connect(hub) as c:
        c.send(b"POST /v1/stock/counts HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
               b"Content-Length: 5\r\n\r\n")
        answer = c.read_answer()
        assert answer.status == 401 and answer.header("connection") == "close"
        c.send(count_of(hub, "AFTER-100"))
        assert c.at_end()
    assert stored(hub) == before


def test_053_no_100_for_http_1_0_or_where_no_body_is(hub):
    with connect(hub) as c:
        c.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n")
        assert c.read_answer().status == 200
        c.send(KEYED.replace("KEY", hub.key).replace("HTTP/1.1", "HTTP/1.0").encode()
               + f"Expect: 100-continue\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode())
        assert c.read_answer().status == 201
        assert c.at_end()


def test_054_connect_and_trace(hub):
    """No tunnel, nothing told of what was sent."""
    with connect(hub) as c:
        answer = c.request("TRACE", "/livez", [("X-Secret", "s3cr3t")])
        assert answer.status == 405 and b"s3cr3t" not in answer.body, answer
    with connect(hub) as c:
        c.send(b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n" + count_of(hub, "TUNNEL"))
        assert c.read_answer().status == 400
        assert c.at_end()


def test_055_connection_close_wins(hub):
    for head in ("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
                 "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
                 "GET /livez HTTP/1.0\r\nHost: x\r\nConnection: keep-alive, close\r\n\r\n",
                 "GET /livez HTTP/1.0\r\nHost: x\r\nConnection: close, keep-alive\r\n\r\n",
                 "GET /livez HTTP/1.0\r\nHost: x\r\nProxy-Connection: keep-alive\r\n\r\n"):
        with connect(hub) as c:
            c.send(head.encode())
            assert c.read_answer().status == 200
            assert c.at_end(), head


def test_056_dot_segments_and_encoded_slashes_lead_nowhere_else(hub):
    """A filter in front that looks at the path as it is written must not be walked around."""
    with connect(hub) as c:
        for path in ("/x/../metrics", "/x/%2e%2e/metrics", "/x/..%2fmetrics", "//metrics", "/./metrics",
                     "/%2fmetrics", "/x/..;/metrics", "/livez/..", "/metrics/"):
            answer = c.request("GET", path, [("Authorization", f"Bearer {hub.key}")])
            assert answer.status in (400, 404, 405), (path, answer)
        assert c.request("GET", "/livez").status == 200


def test_057_a_query_is_no_path(hub):
    """http://host?x=/livez asks for "/", not for "/livez"."""
    with connect(hub) as c:
        c.send(b"GET http://x?a=/livez HTTP/1.1\r\nHost: x\r\n\r\n")
        assert c.read_answer().status == 404


def test_060_every_cut_of_a_request_is_read_alike(hub):
    """In two pieces, at every byte: answered the same, with the next request behind it."""
    data = (CHUNKED.replace("KEY", hub.key)
            + f'{SIZE};a="b"\r\n{BODY}\r\n0\r\nX-T: a\r\n\r\n').encode()
    data += b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(hub) as c:
        c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in range(1, len(data)):
            c.send(data[:cut])
            c.send(data[cut:])
            assert c.read_answer().status == 201, data[:cut]
            assert c.read_answer().json == {"alive": True}


NGINX = """
daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log;
events {{}}
http {{
  access_log off; client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
  uwsgi_temp_path {dir}; scgi_temp_path {dir}; client_header_timeout 2s; client_body_timeout 2s;
  server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://127.0.0.1:{back}; }} }}
  server {{ listen 127.0.0.1:{back}; location / {{ return 201; }} }}
}}
"""


@pytest.fixture(scope="module")
def nginx(tmp_path_factory):
    """The address of an nginx that reads a request whole before it passes it on."""
    if not shutil.which("nginx"):
        pytest.skip("there is no nginx here")
    folder = tmp_path_factory.mktemp("nginx")
    with socket.create_server(("127.0.0.1", 0)) as a, socket.create_server(("127.0.0.1", 0)) as b:
        front, back = a.getsockname()[1], b.getsockname()[1]
    (folder / "conf").write_text(NGINX.format(dir=folder, front=front, back=back))
    process = subprocess.Popen(["nginx", "-c", folder / "conf", "-p", folder, "-e", folder / "error.log"])

    def listens():
        try:
            socket.create_connection(("127.0.0.1", front), 1).close()
            return True
        except OSError:
            return False
    try:
        until(listens, 10, "nginx")
        yield "127.0.0.1", front
    finally:
        process.kill()
        process.wait()


def test_070_no_laxer_than_nginx(nginx, hub):
    """The same bytes to both. What we refuse needs no look: only what we take and it does not."""
    laxer = set()
    for name, text in TAKEN.items():
        with Connection(*nginx) as c:
            c.send(text.replace("KEY", hub.key).encode("latin-1"))
            status = c.read_head()[0]
            if status == 100:
                status = c.read_head()[0]
            if status >= 400:
                laxer.add(name)
    # A tab before a length is right (RFC 9110 section 5.5); nginx does not take it.
    assert laxer == {"spaces and tabs around values"}, laxer
