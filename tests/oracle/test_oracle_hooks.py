"""Webhooks of the API: each way of breaking the word given to them is found."""

import copy

import pytest
from oracle import View
from test_oracle import Honest

S = 1_000_000
NOW = 1_795_421_700 * S  # 2026-11-23T08:15:00Z
MADE = {"name": "crm", "delivery": "crm:1", "url": "https://crm.example/7", "events": ["test.*"],
        "personal": False, "version": 1, "secrets": [{"id": "s1", "since": "2026-11-23T08:00:00Z"}]}


class Hooked:
    """A webhook of three events, 1 and 3 of key "a", 2 of "b"; what it was sent is told call by call."""

    def __init__(self):
        self.honest = Honest().run()
        self.base = len(self.honest.events) + 1
        self.now, self.quiet = NOW, True
        self.version = {**copy.deepcopy(MADE), "after": self.base}
        self.event("subscriber.created", "crm", **self.version)
        self.seen = [{"hook_policy": {"patience_us": 60 * S}}, {"hook_secret": {"id": "s1"}},
                     {"hook_said": {"what": "subscriber.created", "name": "crm", "version": 1, "delivery": "crm:1"}}]
        for subject in "aba":
            self.event("test.happened", subject)

    def event(self, kind, subject, **data):
        self.honest.event(kind, self.honest.op["count"], subject, **data)
        return len(self.honest.events)

    def change(self, kind="subscriber.changed", **differences):
        self.version = {**copy.deepcopy(self.version), **differences, "version": self.version["version"] + 1}
        return self.event(kind, "crm", **self.version)

    def call(self, which, status=204, asked=None, applied=False, **differences):
        seq = self.base + which
        self.seen.append({"hook_call": {
            "hook": self.version["url"].rsplit("/", 1)[1], "id": f"main-{seq}", "seq": seq,
            "asked": asked or len(self.honest.events), "wall_us": self.now, "signed_us": self.now // S * S,
            "hash": str(seq), "personal": False, "edited": False, "signed": ["s1"], "signatures": 1, **differences}})
        if applied or status == 204:
            self.seen.append({"hook_applied": {"hook": "7", "seq": seq}})
        self.seen.append({"hook_answer": {"hook": "7", "status": status, "wall_us": self.now}})

    def all(self, *which):
        for one in which or (1, 2, 3):
            self.call(one)

    def rules(self):
        h = self.honest
        view = View(h.events, h.availability, h.orders, h.erp, h.numbers)
        view.hooks, view.quiet_us = self.seen, 10**16 if self.quiet else None
        return {one.rule for one in h.oracle.judge(view) if one.rule.startswith(("hook", "conservation"))}


@pytest.fixture
def hook():
    return Hooked()


def test_each_in_its_place_and_some_twice(hook):
    hook.call(2, status=500)
    hook.call(1, status=0, applied=True)
    hook.all(1, 3, 2, 2)
    assert hook.rules() == set()


def test_what_never_came_is_lost(hook):
    hook.all(1, 3)
    assert hook.rules() == {"hook-lost"}
    hook.quiet = False
    assert hook.rules() == set()


def test_what_is_held_or_given_up_is_not_lost(hook):
    hook.all(1)
    hook.seen.append({"hook_held": {"delivery": "crm:1", "seq": hook.base + 3}})
    hook.event("delivery.released", "x", subscription="crm:1", event_seq=hook.base + 2, action="discard")
    assert hook.rules() == set()


def test_of_a_key_one_comes_after_the_other(hook):
    hook.all(2, 3, 1)
    assert hook.rules() == {"hook-order"}


def test_nothing_that_is_not_wanted(hook):
    other = hook.event("other.happened", "a")
    hook.all(1, 2, 3, other - hook.base)
    assert hook.rules() == {"hook-invented"}


def test_nothing_from_before_it_began(hook):
    hook.all(1, 2, 3, 0)
    assert hook.rules() == {"hook-invented"}


def test_keys_narrow_it(hook):
    hook.honest.events[hook.base - 1]["data"]["keys"] = ["a*"]
    hook.all(1, 3)
    assert hook.rules() == set()
    hook.all(2)
    assert hook.rules() == {"hook-invented"}


def test_a_change_leaves_both_ways_open_for_what_was_before_it(hook):
    hook.change(events=["other.*"])
    hook.all(1)
    assert hook.rules() == set()
    last = hook.event("test.happened", "a")
    hook.all(last - hook.base)
    assert hook.rules() == {"hook-invented"}


