"""A board in emulation, for those who ask for it: scripts/test --device, or --device=quick for what needs no boot.

Not collected otherwise: it takes tens of minutes, root, and what scripts/test installs for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from brokers import Mosquitto, Subscriber
from device.board import Board
from device.cache import FOLDER, TOOK
from device.flashed import Flashed, flashed
from device.parts import firmware

ASKED = os.environ.get("EMOTION_EDGE_DEVICE", "")
collect_ignore_glob = [] if ASKED == "all" else ["test_board.py", "test_power_cut.py"]
if not ASKED:
    collect_ignore_glob += ["test_quick.py"]

NOTES: list[str] = []
# The same, for whoever does not want to wait for the end.
LOG = FOLDER / "log"


@pytest.fixture(scope="session")
def note() -> Callable[[str], None]:
    """Keeps what was measured; it is told at the end."""

    def keep(text: str) -> None:
        NOTES.append(text)
        with LOG.open("a") as log:
            log.write(f"{time.strftime('%H:%M:%S')} {text}\n")

    return keep


@pytest.fixture(scope="session")
def day_one() -> Flashed:
    """A board that has been flashed, has booted and has installed itself."""
    return flashed()


@pytest.fixture(scope="module")
def broker(day_one: Flashed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """The broker of that board."""
    with day_one.broker(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.fixture(scope="module")
def heard(day_one: Flashed, broker: Mosquitto) -> Iterator[Subscriber]:
    """Whatever it says there."""
    with day_one.subscriber() as subscriber:
        yield subscriber


@pytest.fixture
def off(day_one: Flashed, tmp_path: Path) -> Iterator[Board]:
    """That board with a disk of its own, switched off."""
    with Board(firmware(), day_one.copy(tmp_path), tmp_path) as board:
        yield board
    # pytest keeps its folders, and this is a gigabyte.
    board.image.unlink()


@pytest.fixture(scope="module")
def board(day_one: Flashed, heard: Subscriber, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    """That board, booted once more, with a face before its eyes; what one test leaves behind the next one finds."""
    folder = tmp_path_factory.mktemp("board")
    with Board(firmware(), day_one.copy(folder), folder) as board:
        board.start()
        board.wait()
        yield board
    board.image.unlink()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What was made (at this time or earlier), and what was measured."""
    if not ASKED:
        return
    terminalreporter.section("device")
    for made in sorted(FOLDER.glob(f"*/{TOOK}")):
        terminalreporter.write_line(f"{made.parent.name}: made in {made.read_text().strip()} s")
    for note in NOTES:
        terminalreporter.write_line(note)
