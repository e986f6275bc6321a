"""Run the checks: one after another, each with a bound, and none that fails can take the others with it.

What loads other people's machine code (numpy, OpenCV, TFLite, a camera's driver) runs in a process of its own, which can
crash and be killed; the rest in threads, which can be left behind.
"""

from __future__ import annotations

import importlib
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from edge.config import Settings
from edge.doctor.finding import Finding, Findings, broken
from edge.errors import EmotionEdgeError, first_line

Check = Callable[[Settings, Path], Findings]


class Topic(msgspec.Struct, frozen=True):
    """One module of this package with a `check(settings, root)`.

    Attributes:
        limit: seconds after which it is given up; several times what a slow board needs.
        own_process: whether it may crash or hang in code that is not ours.
    """

    name: str
    limit: float
    own_process: bool = False


TOPICS = (
    Topic("wheels", 300.0),
    Topic("permissions", 30.0, own_process=True),
    Topic("camera", 60.0, own_process=True),
    Topic("model", 120.0, own_process=True),
    Topic("broker", 90.0, own_process=True),
    Topic("clock", 40.0),
    Topic("disk", 20.0),
    Topic("heat", 30.0),
    Topic("service", 30.0),
)
NAMES = tuple(topic.name for topic in TOPICS)


class Task(msgspec.Struct, frozen=True):
    """What a process of its own is given on its standard input: never on its command line, which everyone can read."""

    topic: str
    settings: Settings
    root: str


def examine(settings: Settings, only: Iterable[str] = NAMES, root: Path = Path("/")) -> Iterator[Finding]:
    """Every finding of the topics, in their order, as soon as it is there.

    Args:
        only: names of topics.
        root: where etc, proc, run, sys and var are.
    """
    wanted = set(only)
    for topic in TOPICS:
        if topic.name in wanted:
            findings = (
                in_process(topic, settings, root) if topic.own_process else in_thread(topic, load(topic.name), settings, root)
            )
            yield from findings


def guarded(topic: str, check: Check, settings: Settings, root: Path) -> Findings:
    """A check that fails itself is a finding too."""
    try:
        yield from check(settings, root)
    except EmotionEdgeError as error:
        yield _failed(topic, str(error), settings)
    except Exception as error:  # noqa: BLE001  # whatever it is, the other checks shall be made
        yield _failed(topic, f"{type(error).__name__}: {first_line(error)}", settings)


def in_thread(topic: Topic, check: Check, settings: Settings, root: Path) -> Findings:
    """Run a check in a thread, which is left behind when it does not end in time."""
    yield from _bounded(topic, lambda: guarded(topic.name, check, settings, root))


def in_process(topic: Topic, settings: Settings, root: Path) -> Findings:
    environment = {"OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "2", "TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "edge.doctor.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        # A group of its own, so that programs which it has started end with it.
        start_new_session=True,
    )
    task = msgspec.json.encode(Task(topic.name, settings, str(root)))
    try:
        yield from _bounded(topic, lambda: _lines(process, task, topic.name))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _lines(process: subprocess.Popen[bytes], task: bytes, topic: str) -> Findings:
    """Give a process its task, take its findings line by line, and say so if it ends badly."""
    assert process.stdin is not None
    assert process.stdout is not None
    # It may have crashed before it read its task.
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(task)
    with process.stdout:
        for line in process.stdout:
            # The last line of a process that was killed may be cut.
            with suppress(msgspec.DecodeError):
                yield msgspec.json.decode(line, type=Finding)
    status = process.wait()
    if status:
        how = f"crashed ({signal.Signals(-status).name})" if status < 0 else f"ended with {status}"
        remedy = "a package made for another processor or system, most likely: see the lines about wheels"
        yield broken(f"{topic}.check", f"the process that looked at it {how}", remedy)


def _bounded(topic: Topic, findings: Callable[[], Findings]) -> Findings:
    """Findings that are made in a thread, until they are through or the topic's time is."""
    found: queue.SimpleQueue[Finding | None] = queue.SimpleQueue()

    def run() -> None:
        try:
            for finding in findings():
                found.put(finding)
        finally:
            found.put(None)

    threading.Thread(target=run, name=topic.name, daemon=True).start()
    end = time.monotonic() + topic.limit
    while True:
        try:
            finding = found.get(timeout=max(0.0, end - time.monotonic()))
        except queue.Empty:
            remedy = "something below it hangs (a driver, a name server, a card): dmesg | tail, then look again"
            yield broken(f"{topic.name}.check", f"not through within {topic.limit:g} s", remedy)
            return
        if finding is None:
            return
        yield finding


def load(topic: str) -> Check:
    """A topic's check. Imported only when it is made: a module that cannot be imported is a finding like any other."""

    def check(settings: Settings, root: Path) -> Findings:
        yield from importlib.import_module(f"edge.doctor.{topic}").check(settings, root)

    return check


def _failed(topic: str, reason: str, settings: Settings) -> Finding:
    text = f"this check itself failed ({without_passwords(reason, settings)})"
    return broken(f"{topic}.check", text, "report it; the other lines hold")


def without_passwords(text: str, settings: Settings) -> str:
    """Somebody else's message without the source's user and password, should it repeat them."""
    hidden = text.replace(settings.camera.source, "…") if "://" in settings.camera.source else text
    return re.sub(r"//[^/\s@]*@", "//…@", hidden)
