"""Contracts: what is promised is printed, and what a release promised is kept."""

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def snapshot(binary):
    return json.loads(binary.ok("contracts", "export"))


@pytest.fixture
def against(binary, tmp_path):
    """Compares the program with a snapshot: exit code and findings."""
    def run(release, *args):
        path = tmp_path / "release.json"
        path.write_text(json.dumps(release), "utf-8")
        done = binary.run("check", "--against", path, "--json", *args)
        return done.returncode, json.loads(done.stdout)
    return run


def test_the_last_release_is_kept(binary):
    """What runs in continuous integration: nothing that the last release promised is broken. The
    last release is the newest tag that carries a snapshot, else the one in the tree."""
    accept = ROOT / "contracts" / "accepted.txt"
    args = ["--accept", accept]
    tag = None
    if shutil.which("git"):
        found = subprocess.run(["git", "-C", ROOT, "describe", "--tags", "--abbrev=0"],
                               capture_output=True, text=True, check=False)
        tag = found.stdout.strip() if found.returncode == 0 else None
    name = f"contracts/{tag.removeprefix('v')}.json" if tag else None
    shown = tag and subprocess.run(["git", "-C", ROOT, "show", f"{tag}:{name}"],
                                   capture_output=True, text=True, check=False)
    if shown and shown.returncode == 0:
        done = binary.run("check", "--against", "-", *args, input=shown.stdout)
    else:
        done = binary.run("check", "--against", ROOT / "contracts", *args)
    assert done.returncode == 0, (
        f"{done.stdout}{done.stderr}\nA change that was agreed with those it breaks goes into {accept}")


def test_export_is_the_same_each_time(binary):
    assert binary.ok("contracts", "export") == binary.ok("contracts", "export")


def test_the_program_keeps_its_own_word(against, snapshot):
    code, said = against(snapshot)
    assert (code, said["ok"], said["items"]) == (0, True, [])


def test_breaking_changes_are_refused_with_owner_and_remedy(against, snapshot):
    release = copy.deepcopy(snapshot)
    order = release["shapes"]["order"]["members"]
    order["channel"]["max"] += 1
    order["colour"] = {"kind": "text", "max": 10}
    del order["currency"]["required"]
    release["shapes"]["order_document"]["members"]["mood"] = {"kind": "text", "max": 10}
    release["routes"]["POST /v1/orders/{order_id}/praise"] = {"status": 200, "contract": "orders"}
    release["routes"]["GET /v1/orders"]["scope"] = "orders:peek"
    release["routes"]["POST /v1/stock/counts"]["status"] = 200
    release["routes"]["GET /v1/availability"]["params"]["members"]["shop"] = {"kind": "text", "max": 9}
    release["events"]["order.praised"] = {"contract": "orders"}
    code, said = against(release)
    found = {(item["rule"], item["place"]) for item in said["items"] if not item["passes"]}
    assert code == 1 and not said["ok"]
    assert found >= {
        ("bound-narrowed", "POST /v1/orders body /channel"),
        ("member-removed", "POST /v1/orders body /colour"),
        ("member-required", "POST /v1/orders body /currency"),
        ("member-removed", "GET /v1/orders/{order_id} answer /mood"),
        ("route-removed", "POST /v1/orders/{order_id}/praise"),
        ("scope-changed", "GET /v1/orders"),
        ("status-changed", "POST /v1/stock/counts"),
        ("param-removed", "GET /v1/availability ?shop"),
        ("member-removed", "event order.captured data /order/colour"),
        ("event-removed", "event order.praised"),
    }
    for item in said["items"]:
        assert item["contract"] and item["owner"] and item["breaks"] and item["instead"], item


def test_additions_pass(against, snapshot):
    """A release without a member, a parameter, a route and an event that are here now."""
    release = copy.deepcopy(snapshot)
    del release["shapes"]["order"]["members"]["ext"]
    del release["shapes"]["order_answer"]["members"]["version"]
    del release["routes"]["GET /v1/orders"]["params"]["members"]["state"]
    del release["routes"]["POST /v1/reservations"]
    del release["events"]["stock.counted"]
    code, said = against(release)
    assert (code, said["items"]) == (0, [])


