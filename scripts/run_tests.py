"""Runs every test of the project and ends with one line: "N passed, N failed".

Builds what the suites need (release, address and undefined-behaviour sanitizers, thread
sanitizer), then runs them in order, cheapest first. What counts as one test: a function of a
cmocka program, a lint check, a fuzz target's corpus, a black-box test function. A suite that
is missing, can not be built, or holds no test counts as one failure: silence is not success.

Stages may be named to run only those: run_tests.py lint unit fuzz sim threads blackbox
"""
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
RELEASE, ASAN, TSAN, PLANTED = "build", "build-asan", "build-tsan", "build-planted"
SANITIZERS = {
    "ASAN_OPTIONS": "abort_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:"
                    f"suppressions={os.path.join(ROOT, 'tests', 'tsan.supp')}",
}
SIDE_BY_SIDE = max(2, min(4, os.cpu_count() or 1))  # of what drives the program, which mostly waits
# Where a suite has hung, the run ends all the same.
BUILD_LIMIT_S, SUITE_LIMIT_S, BLACKBOX_LIMIT_S = 1200, 600, 2700


class Failed(Exception):
    """A stage that could not be run to its end."""


def say(text):
    print(f"=== {text}", flush=True)


def run(args, limit_s, env=None):
    """Runs a command with its output going to ours; answers the exit code."""
    try:
        return subprocess.run(args, cwd=ROOT, env=env, timeout=limit_s).returncode
    except subprocess.TimeoutExpired:
        raise Failed(f"{args[0]} {args[1]}: not done after {limit_s} s") from None
    except OSError as error:
        raise Failed(f"{args[0]}: {error.strerror}") from None


def build(folder, *targets):
    """Builds a folder, or targets of it; what it prints is shown only where it fails."""
    started = time.monotonic()
    try:
        done = subprocess.run(["sh", "scripts/build.sh", folder, *targets], cwd=ROOT,
                              timeout=BUILD_LIMIT_S, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
    except subprocess.TimeoutExpired:
        raise Failed(f"{folder}: not built after {BUILD_LIMIT_S} s") from None
    if done.returncode != 0:
        sys.stdout.write(done.stdout.decode(errors="replace")[-8000:])
        raise Failed(f"{folder} does not build")
    say(f"{folder} built in {time.monotonic() - started:.0f} s")


def count_program(entry):
    """(passed, failed) of one test program, by the totals that cmocka prints where it did."""
    text = entry.get("stdout", "") + entry.get("stderr", "")
    passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) test", text, re.M))
    failed = sum(int(n) for n in re.findall(r"^\[  FAILED  \] (\d+) test", text, re.M))
    if entry["result"] == "OK":
        return (max(passed, 1), 0) if not failed else (passed, failed)
    return passed, max(failed, 1)


def meson_suite(folder, suite, limit_s=SUITE_LIMIT_S):
    """Runs one suite of a build folder; the log that Meson writes is what is counted."""
    log = os.path.join(ROOT, folder, "meson-logs", f"testlog-{suite}.json")
    if os.path.exists(log):
        os.unlink(log)
    run(["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--suite", suite,
         "--logbase", f"testlog-{suite}"], limit_s, {**os.environ, **SANITIZERS})
    try:
        with open(log, encoding="utf-8") as file:
            entries = [json.loads(line) for line in file if line.strip()]
    except OSError:
        raise Failed(f"suite {suite} of {folder} left no log") from None
    counts = [count_program(entry) for entry in entries]
    return sum(p for p, _ in counts), sum(f for _, f in counts)


def lint():
    build(RELEASE, "penstock")
    return meson_suite(RELEASE, "lint")


def unit():
    build(ASAN)
    return meson_suite(ASAN, "unit")


def fuzz():
    build(ASAN)
    return meson_suite(ASAN, "fuzz")


def simulator(folder):
    return os.path.join(ROOT, folder, "penstock-sim")


