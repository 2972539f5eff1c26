"""The demo against a real Tryton: it hangs, is stopped, is killed; then its books are read."""

import json
import os
import shutil

import pytest

import tryton
from conftest import ROOT

pytestmark = pytest.mark.skipif(not shutil.which("trytond-admin"), reason="no Tryton here: scripts/setup.sh peers")


def test_the_books_of_a_real_erp_agree(release_binary, tmp_path):
    done = release_binary.run("demo", "--erp", "tryton", "--fast", "--orders", "15", "--json", timeout_s=230, env={
        "TMPDIR": str(tmp_path), "PENSTOCK_PEERS": str(ROOT / "peers"), "TRYTON_HOME": str(tryton.HOME),
        "TRYTON_WORKERS": "2"})
    assert done.returncode == 0, done.stderr[-6000:]
    books = json.loads(done.stdout.strip().splitlines()[-1])
    assert books["agree"]
    assert sum(channel["erp"]["orders"] for channel in books["channels"]) == 15
    for words in ("hangs", "is stopped", "hub is killed", "Tryton is killed", "Tryton is back", "looked\nfor"):
        assert words in done.stderr, words
    assert not list(tmp_path.iterdir())
    assert not os.path.exists(tryton.HOME / "server.pid")


def test_without_the_script_it_says_what_to_do(release_binary, tmp_path):
    done = release_binary.run("demo", "--erp", "tryton", env={"PENSTOCK_PEERS": str(tmp_path)})
    assert done.returncode == 1 and "PENSTOCK_PEERS" in done.stderr
