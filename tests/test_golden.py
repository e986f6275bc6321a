"""The same clip gives the same events: bit for bit on this machine, and within narrow bounds on every other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from golden_events import CASES, GOLDEN, MODEL, ROOT, play

from edge.emotion.manifest import manifest_path, read_manifest

PIXELS, CONFIDENCE = 2.0, 0.02


@pytest.fixture(scope="module")
def played(testdata: Path) -> dict[str, tuple[tuple[int, int], list[bytes]]]:
    return {case: play(case, testdata) for case in CASES}


@pytest.mark.parametrize("case", CASES)
def test_events_are_those_of_the_golden_file(played: dict[str, tuple[tuple[int, int], list[bytes]]], case: str) -> None:
    golden = json.loads((GOLDEN / f"{case}.json").read_text())
    assert golden["model"] == read_manifest(manifest_path(MODEL)).identity, (
        "the model is another one; look at what changes and write the files anew: python tests/golden_events.py"
    )
    assert list(played[case][0]) == golden["size"]
    compare(*played[case], golden["events"])


def compare(size: tuple[int, int], raw: list[bytes], expected: list[dict[str, Any]]) -> None:
    events = [msgspec.json.decode(event) for event in raw]
    assert [(e["type"], e["emotion"]) for e in events] == [(e["type"], e["emotion"]) for e in expected]
    # A track's name is its number in the order of appearance, so it is part of the order.
    assert [e["track"] for e in events] == [e["track"] for e in expected]
    for event, wanted in zip(events, expected, strict=True):
        assert event["confidence"] == pytest.approx(wanted["confidence"], abs=CONFIDENCE)
        for value, other, side in zip(event["box"], wanted["box"], size * 2, strict=True):
            assert value * side == pytest.approx(other * side, abs=PIXELS)


def test_another_rate_of_detections_is_noticed(played: dict[str, tuple[tuple[int, int], list[bytes]]]) -> None:
    golden = json.loads((GOLDEN / "stage.json").read_text())
    with pytest.raises(AssertionError):
        compare(*played["stage-followed"], golden["events"])


def test_golden_files_say_something() -> None:
    """Every medium has faces that come and end; the clip has changes of emotion."""
    found = {case: json.loads((GOLDEN / f"{case}.json").read_text())["events"] for case in CASES}
    for case, events in found.items():
        types = [event["type"] for event in events]
        assert types.count("new") == types.count("end") > 0, case
    assert len({event["track"] for event in found["two-people"]}) == 2
    assert any(event["type"] == "update" for event in found["stage"])
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(CASES)


def test_two_runs_agree_in_every_bit(played: dict[str, tuple[tuple[int, int], list[bytes]]], testdata: Path) -> None:
    """The second one in a process of its own."""
    environment = {**os.environ, "EMOTION_EDGE_TESTDATA": str(testdata), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "tests" / "golden_events.py", "--print"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [event.decode() for _, events in played.values() for event in events]
