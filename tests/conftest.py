"""One lab for the whole test run: the first test that asks for it brings it up, and it is taken down at the end.

Tests that use it carry the marker ``lab`` and run after all others, one after the other. Those marked
``lab(first=True)`` hurt nothing, and run while the backups and proofs that the lab begins with go on; the one marked
``lab(last=True)`` burns a site, so nothing comes after it. Each leaves the lab as it found it (fixture ``scene``).

NCIA_TEST_LAB=/short/path keeps the lab: it is brought up where it is not yet, and left standing. For work on the tests.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ncia.core.base.errors import NciaError
from ncia.lab import proc, segments
from ncia.lab.lab import Lab
from tests.demand import demand
from tests.e2e.scene import Scene

# No test is judged by how busy the machine is.
settings.register_profile("ncia", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ncia")

KEPT = "NCIA_TEST_LAB"
LONGEST = (  # begun first: with these at the end, the other processes would have nothing left to do
    "backup.test_perform",
    "recovery.fencing.test_faults",
    "core.work.test_jobs",
    "browser.test_console",
    "recovery.test_return",
    "recovery.test_crashes",
    "backup.repository.test_sweep",
    "backup.repository.test_referee",
    "backup.repository.stores.test_contract",
    "app.test_agencies_retained",
    "cli.test_repo_retention",
    "recovery.receiving.test_receiving",
    "recovery.fencing.test_watch",
    "lab_apps.test_service",
    "monitors.test_findings",
    "core.work.test_takeover",
    "recovery.actions.test_hosts",
    "monitors.test_detection",
    "cli.test_people",
    "recovery.fencing.test_etcd",
    "backup.test_rehash",
    "recovery.actions.test_postgresql",
    "backup.agencies.test_points_postgresql",
    "backup.test_workers",
    "recovery.test_take_over",
    "recovery.test_task",
    "recovery.test_permits",
)
TESTS = Path(__file__).parent
LAB_TEST_SECONDS_MAX = 600  # bringing it up counts for whoever asks first

_unmendable: list[str] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            if item.get_closest_marker("lab") is None:
                item.add_marker(pytest.mark.lab)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(LAB_TEST_SECONDS_MAX))
    items.sort(key=turn)


def turn(item: pytest.Item) -> tuple[int, int]:
    marker = item.get_closest_marker("lab")
    if marker is not None:
        return 2 + bool(marker.kwargs.get("last")) - bool(marker.kwargs.get("first")), 0
    name = item.path.relative_to(TESTS).with_suffix("").as_posix().replace("/", ".")
    return 0, LONGEST.index(name) if name in LONGEST else len(LONGEST)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure in the lab is told when it happens: the run goes on for minutes, and may be cut off before its end."""
    report = yield
    if report.failed and item.get_closest_marker("lab") is not None:
        reporter = item.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"\n{report.when} of {item.nodeid} failed:\n{report.longreprtext}", red=True)
    return report


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The lab, up and green, with citizens acting, and every system on its way to a proven backup."""
    for tool in ("unshare", "nice"):
        demand(tool, "the lab needs it")
    kept = os.environ.get(KEPT)
    if kept:
        made = Lab(Path(kept))
        Scene(made).begin()
        yield made
        return
    with tempfile.TemporaryDirectory(prefix="ncia-", ignore_cleanup_errors=True) as home:
        made = Lab(Path(home) / "lab")
        try:
            Scene(made).begin()
            yield made
        finally:
            marks = segments.of_postmasters(made.home)
            made.down()
        left = [row for row in segments.segments(proc.PROC / "sysvipc/shm") if row[0] in marks.segments]
        assert (proc.below(made.home), list(made.home.iterdir()), left) == ((), [], [])


@pytest.fixture
def scene(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """The lab for one test: whole when the test begins, and made whole again after it, however it ended."""
    if _unmendable:
        pytest.fail(f"the lab could not be made whole after {_unmendable[0]}", pytrace=False)
    found = Scene(lab)
    try:
        found.wait_until_whole()
        yield found
        found.make_whole()
    except NciaError:
        _unmendable.append(request.node.nodeid)  # those that follow need not wait minutes each to find the same
        raise
