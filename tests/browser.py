"""A real headless Chromium, driven by its DevTools protocol over a pair of pipes: no driver, no port, no package."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A first start on a slow machine takes seconds.
PATIENCE = 60.0
# For audits of a page: colours as drawn, what lies below an element, and the contrast of two (WCAG 2.1, 1.4.3).
CONTRAST = """
  const rgb = words => { const n = words.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, below) => [0, 1, 2].map(i => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const ground = element => {
    const own = rgb(getComputedStyle(element).backgroundColor);
    return own[3] === 1 || !element.parentElement ? over(own, [255, 255, 255, 1]) : over(own, ground(element.parentElement));
  };
  const light = colour => {
    const [r, g, b] = colour.map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
"""


def find_chromium() -> str | None:
    """Its path, or None where there is none."""
    return next((path for program in PROGRAMS if (path := shutil.which(program))), None)


class Browser:
    """One tab of one Chromium; use as a context manager.

    Attributes:
        complaints: what console, page and browser had to say against it.
        requests: addresses that were asked for.
    """

    def __init__(self, program: str) -> None:
        self._program = program
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def __enter__(self) -> Browser:
        self._folder = tempfile.mkdtemp(prefix="edge-browser-")
        to_read, self._out = os.pipe()
        self._in, to_write = os.pipe()
        flags = ["--headless=new", "--remote-debugging-pipe", f"--user-data-dir={self._folder}", "--no-first-run"]
        # The page is made by the test itself; a container seldom has what Chromium's own sandbox wants.
        flags += ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--disable-extensions"]
        # DevTools reads 3 and writes 4.
        command = ["bash", "-c", f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}', self._program, *flags, "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(to_read, to_write), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(to_read)
        os.close(to_write)
        self._number, self._rest, self._session = 0, b"", ""
        self._events: list[dict[str, Any]] = []
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End it and everything that it started."""
        with contextlib.suppress(OSError, TimeoutError, RuntimeError):
            self._session = ""
            self.call("Browser.close", patience=5)
        for end in (self._in, self._out):
            os.close(end)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, page: Path | str, width: int = 1280, height: int = 900, scheme: str = "light", media: str = "screen") -> None:
        """Load a page afresh.

        Args:
            page: an .html file, or an address.
            width, height: of the window, in CSS pixels.
            scheme: the colours that the person prefers, `light` or `dark`.
            media: `screen` or `print`.
        """
        self.complaints.clear()
        self.requests.clear()
        self.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._events.clear()
        self.call("Page.navigate", url=page if isinstance(page, str) else page.resolve().as_uri())
        self._wait_for("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript in the page; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as a .png file, below the window too."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def call(self, method: str, patience: float = PATIENCE, **parameters: Any) -> dict[str, Any]:
        """One command of the DevTools protocol.

        Raises:
            RuntimeError: it was refused, or Chromium has ended.
            TimeoutError: no answer came.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        end = time.monotonic() + patience
        while True:
            answer = self._read(end, method)
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return dict(answer["result"])

    def _wait_for(self, event: str) -> None:
        end = time.monotonic() + PATIENCE
        while not any(seen.get("method") == event for seen in self._events):
            self._read(end, event)

    def _read(self, end: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._rest:
            if not select.select([self._in], [], [], max(0.0, end - time.monotonic()))[0]:
                raise TimeoutError(f"Chromium did not answer: {what}")
            chunk = os.read(self._in, 1 << 16)
            if not chunk:
                raise RuntimeError(f"Chromium has ended: {what}")
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        self._events.append(message)
        parameters = message.get("params", {})
        match message.get("method"):
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded" as kind:
                self.complaints.append(f"{kind}: {json.dumps(parameters)}")
            case "Network.requestWillBeSent":
                self.requests.append(str(parameters["request"]["url"]))