def test_changes_of_drafts_pass_and_so_does_what_was_agreed(binary, against, snapshot, tmp_path):
    release = copy.deepcopy(snapshot)
    release["contracts"]["operations"]["status"] = "draft"
    release["routes"]["GET /ops/gossip"] = {"status": 200, "contract": "operations"}
    code, said = against(release)
    assert code == 0 and said["items"][0]["passes"] == "a draft promises nothing"

    release["events"]["order.praised"] = {"contract": "orders"}
    assert against(release)[0] == 1
    assert against(release, "--allow", "event-removed")[0] == 0
    agreed = tmp_path / "agreed"
    agreed.write_text("# none\nevent-removed event order.praised # nobody followed it\n", "utf-8")
    code, said = against(release, "--accept", agreed)
    assert code == 0 and "nobody followed it" in [item["passes"] for item in said["items"]]
    agreed.write_text("event-removed event order.blamed # another\n", "utf-8")
    assert against(release, "--accept", agreed)[0] == 1
    assert "no rule fun" in binary.run("check", "--against", ROOT / "contracts", "--allow", "fun").stderr


def test_what_has_passed_its_sunset_may_go(against, snapshot):
    release = copy.deepcopy(snapshot)
    release["contracts"]["praise"] = {"owner": "commerce", "version": "1.0", "status": "deprecated",
                                      "since": "2020-01-01", "sunset": "2021-01-01"}
    release["routes"]["GET /v1/praise"] = {"status": 200, "contract": "praise"}
    code, said = against(release)
    assert code == 0 and {item["passes"] for item in said["items"]} == {"its sunset has come"}
    release["contracts"]["praise"]["sunset"] = "2999-01-01"
    assert against(release)[0] == 1


def test_the_newest_of_a_folder_counts(binary, snapshot, tmp_path):
    for version in ("0.9.0", "0.10.0", "0.2.0"):
        old = copy.deepcopy(snapshot)
        old["penstock"] = version
        (tmp_path / f"{version}.json").write_text(json.dumps(old), "utf-8")
    assert "0.10.0" in binary.ok("check", "--against", tmp_path)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"format":99}', '{"format":1,"shapes":7}'])
def test_what_is_no_snapshot_is_refused(binary, tmp_path, text):
    path = tmp_path / "release.json"
    path.write_text(text, "utf-8")
    done = binary.run("check", "--against", path)
    assert done.returncode == 1 and done.stderr, done
    done = binary.run("check", "--against", tmp_path / "nowhere")
    assert done.returncode == 1 and "git show" in done.stderr


def test_every_contract_has_owner_version_status_and_level(binary):
    items = json.loads(binary.ok("contracts", "list", "--json"))["items"]
    assert len(items) >= 7
    for item in items:
        assert item["x-owner"] and re.fullmatch(r"\d+\.\d+", item["x-version"])
        assert item["x-status"] in ("draft", "stable", "deprecated", "retired")
        assert item["x-service-level"]["description"] and item["link"]
        page = ROOT / item["link"].removeprefix("https://penstock.org/")
        assert page.exists(), page


def test_every_route_and_event_has_a_contract(binary, snapshot):
    for kind in ("routes", "events"):
        for name, row in snapshot[kind].items():
            assert row.get("contract") in snapshot["contracts"], f"{name}: see src/gateway/contract.c"
    openapi = json.loads(binary.ok("openapi"))
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            assert operation["x-owner"] and operation["x-contract-version"], (method, path)


def test_the_page_is_current(binary):
    page = (ROOT / "docs" / "contracts.md").read_text("utf-8")
    assert binary.ok("contracts", "page") in page, (
        "print it into docs/contracts.md again: penstock contracts page")


def test_connectors_say_who_answers_for_them(binary, tmp_path):
    binary.ok("init", tmp_path / "hub")
    assert json.loads(binary.ok("check", "-C", tmp_path / "hub", "--json"))["warnings"] == []
    file = tmp_path / "hub" / "connectors" / "shopify" / "connector.yaml"
    text = file.read_text("utf-8")
    file.write_text(re.sub(r"^service_level:.*\n", "", text, flags=re.M), "utf-8")
    warnings = json.loads(binary.ok("check", "-C", tmp_path / "hub", "--json"))["warnings"]
    assert [w["file"] for w in warnings] == ["connectors/shopify/connector.yaml"]
    file.write_text(re.sub(r"^owner:.*\n", "", text, flags=re.M), "utf-8")
    done = binary.run("check", "-C", tmp_path / "hub")
    assert done.returncode == 1 and "owner" in done.stderr
