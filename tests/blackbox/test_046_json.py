"""JSON at the door, strictly by RFC 8259: what is none is 400, what is one but no order is 422,
and no text at all is a 500. Our own cases; the JSON test suite too, where it lies beside us."""

import json
import re

import pytest

from conftest import SUITES
from docs import stored

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


# What RFC 8259 leaves open, as the suite names it, and what the hub does: numbers of any size are
# read (they keep their text, and the member they stand in says what it takes); text that is not
# well-formed Unicode is not JSON, nor is UTF-16 or a byte order mark; 64 levels are the most.
CHOICES = {
    "number_double_huge_neg_exp": 422, "number_huge_exp": 422, "number_neg_int_huge_exp": 422,
    "number_pos_double_huge_exp": 422, "number_real_neg_overflow": 422, "number_real_pos_overflow": 422,
    "number_real_underflow": 422, "number_too_big_neg_int": 422, "number_too_big_pos_int": 422,
    "number_very_big_negative_int": 422, "object_key_lone_2nd_surrogate": 400,
    "string_1st_surrogate_but_2nd_missing": 400, "string_1st_valid_surrogate_2nd_invalid": 400,
    "string_UTF-16LE_with_BOM": 400, "string_UTF-8_invalid_sequence": 400,
    "string_UTF8_surrogate_U+D800": 400, "string_incomplete_surrogate_and_escape_valid": 400,
    "string_incomplete_surrogate_pair": 400, "string_incomplete_surrogates_escape_valid": 400,
    "string_invalid_lonely_surrogate": 400, "string_invalid_surrogate": 400,
    "string_invalid_utf-8": 400, "string_inverted_surrogates_U+1D11E": 400,
    "string_iso_latin_1": 400, "string_lone_second_surrogate": 400,
    "string_lone_utf8_continuation_byte": 400, "string_not_in_unicode_range": 400,
    "string_overlong_sequence_2_bytes": 400, "string_overlong_sequence_6_bytes": 400,
    "string_overlong_sequence_6_bytes_null": 400, "string_truncated-utf-8": 400,
    "string_utf16BE_no_BOM": 400, "string_utf16LE_no_BOM": 400,
    "structure_500_nested_arrays": 413, "structure_UTF-8_BOM_empty_object": 400,
}
PLACE = re.compile(r"line \d+, column \d+ \(byte \d+\)$")


def refusal(api, raw, path="/v1/orders"):
    answer = api.post(path, raw=raw)
    return answer.status, answer.problem(answer.status)


def test_the_suites_texts(api):
    """n_: refused, with the place; y_: read, though no order; i_: as CHOICES says."""
    before, wrong, tried = stored(api), [], 0
    for path in suite("n_"):
        status, problem = refusal(api, path.read_bytes())
        if status != 400 or not (PLACE.search(problem["detail"]) or problem["detail"].endswith("empty")):
            wrong.append((path.name, status, problem["detail"]))
        tried += 1
    for path in suite("y_"):
        status, problem = refusal(api, path.read_bytes())
        if status != 422 or not problem["errors"]:
            wrong.append((path.name, status))
        tried += 1
    for path in suite("i_"):
        status, problem = refusal(api, path.read_bytes())
        if status != CHOICES.get(path.stem[2:]):
            wrong.append((path.name, status))
        tried += 1
    print(f"{tried} texts of the suite")
    assert not wrong
    assert stored(api) == before


def test_a_name_twice_is_refused_at_any_depth(api):
    """RFC 8259 leaves it open; readers disagree, so the hub does not guess."""
    for text, pointer in [
            (b'{"channel":"a","channel":"a"}', "/channel"),
            (b'{"customer":{"name":"a","name":"b"}}', "/customer/name"),
            (b'{"ext":{"a":{"b":1,"b":1}}}', "/ext/a/b"),
            (b'{"ext":{"\\u0061":1,"a":1}}', "/ext/a"),
            (b'{"ext":[{"x":1},{"":0,"":0}]}', "/ext/1/")]:
        problem = api.post("/v1/orders", raw=text).problem(422)
        found = [e for e in problem["errors"] if e["pointer"] == pointer]
        assert found and "twice" in found[0]["detail"], problem


def test_what_schemas_of_the_suite_hold(api):
    """Any document at all, as it might come by mistake: refused with pointers, never a 500."""
    folder = SUITES / "10-json-schema-test-suite"
    documents = [json.loads(p.read_bytes()) for p in sorted(folder.rglob("*.json"))[:80]]
    for document in documents + [{"lines": [{"sku": None}]}, [1, 2], "x"]:
        assert status(api, json.dumps(document).encode()) in (413, 422)
