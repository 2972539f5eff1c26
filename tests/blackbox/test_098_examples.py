"""The examples that the documents show: each is valid by its own schema, and a real hub answers
what the document says. What they are and how they are made anew: tests/contracts/examples.py."""

import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "contracts"))
import examples  # noqa: E402
import run as contract_run  # noqa: E402

AGAIN = "; if this is meant: python3 tests/contracts/examples.py --write build/penstock"


@pytest.fixture(scope="module")
def openapi(binary):
    return json.loads(binary.ok("openapi"))


def test_a_real_hub_answers_what_the_documents_say(idle_hub):
    idle_hub.env["SHOPIFY_WEBHOOK_SECRET"] = examples.SECRET
    hub = idle_hub.start()
    played = examples.Examples(hub.client())
    found = [fault for path in played.files() for fault in played.play(path, patience=hub.binary.patience)]
    found += played.events()
    assert not found, "\n".join(found) + AGAIN
    assert len(played.answers) >= 30


def test_each_example_is_valid_by_its_own_schema(openapi):
    contract = contract_run.Contract(openapi)
    seen = 0
    for method, path, operation in contract.operations():
        places = [operation.get("requestBody", {})] + [
            contract.resolve(answer) for answer in operation["responses"].values()]
        for content in (content for place in places for content in place.get("content", {}).values()):
            for name, example in content.get("examples", {}).items():
                seen += 1
                schema, value = content["schema"], example["value"]
                faults = contract.faults(schema, value)
                if "contentSchema" in schema:
                    faults += [fault for line in value.splitlines()
                               for fault in contract.faults(schema["contentSchema"], json.loads(line))]
                assert not faults, (method, path, name, faults)
    assert seen >= 45


def test_each_event_is_valid_by_its_own_schema(binary):
    asyncapi = json.loads(binary.ok("asyncapi"))
    contract = contract_run.Contract(asyncapi)
    seen = 0
    for name, message in asyncapi["components"]["messages"].items():
        for example in message.get("examples", []):
            seen += 1
            assert not contract.faults(message["payload"], example["payload"]), name
            assert example["payload"]["type"] == message["name"]
    assert seen >= 12


def test_every_operation_of_the_stable_contracts_has_an_example(openapi):
    """Those that change something or are asked all day; platform and operations may lack one."""
    for path, item in openapi["paths"].items():
        for method, operation in item.items():
            if operation["x-contract"] not in ("orders", "stock", "customers", "events"):
                continue
            shown = any(content.get("examples") for answer in operation["responses"].values()
                        for content in answer.get("content", {}).values())
            assert shown, f"{method} {path}: add a file to contracts/examples"


def test_every_file_is_in_the_documents(binary, openapi):
    text = json.dumps(openapi) + binary.ok("asyncapi")
    for path in [*examples.FOLDER.glob("*.json"), *(examples.FOLDER / "events").glob("*.json")]:
        assert f'"{path.stem}"' in text, path


def test_a_difference_is_found():
    known = {"order_id": "ord_" + "a" * 26, "state": "accepted", "expires_at": "x", "lines": [1]}
    same = {"order_id": "ord_" + "a" * 26, "state": "accepted", "expires_at": "y", "lines": [1]}
    assert not examples.differs(same, known)
    for member, value in (("state", "held"), ("lines", [1, 2]), ("order_id", "ord_" + "b" * 26)):
        assert examples.differs({**same, member: value}, known)
    assert examples.differs({**same, "new": 1}, known)
    assert examples.differs({}, known)
