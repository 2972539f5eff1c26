"""A run over the contract: thousands of requests made from the hub's own OpenAPI document, valid and
not; nothing may be answered with a 5xx or with what the document does not say. PENSTOCK_SEED
repeats one, PENSTOCK_RUN_SECONDS makes it longer."""

import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent.parent / "contracts"))
import run as contract_run  # noqa: E402

SECRET = "contract-run-secret"


@pytest.fixture
def asked(idle_hub):
    idle_hub.env["SHOPIFY_WEBHOOK_SECRET"] = SECRET
    return idle_hub.start()


def test_every_answer_is_as_documented(asked):
    seed = int(os.environ.get("PENSTOCK_SEED", "1"))
    seconds = float(os.environ.get("PENSTOCK_RUN_SECONDS", "20"))
    run = contract_run.Run(asked.url, asked.key, seed, SECRET, asked.binary.patience).go(seconds)
    assert not run.findings, (
        f"PENSTOCK_SEED={seed}, after {run.sent} requests:\n" + "\n".join(run.findings))
    assert run.sent > (400 if asked.binary.slow else 2000), run.sent
    # it reached what lies behind validity, not only refusals
    statuses = {status for per in run.counts.values() for status in per}
    assert {200, 201, 202, 400, 401, 404, 409, 415, 422} <= statuses, statuses
    assert set(run.counts) == {f"{method} {path}" for method, path, _ in run.list}
    assert asked.client().get("/readyz").status == 200


def test_a_break_of_the_contract_is_found(asked):
    """The judge judges: each way of not keeping the document is a finding."""
    run = contract_run.Run(asked.url, asked.key, 1)
    operation = run.contract.document["paths"]["/v1/orders"]["post"]
    request = contract_run.Request("POST", "/v1/orders", {}, b"{}", None)
    whole = b'{"order_id":"ord_1","state":"accepted","version":1}'
    known = {"penstock-seq", "date"}

    def findings(status, headers, media, body, sent=request):
        run.findings.clear()
        run.judge("POST", "/v1/orders", operation, sent, status, (headers, media), body)
        return run.findings

    media = "application/json"
    assert not findings(201, known, media, whole)
    assert "not documented" in findings(418, known, media, whole)[0]
    assert "500" in findings(500, known, media, whole)[0]
    assert "media type" in findings(201, known, "text/html", whole)[0]
    assert "headers" in findings(201, known | {"x-secret"}, media, whole)[0]
    assert "not as documented" in findings(201, known, media, b'{"order_id":7}')[0]
    wrong = contract_run.Request("POST", "/v1/orders", {}, b"{}", "/lines: is missing")
    assert "taken although" in findings(201, known, media, whole, wrong)[0]
    run.link.close()
