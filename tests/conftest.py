"""Fixtures that every room shares. Tests mirror the packages; tests/fakes.py holds small real implementations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import Asker
from brokers import Mosquitto, Subscriber
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis

ROOT = Path(__file__).resolve().parent.parent
TESTDATA = Path(os.environ.get("EMOTION_EDGE_TESTDATA", ROOT.parent / "shared"))
NO_DATA = "no test data: set EMOTION_EDGE_TESTDATA to the folder with data/, media/ and models/"


@pytest.fixture(scope="session")
def testdata() -> Path:
    """The folder with real data, media and models; the test is skipped where it is absent."""
    if not (TESTDATA / "data").is_dir():
        pytest.skip(NO_DATA)
    return TESTDATA


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="every promise at its full length: hours instead of minutes")


def pytest_configure(config: pytest.Config) -> None:
    """Generated inputs: 200 of each kind, 10,000 at full length. No deadline: the machines are shared."""
    common = {"deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}
    hypothesis.register_profile("short", max_examples=200, derandomize=True, **common)
    hypothesis.register_profile("full", max_examples=10_000, **common)
    hypothesis.load_profile("full" if config.getoption("--full") else "short")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that exist only at full length are left out, not skipped: a skip would look like something missing."""
    if not config.getoption("--full"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("full")])
        items[:] = [item for item in items if not item.get_closest_marker("full")]


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    """A broker with the configuration that we ship."""
    with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@pytest.fixture
def subscriber(mosquitto: Mosquitto) -> Iterator[Subscriber]:
    """Whoever hears everything."""
    with Subscriber(mosquitto.port) as client:
        yield client


@pytest.fixture
def asker(mosquitto: Mosquitto) -> Iterator[Asker]:
    """Whoever commands the device `test`."""
    with Asker(mosquitto.port, base="emotion/test") as client:
        yield client


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether a promise is tested at its full length: `count = 1000 if full else 20`."""
    return bool(request.config.getoption("--full"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was not tested for want of data."""
    skipped = terminalreporter.stats.get("skipped", [])
    count = sum(NO_DATA in str(report.longrepr) for report in skipped)
    terminalreporter.write_line(f"{count} tests skipped for want of test data")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip while the data is there is a failure: it would hide what nobody looks at. A backend may be missing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not (TESTDATA / "data").is_dir():
        return
    if any("is not installed" not in str(report.longrepr) for report in reporter.stats.get("skipped", [])):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
