"""A network camera that can hang up, go silent, freeze and change its size: multipart JPEG over real sockets."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import cv2
import numpy as np

RATE = 25


class NetworkCamera:
    """A server on a free loopback port; its pictures are brighter on the right and change all the time.

    Args:
        pictures: JPEG files to show instead, over and over.

    Attributes:
        size: width and height of the pictures.
        silent: connections are taken and kept, and nothing is sent.
        still: the picture does not change.
        connections: taken so far.
    """

    def __init__(self, pictures: Sequence[bytes] = ()) -> None:
        self._pictures = pictures
        self.size, self.silent, self.still = (64, 48), threading.Event(), False
        self.connections = 0
        self._hung_up, self._numbers = threading.Event(), itertools.count()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.05], daemon=True)
        self.port = self._server.server_port

    def hang_up(self) -> None:
        """End every connection, and take no new one for longer than a moment."""
        self._hung_up.set()

    def back(self) -> None:
        """As before."""
        self._hung_up.clear()

    def __enter__(self) -> NetworkCamera:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.hang_up()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _picture(self) -> bytes:
        if self._pictures:
            return self._pictures[next(self._numbers) % len(self._pictures)]
        level = 90 if self.still else next(self._numbers) * 7 % 200
        picture = np.full((self.size[1], self.size[0], 3), level, np.uint8)
        picture[:, self.size[0] // 2 :] += 50
        return cv2.imencode(".jpg", picture)[1].tobytes()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.connections += 1
                try:
                    started = False
                    while not camera._hung_up.wait(1 / RATE):
                        if camera.silent.is_set():
                            continue
                        if not started:
                            started = True
                            self.send_response(200)
                            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                            self.end_headers()
                        part = camera._picture()
                        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(part)
                        self.wfile.write(head + part + b"\r\n")
                except ConnectionError:
                    pass

            def log_message(self, *_: object) -> None:
                """Quiet."""

        return Handler
