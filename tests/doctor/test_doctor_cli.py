"""edge-doctor as people meet it: lines, exit status, JSON; and no check can take the others with it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import HOST, Mosquitto, free_port, wait_for
from model_packages import copy_model

from edge.cli.doctor import main, worst
from edge.config import CameraSettings, ModelSettings, Settings
from edge.doctor import NAMES, Finding, examine, model
from edge.doctor.examine import TOPICS, Topic, in_process, in_thread
from edge.doctor.finding import Findings, good
from edge.emotion.classify import DEFAULT_MODEL

ROOT = Path(__file__).resolve().parents[2]
LINE = re.compile(r"(good|warning|broken|skipped) +[a-z0-9_.-]+ +\S.*")
PAGE = (ROOT / "docs" / "doctor.md").read_text()


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, list[str], list[str]]:
    status = main(list(map(str, arguments)))
    told = capsys.readouterr()
    return status, told.out.splitlines(), told.err.splitlines()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Mosquitto]:
    with Mosquitto(tmp_path / "mosquitto", persistence="none") as broker:
        yield broker


def test_one_line_each_and_a_summary(capsys: pytest.CaptureFixture[str], tmp_path: Path, mosquitto: Mosquitto) -> None:
    where = ["--source", "demo", "--host", HOST, "--port", str(mosquitto.port), "--state-dir", tmp_path / "state"]
    status, lines, errors = doctor(capsys, *where, "--only", "camera,model,broker,disk")
    assert (status, errors) == (0, [])
    assert lines[0].startswith("edge-doctor ")
    assert all(LINE.fullmatch(line) for line in lines[1:-1]), lines
    assert [line.split()[1].split(".")[0] for line in lines[1:-1]] == sorted(
        (line.split()[1].split(".")[0] for line in lines[1:-1]), key=NAMES.index
    )
    assert re.fullmatch(r"(\d+ warning, )?\d+ good(, \d+ skipped)?", lines[-1])
    # It looks and leaves nothing.
    assert not (tmp_path / "state").exists()


def test_something_broken_is_exit_1_and_tells_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, errors = doctor(capsys, "--host", HOST, "--port", str(free_port()), "--only", "broker,service")
    assert (status, errors) == (1, [])
    broken = [line for line in lines if line.startswith("broken")]
    assert len(broken) == 1
    assert "start the broker" in broken[0]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--only", "brokr"], "did you mean broker?"),
        (["--only", ""], "is not a topic"),
        (["--port", "many"], "--mqtt-port = 'many'"),
        (["--config", "/nowhere.toml"], "cannot be read"),
        (["--jsn"], "did you mean --json?"),
        (["--mqtt-password", "hunter2"], "secret"),
    ],
)
def test_a_mistake_is_exit_2_with_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    status, lines, errors = doctor(capsys, *arguments)
    assert (status, lines, len(errors)) == (2, [], 1)
    assert errors[0].startswith("edge-doctor: ")
    assert told in errors[0]
    assert "hunter2" not in errors[0]


def test_json_for_machines_with_the_settings_of_a_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, mosquitto: Mosquitto
) -> None:
    config = tmp_path / "config.toml"
    (tmp_path / "password").write_text("hunter2\n")
    login = f'username = "cam"\npassword_file = "{tmp_path}/password"\n'
    text = f'[mqtt]\nhost = "{HOST}"\nport = {mosquitto.port}\ndevice = "cam"\n{login}'
    config.write_text(text)
    status, lines, _ = doctor(capsys, "--config", config, "--only", "broker", "--json")
    assert len(lines) == 1
    report = json.loads(lines[0])
    assert (status, report["verdict"], report["v"], report["config"]) == (0, "good", 1, str(config))
    assert [finding["name"] for finding in report["findings"]][-1] == "broker.round_trip"
    assert "emotion/cam/reply/doctor" in lines[0]
    assert "hunter2" not in lines[0]


def test_the_command_itself_ends_without_a_traceback(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edge.cli.doctor", "--only", "clock,disk", "--state-dir", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert "clock.time" in done.stdout


@pytest.mark.parametrize(
    ("damage", "name", "told"),
    [
        ("none", "model.golden", "golden scores here as it should"),
        ("one bit", "model.file", "sha256 is"),
        ("a byte less", "model.file", "bytes, its manifest says"),
        ("no manifest", "model.file", "manifest cannot be read"),
        ("no model", "model.file", "no such file"),
        ("other scores", "model.golden", "computes other scores here"),
    ],
)
def test_a_model_is_whole_or_told(tmp_path: Path, damage: str, name: str, told: str) -> None:
    model = tmp_path / DEFAULT_MODEL.name
    manifest = model.with_suffix(".json")
    shutil.copy(DEFAULT_MODEL, model)
    shutil.copy(DEFAULT_MODEL.with_suffix(".json"), manifest)
    content = bytearray(model.read_bytes())
    if damage == "one bit":
        content[len(content) // 2] ^= 1
        model.write_bytes(content)
    elif damage == "a byte less":
        model.write_bytes(content[:-1])
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "no model":
        model.unlink()
    elif damage == "other scores":
        written = json.loads(manifest.read_text())
        written["golden"][0]["scores"].reverse()
        manifest.write_text(json.dumps(written))
    found = {finding.name: finding for finding in examine(Settings(model=ModelSettings(path=str(model))), ["model"])}
    assert told in found[name].text
    assert found[name].verdict == ("good" if damage == "none" else "broken")
    assert found["model.detector"].verdict in ("good", "warning")


OTHER_LABELS = ["a", "b", "c", "d", "e", "f", "g"]


@pytest.mark.parametrize(
    ("first", "second", "name", "told"),
    [
        ({}, {}, None, ""),
        ({}, {"labels": OTHER_LABELS}, "model.shadow.golden", "the first model"),
        ({"labels": OTHER_LABELS}, {"sha256": "0" * 64}, "model.shadow.file", "sha256 is"),
        ({"sha256": "0" * 64}, {}, "model.file", "sha256 is"),
        # None of the two can be compared, and each is told of for itself.
        ({"sha256": "0" * 64}, {"labels": OTHER_LABELS}, "model.file", "sha256 is"),
    ],
)
def test_a_shadow_is_opened_as_edge_run_opens_it(
    tmp_path: Path, first: dict[str, object], second: dict[str, object], name: str | None, told: str
) -> None:
    models = copy_model(tmp_path / "first", "1.0.0", **first), copy_model(tmp_path / "second", "2.0.0", **second)
    settings = Settings(model=ModelSettings(path=str(models[0]), shadow=str(models[1])))
    found = {finding.name: finding for finding in model.check(settings)}
    assert [broken for broken, finding in found.items() if finding.verdict == "broken"] == ([name] if name else [])
    if name:
        assert told in found[name].text


def test_a_check_that_fails_itself_is_a_line_without_secrets() -> None:
    settings = Settings(camera=CameraSettings(source="rtsp://admin:hunter2@camera/?token=abc"))

    def check(settings: Settings, _root: Path) -> Findings:
        yield good("x.first", "fine")
        raise RuntimeError(f"cannot open {settings.camera.source} nor rtsp://admin:hunter2@other/\nsecond line")

    found = list(in_thread(Topic("x", 10.0), check, settings, Path("/")))
    assert [(finding.name, finding.verdict) for finding in found] == [("x.first", "good"), ("x.check", "broken")]
    assert "RuntimeError: cannot open …" in found[1].text
    assert not any(word in str(found) for word in ("hunter2", "admin", "abc", "second line"))


def test_a_check_that_hangs_is_left_behind(tmp_path: Path) -> None:
    until = threading.Event()

    def check(_settings: Settings, _root: Path) -> Findings:
        yield good("x.first", "fine")
        until.wait(60)

    try:
        found = list(in_thread(Topic("x", 0.2), check, Settings(), Path("/")))
    finally:
        until.set()
    assert [(finding.name, finding.verdict) for finding in found] == [("x.first", "good"), ("x.check", "broken")]


def children() -> list[int]:
    """Our own child processes that look at a topic."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"edge.doctor.child" in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_a_process_that_hangs_is_killed_and_one_that_crashes_is_told(tmp_path: Path) -> None:
    """A stream that takes the connection and never says a word keeps OpenCV waiting in its own code.

    In a tree without /proc: beside another edge-run of this machine no frame would be tried.
    """
    with socket.create_server((HOST, 0)) as silent:
        source = f"http://{HOST}:{silent.getsockname()[1]}/"
        settings = Settings(camera=CameraSettings(source=source))
        found = list(in_process(Topic("camera", 1.5, own_process=True), settings, tmp_path))
        assert found[-1].name == "camera.check"
        assert "not through within 1.5 s" in found[-1].text
        assert children() == []

        crashed = list[Finding]()
        thread = threading.Thread(target=lambda: crashed.extend(in_process(TOPICS[NAMES.index("camera")], settings, tmp_path)))
        thread.start()
        os.kill(wait_for(children)[0], signal.SIGSEGV)
        thread.join(30)
    assert crashed[-1].verdict == "broken"
    assert "crashed (SIGSEGV)" in crashed[-1].text


def test_findings_of_a_process_come_as_they_are_made(mosquitto: Mosquitto) -> None:
    """Who waits at a terminal sees the steps, not their end."""
    settings = Settings(camera=CameraSettings(source="demo"))
    found = examine(settings, ["model"])
    first = next(found)
    assert first.name == "model.file"
    assert children()
    found.close()  # type: ignore[attr-defined]
    deadline = time.monotonic() + 10
    while children() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert children() == []


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [([], "good"), (["good", "skipped"], "good"), (["warning", "good"], "warning"), (["warning", "broken", "good"], "broken")],
)
def test_the_worst_counts(verdicts: list[str], expected: str) -> None:
    assert worst(Finding("x", verdict, "") for verdict in verdicts) == expected  # type: ignore[arg-type]


def test_every_line_is_explained_on_the_page() -> None:
    """Names stand in the code as words; each must have its entry in docs/doctor.md."""
    source = "".join(path.read_text() for path in (ROOT / "edge" / "doctor").glob("*.py"))
    names = set(re.findall(rf'"((?:{"|".join(NAMES)})\.[a-z_]+)"', source))
    assert len(names) > 25
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []
    assert sorted(name for name in NAMES if f"## {name}" not in PAGE) == []