def sim():
    """The simulator: seeds on the release build and with sanitizers, regressions, planted faults."""
    build(RELEASE, "penstock-sim")
    build(ASAN, "penstock-sim")
    build(PLANTED, "penstock-sim")
    return pytest_suite(ASAN, ["tests/sim"], {
        "PENSTOCK_SIM": simulator(RELEASE), "PENSTOCK_SIM_ASAN": simulator(ASAN),
        "PENSTOCK_SIM_PLANTED": simulator(PLANTED)}, dist="load")


def pytest_suite(folder, paths, env, dist="loadgroup"):
    """(passed, failed) of black-box tests, some files (dist="load": tests) side by side. The report
    that pytest leaves is what is counted."""
    report = os.path.join(ROOT, folder, "blackbox.xml")
    if os.path.exists(report):
        os.unlink(report)
    run([sys.executable, "-m", "pytest", "-q", "--durations=10", "-p", "no:cacheprovider",
         "-n", str(SIDE_BY_SIDE), "--dist", dist, "--timeout=600", f"--junitxml={report}",
         *paths], BLACKBOX_LIMIT_S,
        {**os.environ, **SANITIZERS, **env})
    try:
        suites = xml.parse(report).getroot().iter("testsuite")
    except (OSError, xml.ParseError):
        raise Failed("pytest left no report") from None
    passed = failed = 0
    for suite in suites:
        bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped = int(suite.get("skipped", 0))
        if skipped:
            print(f"{skipped} black-box tests were skipped: counted as failed")
        failed += bad + skipped
        passed += int(suite.get("tests", 0)) - bad - skipped
    return passed, failed


def program(folder):
    return os.path.join(ROOT, folder, "penstock")


def threads():
    """What starts threads, under the thread sanitizer: unit tests, and the whole hub under load."""
    build(TSAN)
    unit_counts = meson_suite(TSAN, "threads")
    hub_counts = pytest_suite(TSAN, [f"tests/blackbox/test_{name}.py" for name in (
        "065_events", "080_erp", "087_load")], {"PENSTOCK_BIN": program(TSAN)})
    return tuple(map(sum, zip(unit_counts, hub_counts)))


def peers_prepare():
    """Makes the data of the real systems beside the stages that need none of it; who needs them
    waits for it (a lock in their data folder)."""
    os.makedirs(os.path.join(ROOT, "build-peers"), exist_ok=True)
    with open(os.path.join(ROOT, "build-peers", "prepare.log"), "wb") as log:
        subprocess.Popen(["nice", "bash", "-c", "for peer in tryton vendure; do "
                          "bash peers/$peer/peer.sh prepare; done"], cwd=ROOT,
                         stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def blackbox():
    build(RELEASE, "penstock")
    build(ASAN)
    return pytest_suite(ASAN, ["tests/oracle", "tests/blackbox"], {
        "PENSTOCK_BIN": program(ASAN), "PENSTOCK_BIN_RELEASE": program(RELEASE)})


STAGES = {"lint": lint, "unit": unit, "fuzz": fuzz, "sim": sim, "threads": threads,
          "blackbox": blackbox}


def main():
    names = sys.argv[1:] or list(STAGES)
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        print(f"no stage {unknown[0]}; there are: {' '.join(STAGES)}", file=sys.stderr)
        return 2
    rows, began = [], time.monotonic()
    if "blackbox" in names:
        peers_prepare()
    for name in names:
        say(name)
        started = time.monotonic()
        try:
            passed, failed = STAGES[name]()
            if passed + failed == 0:
                print(f"{name}: no tests")
                failed = 1
        except Failed as problem:
            print(f"{name}: {problem}")
            passed, failed = 0, 1
        rows.append((name, passed, failed, time.monotonic() - started))
    print()
    for name, passed, failed, seconds in rows:
        print(f"{name:10} {passed:5} passed  {failed:3} failed  {seconds:5.0f} s")
    passed, failed = sum(r[1] for r in rows), sum(r[2] for r in rows)
    print(f"all of it took {time.monotonic() - began:.0f} s")
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
