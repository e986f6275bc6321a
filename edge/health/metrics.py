"""The figures of `stats` for Prometheus, on this machine alone (extra `metrics`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Thread
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIServer

from edge.delivery.events import State, Stats
from edge.errors import RuntimeMissingError

if TYPE_CHECKING:
    from prometheus_client.core import Metric

LOOPBACK = "127.0.0.1"
PREFIX = "emotion_edge"

Figures = Callable[[], tuple[Stats, State]]


class Metrics:
    """An endpoint that answers with the figures of the moment at which it is asked.

    Args:
        port: on the loopback address.
        figures: the statistics and who is there now; called from the server's thread.

    Raises:
        RuntimeMissingError: prometheus-client is not installed, or the port is taken.
    """

    def __init__(self, port: int, figures: Figures) -> None:
        try:
            from prometheus_client import CollectorRegistry, start_http_server
        except ImportError:
            raise RuntimeMissingError(
                "service.metrics_port needs prometheus-client; pip install 'emotion-edge[metrics]', or set it to 0"
            ) from None
        # A registry of its own: the default one would add figures of the Python interpreter.
        registry = CollectorRegistry()
        registry.register(_Collector(figures))
        try:
            self._server: WSGIServer
            self._thread: Thread
            self._server, self._thread = start_http_server(port, LOOPBACK, registry)
        except OSError as error:
            raise RuntimeMissingError(f"service.metrics_port {port}: nothing can listen there ({error.strerror})") from None

    @property
    def port(self) -> int:
        """The port, also where 0 asked for a free one."""
        return int(self._server.server_port)

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Collector:
    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def describe(self) -> list[Any]:
        # Without it the registry would ask for the figures at once, before there are any.
        return []

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        stats, state = self._figures()
        counters = {
            "frames": ("frames worked through", stats.frames),
            "frames_dropped": ("frames that a newer one overtook", stats.frames_dropped),
            "events_published": ("events that the broker has acknowledged", stats.events.published),
            "events_dropped": ("events lost to a full outbox, ever", stats.events.dropped),
            "restarts": ("stages that hung and were started anew", stats.restarts),
            "camera_reopened": ("times that the camera had to be opened again", stats.camera.reopened if stats.camera else 0),
        }
        for name, (text, count) in counters.items():
            yield CounterMetricFamily(f"{PREFIX}_{name}", text, value=count)
        gauges = {
            "frames_per_second": ("since the last stats message", stats.fps),
            "queue": ("frames that wait", stats.queue),
            "events_waiting": ("events that the broker does not have yet", stats.events.waiting),
            "detect_every": ("faces are looked for in every so-manieth frame", stats.every),
            "faces": ("faces that are there now", state.faces),
            "paused": ("1 while a command has paused the analysis", int(state.paused)),
            "resident_bytes": ("resident memory", stats.rss),
            "temperature_celsius": ("the hottest thermal zone", stats.temperature),
            "throttled": ("1 while the board slows itself down", None if stats.throttled is None else int(stats.throttled)),
        }
        for name, (text, value) in gauges.items():
            if value is not None:
                yield GaugeMetricFamily(f"{PREFIX}_{name}", text, value=value)
        problems = GaugeMetricFamily(f"{PREFIX}_problem", "1 for each problem that lasts", labels=["problem"])
        for problem in state.problems:
            problems.add_metric([problem], 1)
        yield problems
        if stats.latency is not None:
            latency = GaugeMetricFamily(
                f"{PREFIX}_latency_seconds", "capture to the end of the frame's work, since the last stats", labels=["quantile"]
            )
            for quantile, milliseconds in (("0.5", stats.latency.p50), ("0.95", stats.latency.p95), ("0.99", stats.latency.p99)):
                latency.add_metric([quantile], milliseconds / 1000)
            yield latency
