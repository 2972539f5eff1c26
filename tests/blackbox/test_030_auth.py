"""Who may: API keys, scopes, revocation. What is refused here has touched nothing."""

import pytest

import docs


def test_no_key_is_401_and_says_how(hub):
    answer = hub.client(key=None).get("/v1/events")
    answer.problem(401, slug="unauthenticated")
    assert (answer.header("www-authenticate") or "").startswith("Bearer")


@pytest.mark.parametrize("value", [
    "Bearer ", "Bearer wrong", "Bearer " + "x" * 500, "Basic dXNlcjpwdw==", "bearer", "KEY",
    "Bearer a b", "Bearer \u00fc",
])
def test_wrong_credentials_are_401(hub, value):
    value = value.encode("utf-8").decode("latin-1")
    hub.client(key=None).get("/v1/events", headers={"Authorization": value}).problem(401)


def test_a_key_with_one_character_changed_is_401(hub):
    for i in (0, len(hub.key) // 2, len(hub.key) - 1):
        other = hub.key[:i] + ("a" if hub.key[i] != "a" else "b") + hub.key[i + 1:]
        hub.client(key=other).get("/v1/events").problem(401)


def test_the_scheme_is_not_case_sensitive(hub):
    api = hub.client(key=None)
    api.get("/v1/events", headers={"Authorization": f"bearer {hub.key}"}).ok()


def test_refusal_precedes_reading_the_body(hub):
    hub.client(key=None).post("/v1/orders", raw=b"{not json").problem(401)
    key = hub.create_key("reader", "orders:read")
    hub.client(key=key).post("/v1/orders", raw=b"{not json").problem(403)


def test_scopes_bind(hub, api, stocked):
    sku = stocked(10)
    seller = hub.client(key=hub.create_key("seller", "orders:write"))
    order = seller.post("/v1/orders", docs.order((sku, 1))).ok(201)
    seller.get(f"/v1/orders/{order['order_id']}").problem(403, slug="forbidden")
    seller.post("/v1/stock/counts", docs.count(sku, 5)).problem(403)
    reader = hub.client(key=hub.create_key("reader", "orders:read", "stock:read"))
    reader.get(f"/v1/orders/{order['order_id']}").ok()
    assert docs.stock(reader, sku)[0] == "10"
    reader.post("/v1/orders", docs.order((sku, 1))).problem(403)


def test_a_key_made_while_the_hub_runs_works_at_its_first_use(hub):
    for i in range(5):
        key = hub.create_key(f"late-{i}", "*")
        hub.client(key=key).get("/v1/events").ok()


def test_a_revoked_key_stops_working(hub):
    from wire import until
    key = hub.create_key("leaver", "*")
    client = hub.client(key=key)
    client.get("/v1/events").ok()
    hub.binary.ok("key", "revoke", "-C", hub.config, "--name", "leaver")
    until(lambda: client.get("/v1/events").status == 401, 10, "401 for a revoked key")


def test_a_refused_write_changes_nothing(hub, api, stocked):
    sku = stocked(10)
    before, seq = docs.stock(api, sku), docs.last_seq(api)
    hub.client(key=None).post("/v1/orders", docs.order((sku, 1))).problem(401)
    hub.client(key="nonsense").post("/v1/stock/counts", docs.count(sku, 1)).problem(401)
    assert docs.stock(api, sku) == before and docs.events(api, after=seq) == []


def test_keys_are_no_idempotency_scope_of_each_other(hub, api, stocked):
    """The scope of an Idempotency-Key is API key and route: the same text in another's hands
    is another key."""
    sku = stocked(10)
    other = hub.client(key=hub.create_key("other", "*"))
    shared = docs.key()
    first = api.post("/v1/orders", docs.order((sku, 1)), headers=shared).ok(201)
    second = other.post("/v1/orders", docs.order((sku, 2)), headers=shared).ok(201)
    assert first["order_id"] != second["order_id"]
