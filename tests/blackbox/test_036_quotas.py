"""Quotas: so many an hour, a day, a month of the hub's calendar. They survive a restart and, save
for what was counted in the last second, a kill."""

import re
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

import docs
from conftest import running
from hub import Hub
from wire import until

ZONE = "Asia/Kolkata"  # half an hour beside everybody else
LIMITS = f"""
time_zone: {ZONE}
limits:
  - {{policy: month, callers: [by-month], quota: 5, period: month}}
  - {{policy: month, callers: [restarted, killed, lines], quota: 8, period: month}}
  - {{policy: day, callers: [by-day], quota: 3, period: day}}
"""


@pytest.fixture
def fresh_hub(binary, tmp_path):
    hub = Hub(binary, tmp_path)
    with open(hub.config / "penstock.yaml", "a", encoding="utf-8") as file:
        file.write(LIMITS)
    yield from running(hub.start())


def left(answer, policy):
    found = re.search(rf'"{policy}";r=(\d+);t=(\d+)', answer.header("ratelimit") or "")
    assert found, repr(answer)
    return int(found.group(1)), int(found.group(2))


def month_end():
    """Seconds until the month ends in the hub's zone."""
    now = datetime.now(ZoneInfo(ZONE))
    first = (now.replace(day=1) + timedelta(days=32)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first.astimezone(timezone.utc) - now.astimezone(timezone.utc)).total_seconds()


def test_a_month_has_so_many_calls(fresh_hub):
    api = fresh_hub.client(key=fresh_hub.create_key("by-month", "orders:*"))
    for n in range(5):
        answer = api.get("/v1/orders?limit=1")
        answer.ok()
        assert '"month";q=5;w=2592000' in answer.header("ratelimit-policy")
        units, reset = left(answer, "month")
        assert units == 4 - n
        assert abs(reset - month_end()) < 5
    refused = api.get("/v1/orders?limit=1")
    assert '"month"' in refused.problem(429)["detail"]
    assert abs(int(refused.header("retry-after")) - month_end()) < 5
    assert left(refused, "month")[0] == 0


def test_a_day_has_its_own(fresh_hub):
    api = fresh_hub.client(key=fresh_hub.create_key("by-day", "orders:*"))
    statuses = [api.get("/v1/orders?limit=1").status for _ in range(5)]
    # at midnight in the hub's zone three more would be allowed
    assert statuses in ([200] * 3 + [429] * 2, [200] * 4 + [429], [200] * 5)
    if statuses[-1] == 429:
        assert int(api.get("/v1/orders?limit=1").header("retry-after")) <= 86400


def test_lines_beyond_the_quota_are_refused_one_by_one(fresh_hub):
    api = fresh_hub.client(key=fresh_hub.create_key("lines", "*"))
    lines = [docs.count(f"LINE-{n}", 1) for n in range(10)] + [b"{not json"]
    answer = api.bulk("/v1/stock/counts", lines)
    assert answer.status == 200
    assert [line["status"] for line in answer.lines] == [201] * 8 + [429] * 3
    assert '"month"' in answer.lines[8]["problem"]["detail"]


def test_a_restart_forgets_nothing(fresh_hub):
    key = fresh_hub.create_key("restarted", "orders:*")
    for _ in range(6):
        fresh_hub.client(key=key).get("/v1/orders?limit=1").ok()
    fresh_hub.restart()
    answer = fresh_hub.client(key=key).get("/v1/orders?limit=1")
    answer.ok()
    assert left(answer, "month")[0] == 1
    fresh_hub.restart()
    statuses = [fresh_hub.client(key=key).get("/v1/orders?limit=1").status for _ in range(3)]
    assert statuses == [200, 429, 429]


def written(hub):
    """Grows with each transaction that writes quotas down."""
    return sum(p.stat().st_size for p in (hub.config / "data").glob("limits.db*"))


def test_a_kill_forgets_what_was_not_written_alone(fresh_hub):
    key = fresh_hub.create_key("killed", "orders:*")
    for calls in (6, 1):
        before = written(fresh_hub)
        for _ in range(calls):
            fresh_hub.client(key=key).get("/v1/orders?limit=1").ok()
        until(lambda: written(fresh_hub) > before, 10, "quotas written within a second")
    fresh_hub.kill()
    fresh_hub.start()
    statuses = [fresh_hub.client(key=key).get("/v1/orders?limit=1").status for _ in range(4)]
    assert statuses == [200, 429, 429, 429]
