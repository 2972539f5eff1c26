"""JSON at the door, strictly by RFC 8259: what is none is 400, what is one but no order is 422,
and no text at all is a 500. Our own cases; the JSON test suite too, where it lies beside us."""

import json

import pytest

from conftest import SUITES

NOT_JSON = [
    b"", b" ", b"[", b"]", b"{", b"}", b"[1", b"[1,", b"[1,]", b"[,1]", b"[1 2]", b"[1:2]",
    b'{"a"}', b'{"a":}', b'{"a":1,}', b'{,"a":1}', b'{a:1}', b"{'a':1}", b'{"a":1 "b":2}',
    b'{1:1}', b'{"a":1}x', b"[1]]", b"tru", b"True", b"nul", b"NULL", b"undefined", b"Infinity",
    b"-Infinity", b"NaN", b"-", b"+1", b"01", b"-01", b"1.", b".5", b"1e", b"1e+", b"0x10", b"1_0",
    b'"', b'"a', b'"\\"', b'"\\x"', b'"\\u12"', b'"\\u12g4"', b'"\n"', b'"\t"', b'"\0"', b"'a'",
    b"\xef\xbb\xbf[", b'"\xff"', b'"\xc3"', b'"\xe2\x82"', b'"\xf8\x88\x80\x80\x80"',
    b'"\xf4\x90\x80\x80"', b"// x\n1", b"/* x */ 1", b"[1]\0", b"\xa0[]", b"\x0c[]", b"<a/>",
    b'"\\ud800"', b'"\\udc00"', b'"\\ud800\\u0041"',
]
JSON = [
    b"null", b"true", b"0", b"-0", b"1.5e-300", b"1E400", b"123456789012345678901234567890",
    b'""', b'"\\u0000"', b'"\\ud83d\\ude00"', b'"\xf0\x9f\x98\x80"', b"[]", b"{}",
    b' \t\r\n{ "a" : [ ] } \n', b'{"":0}', b'{"a":1,"a":2}', b"[[[[[[[[]]]]]]]]",
]


def suite(prefix):
    folder = SUITES / "10-jsontestsuite"
    return sorted(folder.glob(prefix + "*.json")) if folder.is_dir() else []


def status(api, raw):
    answer = api.post("/v1/orders", raw=raw)
    assert answer.status < 500, answer
    answer.problem(answer.status)
    return answer.status


@pytest.mark.parametrize("raw", NOT_JSON, ids=repr)
def test_what_is_no_json(api, raw):
    assert status(api, raw) == 400


@pytest.mark.parametrize("raw", JSON, ids=repr)
def test_what_is_json_but_no_order(api, raw):
    assert status(api, raw) == 422


def test_the_suites_texts(api):
    """n_: to be refused; y_: to be read; i_: either, but with an answer."""
    wrong = []
    for prefix, expected in (("n_", {400, 413}), ("y_", {422}), ("i_", {400, 413, 422})):
        for path in suite(prefix):
            found = status(api, path.read_bytes())
            if found not in expected:
                wrong.append((path.name, found))
    assert not wrong


def test_what_schemas_of_the_suite_hold(api):
    """Any document at all, as it might come by mistake: refused with pointers, never a 500."""
    folder = SUITES / "10-json-schema-test-suite"
    documents = [json.loads(p.read_bytes()) for p in sorted(folder.rglob("*.json"))[:80]]
    for document in documents + [{"lines": [{"sku": None}]}, [1, 2], "x"]:
        assert status(api, json.dumps(document).encode()) in (413, 422)
