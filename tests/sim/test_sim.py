"""The simulator, run: seeds, regressions, that a seed fixes everything, and that it finds the faults
that were planted.

PENSTOCK_SIM, PENSTOCK_SIM_ASAN, PENSTOCK_SIM_PLANTED: the programs (default build/, build-asan/,
build-planted/)."""

import os
import re
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RELEASE = os.environ.get("PENSTOCK_SIM", str(ROOT / "build" / "penstock-sim"))
ASAN = os.environ.get("PENSTOCK_SIM_ASAN", str(ROOT / "build-asan" / "penstock-sim"))
PLANTED = os.environ.get("PENSTOCK_SIM_PLANTED", str(ROOT / "build-planted" / "penstock-sim"))
# What each is caught by; docs/testing.md has the same table with its reasons.
PLANTS = {
    "skip-fsync": {"acknowledged-lost", "start"},
    "forget-key": {"doubled", "key-reused", "refused-stored", "other-answer"},
    "publish-early": {"read"},
    "evict-dirty": {"replay", "died", "order-stale", "stock"},
    "replay-order": {"replay", "start"},
    "lose-timer": {"timer"},
    "segment-end": {"feed", "start", "replay", "journal"},
    "seal-short": {"replay", "start", "journal", "feed"},
    "read-model-ahead": {"read-model-ahead", "ahead", "feed"},
    "key-reuse": {"key-twice", "sealed"},
    "cursor-early": {"undelivered", "erp-missing", "value-stale", "fetch-lost", "fetch-order", "hook-lost"},
    "lane-order": {"lane-order", "log-order", "hook-order", "undelivered", "died"},
    "retry-success": {"undelivered", "erp-missing", "value-stale", "fetch-lost", "fetch-order", "hook-lost"},
    "skip-lookup": {"effect-doubled", "erp-doubled", "log-twice"},
    "settle-early": {"effect-doubled", "erp-doubled", "erp-number", "log-twice"},
    "send-unmarked": {"effect-doubled", "erp-doubled", "log-twice"},
    "posting-lost": {"erp-number"},
    "listed-lost": {"conservation", "undelivered", "erp-missing", "hook-lost"},
    "batch-member": {"value-stale"},
    "conflate-keys": {"value-stale"},
    "uncounted": {"conservation"},
    "item-lost": {"acknowledged-lost", "erp-missing"},
    "breaker-forgotten": {"probe-alone"},
    "restart-bursts": {"account-rate"},
    "bucket-refilled": {"account-rate"},
    "pause-forgotten": {"account-paused"},
    "lease-acknowledged-twice": {"fetch-again", "fetch-lost", "fetch-order"},
    "stop-never": {"stopped-late"},
    "stop-forgotten": {"stopped-sent", "hook-stopped"},
    "ack-early": {"stream-lost", "stream-order"},
    "stream-swapped": {"stream-order"},
    "stream-nameless": {"stream-invented", "stream-twice"},
    "stream-placeless": {"stream-lost"},
    "stream-unasked": {"log-twice", "effect-doubled"},
    "key-split": {"lane-alone", "lane-order", "log-order"},
    "replay-live": {"lane-alone", "lane-order"},
    "edit-lost": {"edit-lost"},
    "secret-kept": {"hook-signature"},
    "removed-sent": {"hook-removed", "stuck"},
    "recover-first": {"hook-recover"},
    "webhook-id": {"hook-body", "hook-id"},
    "gone-ignored": {"hook-gone"},
    "dead-ignored": {"hook-dead"},
    "personal-sent": {"hook-personal"},
}
PLANT_SEEDS = 60


def simulate(program, *args, limit_s=300):
    done = subprocess.run([program, *args], capture_output=True, text=True, timeout=limit_s,
                          check=False)
    print(done.stdout, done.stderr[-4000:])
    return done


def digest(text):
    return re.search(r"digest ([0-9a-f]{16})", text).group(1)


def test_seeds_pass():
    """300 on the release build and 25 with sanitizers, side by side."""
    parts = [(RELEASE, "1..150"), (RELEASE, "151..300"), (ASAN, "1001..1025")]
    runs = [subprocess.Popen([program, "--seeds", seeds], stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True) for program, seeds in parts]
    told = [run.communicate(timeout=300)[0] for run in runs]
    print("\n".join(told))
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert [int(re.search(r"(\d+) seeds passed, 0 failed", text).group(1)) for text in told] == [
        150, 150, 25]


@pytest.mark.parametrize("plan", sorted(HERE.glob("plans/*.plan")), ids=lambda plan: plan.stem)
def test_what_was_found_once_stays_mended(plan):
    for program in (RELEASE, ASAN):
        assert simulate(program, "--plan", str(plan)).returncode == 0


@pytest.mark.parametrize("seed", ["7", "19"])
def test_a_seed_fixes_everything(seed):
    """Two runs, another folder, and another build: all that was observed is the same."""
    runs = [simulate(program, "--seed", seed) for program in (RELEASE, RELEASE, ASAN)]
    assert len({digest(run.stdout) for run in runs}) == 1


def test_a_seed_is_fast():
    told = simulate(RELEASE, "--seed", "1").stdout
    ms, ratio = map(int, re.search(r"in (\d+) ms, (\d+) x real time", told).groups())
    assert ms < 1000 and ratio >= 1000


def test_help_and_wrong_usage():
    assert "--seeds A..B" in simulate(RELEASE, "--help").stdout
    assert simulate(RELEASE).returncode == 2
    assert simulate(RELEASE, "--seeds", "9..1").returncode == 2
    assert simulate(RELEASE, "--seed", "1", "--only", "0-3").returncode == 2


def test_steps_can_be_left_out():
    told = simulate(RELEASE, "--seed", "3", "--only", "1-40,90").stdout
    assert "seed 3 passed" in told


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_caught(plant):
    done = simulate(PLANTED, "--plant", plant, "--seeds", f"1..{PLANT_SEEDS}", "--stop",
                    "--no-shrink")
    assert done.returncode == 1
    seed, rule = re.search(r"seed (\d+): violated at [^:]*: ([a-z-]+):", done.stdout).groups()
    assert rule in PLANTS[plant]
    assert simulate(PLANTED, "--seed", seed).returncode == 0, "it fails without the fault, too"


def test_every_planted_fault_has_a_row():
    named = [line.split()[0] for line in simulate(PLANTED, "--plant", "list").stdout.splitlines()]
    assert sorted(named) == sorted(PLANTS)
    table = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in table for name in named)


def test_a_normal_build_carries_none():
    assert simulate(RELEASE, "--plant", "skip-fsync", "--seed", "1").returncode == 2


def test_a_failure_is_shrunk_and_can_be_repeated():
    told = simulate(PLANTED, "--plant", "lose-timer", "--seeds", f"1..{PLANT_SEEDS}", "--stop").stdout
    left, = map(int, re.search(r"shrunk to (\d+) steps", told).groups())
    assert left < 30 and "hold {" in told
    repeat = re.search(r"repeat: build/penstock-sim (.*)", told).group(1).split()
    assert ": timer: res_" in simulate(PLANTED, *repeat, "--no-shrink").stdout
