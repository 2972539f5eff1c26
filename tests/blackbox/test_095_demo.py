"""The demo: a whole retailer on one machine; its last lines compare hub and ERP to the cent."""

import json
import re

import pytest


@pytest.fixture(scope="module")
def run(binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return binary.run("demo", "--fast", timeout_s=170, env={"TMPDIR": str(folder)}), folder


def test_hub_and_erp_agree(run):
    done, _ = run
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    last = "\n".join(done.stdout.splitlines()[-15:])
    assert re.search(r"\bagree", last), last


def test_it_tells_what_happens(run):
    out = run[0].stdout
    for channel in ("web-de", "web-fr", "store-S01", "store-S02", "store-S03"):
        assert re.search(rf"^{channel} +30 +\d+\.\d\d +30 ", out, re.M), channel
    assert re.search(r"down|outage", out) and re.search(r"back|again", out)
    assert re.search(r"\d+[.,]\d\d", out), "amounts to the cent"


def test_no_colours_where_nobody_looks(run):
    assert "\x1b[" not in run[0].stdout


def test_it_leaves_nothing_behind(run):
    left = [p for p in run[1].rglob("*") if p.is_file()]
    assert not left, left[:10]


def test_as_json(binary, tmp_path):
    done = binary.run("demo", "--fast", "--json", timeout_s=170, env={"TMPDIR": str(tmp_path)})
    assert done.returncode == 0, done.stderr[-4000:]
    doc = json.loads(done.stdout.strip().splitlines()[-1])
    assert doc["agree"] is True and doc["lost"] == doc["doubled"] == 0
    assert len(doc["channels"]) == 5 and all(c["hub"] == c["erp"] == c["sold"] for c in doc["channels"])
