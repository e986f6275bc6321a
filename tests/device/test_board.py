"""A booted board: flashed by edge-flash, installed by itself, watching through V4L2, and hard to keep down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from brokers import HOST, Subscriber, wait_for
from device import parts
from device.board import Board
from device.flashed import NAME, READER, Flashed

# Keeps what was measured.
Note = Callable[[str], None]
CONFIG = "/etc/emotion-edge/config.toml"
# On a machine that has other things to do, too.
SOON = 300.0
# WatchdogSec of the unit.
WATCHDOG = 30


def process(board: Board) -> str:
    """The service's main process; 0 is none."""
    return board.run("systemctl show -p MainPID --value emotion-edge").strip()


def wait_for_another(board: Board, before: str) -> str:
    """The process that has taken over from one."""
    return str(wait_for(lambda: time.sleep(1) or {process(board)} - {before, "0"}, SOON, "another process").pop())


def news(heard: Subscriber, topic_end: str, timeout: float = SOON) -> dict[str, Any]:
    """The next message of a topic."""
    count = len(heard.payloads(topic_end))
    wait_for(lambda: len(heard.payloads(topic_end)) > count, timeout, f"something new on {topic_end}")
    return dict(heard.decoded(topic_end)[-1])


def test_flashed_and_switched_on_it_installs_itself_and_tells_what_it_sees(day_one: Flashed, note: Note) -> None:
    assert list(day_one.seconds) == ["flashed", "image", "boot", "event", "installed"]
    told = ", ".join(f"{what} {seconds:g} s" for what, seconds in day_one.seconds.items())
    note(f"from the start of edge-flash --rootfs: {told}")


def test_it_goes_on_after_a_reboot(board: Board, heard: Subscriber) -> None:
    event = news(heard, "/events", 3 * SOON)
    assert event["id"].startswith("replay-")
    assert board.run("systemctl is-active emotion-edge").strip() == "active"
    assert board.attempt("systemctl is-failed emotion-edge-setup")[0] != 0


def test_secrets_are_for_root_and_the_service_alone(board: Board) -> None:
    for path in (CONFIG, "/etc/emotion-edge/mqtt-password"):
        assert board.run(f"stat -c '%U:%G %a' {path}").strip() == "root:emotion-edge 640"
        board.run(f"setpriv --reuid emotion-edge --regid emotion-edge --clear-groups cat {path}")
        assert board.attempt(f"setpriv --reuid nobody --regid nogroup --clear-groups cat {path}")[0] != 0


def test_int8_scores_are_those_of_x86_bit_for_bit(board: Board, tmp_path: Path) -> None:
    here = parts.scores_here(tmp_path)
    there = board.run(f"{parts.PYTHON} {parts.TOOLS}/scores.py /opt/emotion-edge/current/models/model.tflite {parts.CROP}")
    assert "Created TensorFlow Lite XNNPACK delegate" in there
    assert here.strip() in there.splitlines()


def test_the_doctor_finds_nothing_broken(board: Board) -> None:
    status, text = board.attempt(f"edge-doctor --json --config {CONFIG} 2>/dev/null", 900)
    verdicts = {finding["name"]: finding["verdict"] for finding in json.loads(text)["findings"]}
    assert "broken" not in verdicts.values(), text
    assert status == 0
    for name in ("broker.login", "broker.round_trip", "service.state", "wheels.ai-edge-litert"):
        assert verdicts[name] == "good", text


def test_killed_it_comes_back_and_events_go_on(board: Board, heard: Subscriber) -> None:
    before, last = process(board), news(heard, "/events")["seq"]
    board.run(f"kill -9 {before}")
    wait_for_another(board, before)
    assert wait_for(lambda: [event for event in heard.events() if event["seq"] > last + 5], SOON, "events")


def test_a_v4l2_camera_gives_frames(board: Board, heard: Subscriber, note: Note) -> None:
    board.run(f"sed -i 's|^source = .*|source = \"0\"|' {CONFIG} && systemctl restart emotion-edge")
    stats = wait_for(lambda: [s for s in heard.decoded("/stats") if s["camera"] and s["fps"] > 0], SOON, "frames")[-1]
    assert (stats["camera"]["width"], stats["camera"]["height"]) == (640, 480)
    assert "vivid" in board.run("cat /sys/class/video4linux/video0/name")
    assert "/dev/video0" in board.run(f"ls -l /proc/{process(board)}/fd")
    note(f"vivid through V4L2: {stats['fps']:g} frames/s worked through, {stats['frames_dropped']} overtaken")


def test_a_model_that_is_pushed_is_kept(board: Board, day_one: Flashed, heard: Subscriber, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(day_one.password)
    model = parts.copy_model(tmp_path, "1.1.0")
    parts.command("model", "pack", model, "--key", day_one.owner_key, "-o", tmp_path / "p.edgemodel")
    where = ["--broker", f"{HOST}:{day_one.port}", "--device", NAME]
    login = ["--username", READER, "--password-file", tmp_path / "password"]
    parts.command("model", "push", tmp_path / "p.edgemodel", *where, *login)
    assert json.loads(board.run(f"{parts.PYTHON} {parts.TOOLS}/slots.py 2>/dev/null"))["version"] == "1.1.0"
    wait_for(lambda: "mobilenet 1.1.0" in heard.decoded("/state")[-1]["model"], SOON, "the new model in the state")


def test_stopped_by_a_signal_the_watchdog_starts_it_anew(board: Board, heard: Subscriber, note: Note) -> None:
    before = process(board)
    board.run(f"kill -STOP {before}")
    begun = time.monotonic()
    wait_for_another(board, before)
    note(f"SIGSTOP to a new process: {time.monotonic() - begun:.0f} s (WatchdogSec is {WATCHDOG} s)")
    assert "watchdog" in board.run("journalctl -u emotion-edge -o cat | tail -n 50").lower()
    count = len(heard.decoded("/stats"))
    wait_for(lambda: any(stats["fps"] > 0 for stats in heard.decoded("/stats")[count:]), SOON, "frames")


def test_no_system_call_was_refused(board: Board) -> None:
    """audit=1 on the kernel's line: seccomp tells whom it kills (type 1326)."""
    log = board.run("dmesg") + board.console.read_text(errors="replace")
    assert "audit: type=" in log
    assert "type=1326" not in log
