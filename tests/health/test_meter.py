from __future__ import annotations

import urllib.request

import msgspec
import pytest
from fakes import ManualClock
from prometheus_client.parser import text_string_to_metric_families

from edge.delivery import Counters, State
from edge.errors import RuntimeMissingError
from edge.health.meter import Meter, Reading
from edge.health.metrics import Metrics

EVENTS = Counters(waiting=3, published=40, dropped=2)


def test_figures_are_those_of_the_interval_and_counts_those_of_the_run() -> None:
    clock = ManualClock()
    meter = Meter(clock)
    for milliseconds in range(1, 101):
        meter.frame(milliseconds / 1000)
    clock.pass_by(10)
    reading = Reading(captured=200, dropped=5, queue=1, events=EVENTS, every=3, size=(640, 480), reopened=2, restarts=1)
    stats, snapshot = meter.peek(reading), meter.snapshot(reading)
    # The machine's own are read anew each time, and may have moved between.
    own = {name: getattr(stats, name) for name in ("rss", "temperature", "throttled")}
    assert msgspec.structs.replace(snapshot, **own) == stats
    assert (stats.fps, stats.frames, stats.frames_dropped, stats.queue, stats.uptime) == (10.0, 100, 5, 1, 10.0)
    assert stats.latency is not None
    assert (stats.latency.p50, stats.latency.p99) == (50.5, pytest.approx(99.01))
    assert stats.camera is not None
    assert (stats.camera.width, stats.camera.fps, stats.camera.reopened) == (640, 20.0, 2)
    clock.pass_by(5)
    clock.step(-3600)
    meter.frame(0.5)
    later = meter.snapshot(reading._replace(captured=210))
    assert (later.fps, later.frames, later.uptime) == (0.2, 101, 15.0)
    assert later.camera is not None
    assert later.camera.fps == 2.0


def test_an_interval_is_over_by_the_monotonic_clock() -> None:
    clock = ManualClock()
    meter = Meter(clock)
    clock.step(7200)
    assert not meter.due(60)
    clock.pass_by(60)
    assert meter.due(60)


def test_prometheus_reads_the_figures_of_the_moment() -> None:
    meter = Meter()
    meter.frame(0.02)
    state = State(1, 2, "happy", (), "model", "1", paused=True, problems=("camera",))
    metrics = Metrics(0, lambda: (meter.peek(Reading(1, 0, 0, EVENTS)), state))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics.port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
    finally:
        metrics.stop()
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["emotion_edge_frames_total",] == 1
    assert found["emotion_edge_events_waiting",] == 3
    assert found["emotion_edge_faces",] == 2
    assert found["emotion_edge_paused",] == 1
    assert found["emotion_edge_problem", "camera"] == 1
    assert found["emotion_edge_latency_seconds", "0.5"] == pytest.approx(0.02)


def test_a_port_that_is_taken_is_told_in_a_sentence() -> None:
    first = Metrics(0, lambda: (Meter().peek(Reading(0, 0, 0, EVENTS)), State(1, 0, None, (), "model", "1")))
    try:
        with pytest.raises(RuntimeMissingError, match="nothing can listen there"):
            Metrics(first.port, lambda: (Meter().peek(Reading(0, 0, 0, EVENTS)), State(1, 0, None, (), "model", "1")))
    finally:
        first.stop()
