"""A whole service in a thread of the test: real threads, model, outbox and broker; the scene is a picture that never ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from brokers import HOST, Mosquitto
from fakes import LivePicture

from edge.camera.demo import find_portraits
from edge.clock import SYSTEM, Clock
from edge.config import CameraSettings, DeliverySettings, MqttSettings, ServiceSettings, Settings
from edge.faces import FaceDetector
from edge.service import Openers, Service
from edge.types import Face

# Where the portrait's face is.
FACE = Face(250, 200, 200)


def settings(broker: Mosquitto, hang: float = 10.0) -> Settings:
    """A live camera, and a story that goes on every second."""
    return Settings(
        camera=CameraSettings(source="/dev/video97"),
        mqtt=MqttSettings(host=HOST, port=broker.port, device="test"),
        delivery=DeliverySettings(update_interval=1.0, stats_interval=1.0),
        service=ServiceSettings(hang=hang),
    )


class Running:
    """A service that runs.

    Attributes:
        cameras: every camera that it has opened so far.
        ended: what ended it, if anything did.
        reload: what SIGHUP sets.
    """

    def __init__(self, wanted: Settings, folder: Path, detectors: Callable[[], FaceDetector], clock: Clock) -> None:
        image = cv2.imread(str(find_portraits()[0][0]))
        assert image is not None
        self._picture = np.asarray(cv2.resize(image, (500, 400)), np.uint8)
        self.cameras: list[LivePicture] = []
        self.ended: list[BaseException] = []
        self.reload, self._stop = threading.Event(), threading.Event()
        self.settings = wanted
        openers = Openers(camera=lambda _: self._open(), faces=lambda *_: detectors())
        self.service = Service(wanted, folder / "state", reread=lambda: self.settings, clock=clock, openers=openers)
        self._thread = threading.Thread(target=self._run)

    def _open(self) -> LivePicture:
        self.cameras.append(LivePicture(self._picture))
        return self.cameras[-1]

    def _run(self) -> None:
        try:
            self.service.run(self._stop, self.reload)
        except BaseException as error:  # noqa: BLE001  the test looks at it
            self.ended.append(error)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def running(wanted: Settings, folder: Path, detectors: Callable[[], FaceDetector], clock: Clock = SYSTEM) -> Iterator[Running]:
    """Run it as long as the block takes."""
    service = Running(wanted, folder, detectors, clock)
    service.start()
    try:
        yield service
    finally:
        service.stop()
