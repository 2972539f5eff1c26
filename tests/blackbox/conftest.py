"""Fixtures: the program under test, hubs, the sandbox ERP, names that no other test uses.

The program is build/penstock, or what PENSTOCK_BIN names; it is never built here. Where that one
carries a sanitizer, PENSTOCK_BIN_RELEASE names the release build for tests that measure time. `hub` is
shared by the tests of one file, `fresh_hub` is one test's own. At the end of each the hub must
drain, exit 0 and leave no sanitizer report; where a test fails the logs of its hubs are shown.
"""

import itertools
import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "oracle")]

from hub import Binary, Erp, Hub  # noqa: E402
import docs  # noqa: E402
from ledger import Ledger  # noqa: E402

ROOT = HERE.parent.parent
FIXTURES = HERE.parent / "fixtures"
# Public test suites beside the repository, where a machine has them: used in addition.
SUITES = Path(os.environ.get("PENSTOCK_SUITES") or ROOT.parent / "shared" / "data")
LOGGED = []


def pytest_report_header(config):
    return f"program: {program_path()}"


def program_path():
    return Path(os.environ.get("PENSTOCK_BIN") or ROOT / "build" / "penstock")


# Files that share the one real ERP of a machine: where files run side by side, these run in turn.
WITH_TRYTON = {"test_081_tryton", "test_083_vendure", "test_094_demo_tryton"}


@pytest.hookimpl(tryfirst=True)  # before the plugin reads the marks
def pytest_collection_modifyitems(config, items):
    """Side by side go files, not tests (--dist loadgroup)."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            group = "tryton" if item.path.stem in WITH_TRYTON else item.path.stem
            item.add_marker(pytest.mark.xdist_group(group))


def pytest_collection_finish(session):
    """A file of which another process runs a part would find its servers taken from it."""
    if getattr(session.config.option, "loadgroup", False):
        loose = [item.nodeid for item in session.items if "@" not in item.nodeid]
        assert not loose, f"runs beside the rest of its file: {loose[0]}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for thing in LOGGED:
            report.sections.append((f"log of {type(thing).__name__.lower()}", thing.log()[-30000:]))


@pytest.fixture(scope="session")
def binary():
    return Binary(program_path())


@pytest.fixture(scope="session")
def release_binary(binary):
    """The release build, where bounds on time are promised; the program under test where
    PENSTOCK_BIN_RELEASE names no other."""
    path = os.environ.get("PENSTOCK_BIN_RELEASE")
    return Binary(path) if path else binary


@pytest.fixture
def logged():
    """A function: of what it is given, the log is shown where the test fails."""
    before = len(LOGGED)
    yield LOGGED.append
    del LOGGED[before:]


def running(thing):
    LOGGED.append(thing)
    try:
        yield thing
        thing.stop()
    finally:
        LOGGED.remove(thing)
        for process in getattr(thing, "processes", [getattr(thing, "process", None)]):
            if process is not None and process.popen.poll() is None:
                process.kill()


@pytest.fixture
def ledger():
    """An ERP in this process that misbehaves exactly as told."""
    yield from running(Ledger())


@pytest.fixture
def posting_hub(binary, tmp_path, ledger):
    """A hub whose captured orders (of the SKU "ERP") go to the ledger."""
    hub = Hub(binary, tmp_path)
    ledger.connector(hub.config)
    for made in running(hub.start()):
        made.client().post("/v1/stock/counts", docs.count("ERP", 100000)).ok(201)
        yield made


@pytest.fixture(scope="module")
def hub(binary, tmp_path_factory):
    """A hub that the tests of a file share: use names of your own (`sku`, `docs.order_id`)."""
    yield from running(Hub(binary, tmp_path_factory.mktemp("hub")).start())


@pytest.fixture
def fresh_hub(binary, tmp_path):
    """A hub of this test's own."""
    yield from running(Hub(binary, tmp_path).start())


@pytest.fixture
def idle_hub(binary, tmp_path):
    """A configuration with a key, not served yet: `start` it with settings of your own."""
    yield from running(Hub(binary, tmp_path))


@pytest.fixture
def erp(binary, tmp_path):
    yield from running(Erp(binary, tmp_path))


@pytest.fixture
def api(hub):
    """A client of the file's hub with a key for everything."""
    return hub.client()


_counter = itertools.count(1)


@pytest.fixture
def sku(request):
    """Makes SKUs that no other test uses."""
    stem = request.node.name.split("[")[0].removeprefix("test_").upper().replace("_", "-")[:30]

    def make():
        return f"{stem}-{next(_counter)}"
    return make


@pytest.fixture
def stocked(api, sku):
    """Makes a SKU with so many pieces at WH-HAM."""
    def make(on_hand, location="WH-HAM"):
        name = sku()
        api.post("/v1/stock/counts", docs.count(name, on_hand, location)).ok(201)
        return name
    return make