def test_nothing_after_it_was_removed(hook):
    hook.call(1)
    hook.change("subscriber.deleted")
    assert hook.rules() == set()
    hook.call(2)
    assert hook.rules() == {"hook-removed"}


def test_nothing_while_it_stands_still(hook):
    hook.all()
    stopped = hook.event("subscription.stopped", "x", subscription="crm:1")
    hook.event("subscription.started", "x", subscription="crm:1")
    hook.call(1)
    assert hook.rules() == set()
    hook.call(1, asked=stopped)
    assert hook.rules() == {"hook-stopped"}


@pytest.mark.parametrize("between", [{"hook_start": {"delivery": "crm:1"}}, {"hook_life": {}}])
def test_gone_is_gone_until_a_person_starts_it(hook, between):
    hook.call(1, status=410)
    told = copy.deepcopy(hook.seen)
    hook.all()
    assert hook.rules() == {"hook-gone"}
    hook.seen = told + [between]
    hook.all()
    assert hook.rules() == set()


def test_who_takes_nothing_for_too_long_is_left_alone(hook):
    hook.call(1, status=500)
    hook.now += 61 * S
    hook.call(1, status=503)
    assert "hook-dead" not in hook.rules()
    hook.all()
    assert hook.rules() == {"hook-dead"}


def test_who_took_one_in_between_is_not(hook):
    hook.call(1, status=500)
    hook.now += 40 * S
    hook.call(2)
    hook.now += 40 * S
    hook.call(1, status=500)
    hook.all()
    assert hook.rules() == set()


def test_it_goes_where_it_is_said_to(hook):
    hook.all()
    hook.change(url="https://crm.example/8")
    hook.call(1, hook="7")
    assert hook.rules() == {"hook-address"}


def test_what_is_personal_only_where_it_was_asked_for(hook):
    hook.all()
    hook.call(1, personal=True, hash="with")
    assert hook.rules() == {"hook-personal"}


@pytest.mark.parametrize("signed, signatures, rules", [
    (["s1", "s2"], 2, set()), (["s2"], 1, {"hook-signature"}), (["s1", "s2", "s3"], 3, {"hook-signature"}),
    ([], 0, {"hook-signature"}), (["s1", "s2"], 3, {"hook-signature"})])
def test_signed_with_each_secret_that_counts(hook, signed, signatures, rules):
    hook.all()
    hook.seen.append({"hook_secret": {"id": "s2"}})
    hook.change("subscriber.rotated", secrets=[{"id": "s1", "until": "2026-11-23T08:20:00Z"}, {"id": "s2"}])
    hook.call(1, signed=signed, signatures=signatures)
    assert hook.rules() == rules


def test_not_with_one_that_ended(hook):
    hook.all()
    hook.change("subscriber.rotated", secrets=[{"id": "s1", "until": "2026-11-23T08:14:00Z"}, {"id": "s2"}])
    hook.call(1, signed=[])
    assert hook.rules() == set()  # with the other one, which nobody was told
    hook.call(1, signed=["s1"], signatures=2)
    assert hook.rules() == {"hook-signature"}


def test_one_id_whatever_attempt_it_is(hook):
    hook.all()
    hook.call(1, id=f"main-{hook.base + 1}-2", hash="x")
    assert hook.rules() == {"hook-id"}


def test_the_same_bytes_under_the_same_id(hook):
    hook.all()
    hook.call(1, edited=True, hash="other")
    assert hook.rules() == set()
    hook.call(1, hash="other")
    assert hook.rules() == {"hook-bytes"}


def test_what_somebody_was_told_is_there(hook):
    hook.all()
    hook.seen.append({"hook_said": {"what": "subscriber.changed", "name": "crm", "version": 2, "delivery": "crm:1"}})
    assert hook.rules() == {"hook-acknowledged"}


def ledger(hook, taken, **parts):
    counts = {"discarded": 0, "superseded": 0, "listed": 0, "waiting": 0, "before": 0, "again": 0, "replayed": 0}
    hook.seen.append({"hook_ledger": {"subscription": "crm:1", "taken": taken, "from": hook.base, "to": hook.base + 3,
                                      "loaded": 0, **counts, **parts}})
    return hook.rules()


def test_what_it_wants_is_what_it_took(hook):
    hook.all()
    assert ledger(hook, 3, delivered=3) == set()
    assert ledger(hook, 2, delivered=2) == {"conservation"}


def test_what_it_took_is_somewhere(hook):
    hook.all()
    assert ledger(hook, 3, delivered=1, waiting=1) == {"conservation"}
