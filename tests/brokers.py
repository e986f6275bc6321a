"""A real mosquitto, a real subscriber and their settings, for every test that needs a broker."""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

HOST = "127.0.0.1"
# What we tell people to give to their broker is what the tests give to theirs.
SHIPPED = Path(__file__).resolve().parent.parent / "systemd" / "mosquitto.conf"


def free_port() -> int:
    """A loopback port that nobody listens on at this moment."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def wait_for(what: Callable[[], Any], timeout: float = 10.0, because: str = "") -> Any:
    """Wait until something is true and return it; fail with a sentence when it never is."""
    end = time.monotonic() + timeout
    while not (value := what()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout:.0f} s: {because or what}")
        time.sleep(0.01)
    return value


class Mosquitto:
    """A mosquitto on a free loopback port, which can be killed and started again on the same port.

    Args:
        folder: for its configuration, database and log.
        config: further lines of mosquitto.conf.
        persistence: `shipped` is systemd/mosquitto.conf, which saves every change; `default` saves at a clean stop and every
            30 minutes, as Debian's package does; `none` forgets everything at its end.
        users: name -> password; anonymous clients are refused then.
        start: start at once.
    """

    def __init__(
        self,
        folder: Path,
        config: str = "",
        *,
        persistence: Literal["shipped", "default", "none"] = "shipped",
        users: dict[str, str] | None = None,
        start: bool = True,
    ) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        lines = [f"listener {self.port} {HOST}", f"allow_anonymous {'false' if users else 'true'}", "user root", config]
        if persistence != "none":
            lines += ["persistence true", f"persistence_location {folder}/"]
        if persistence == "shipped":
            lines.append(SHIPPED.read_text())
        if users:
            lines.append(f"password_file {self._passwords(users)}")
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        if start:
            self.start()

    def _passwords(self, users: dict[str, str]) -> Path:
        path = self.folder / "passwords"
        for name, password in users.items():
            flags = ["-b"] if path.exists() else ["-b", "-c"]
            subprocess.run(["mosquitto_passwd", *flags, str(path), name, password], check=True, capture_output=True)
        return path

    @property
    def log(self) -> str:
        """What the broker has said so far."""
        return (self.folder / "mosquitto.log").read_text()

    def start(self) -> None:
        """Start, and wait until the port answers."""
        binary = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        assert binary, "mosquitto is not installed; scripts/test installs it (Debian: apt-get install mosquitto)"
        with (self.folder / "mosquitto.log").open("ab") as log:
            command = [binary, "-v", "-c", str(self.folder / "mosquitto.conf")]
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_for(self._answers, because=f"mosquitto answers; its log: {self.log}")

    def stop(self) -> None:
        """Stop cleanly."""
        self._end("terminate")

    def kill(self) -> None:
        """kill -9."""
        self._end("kill")

    def close(self) -> None:
        """Stop if it runs."""
        if self._process is not None:
            self.kill()

    def _end(self, how: str) -> None:
        assert self._process is not None, "mosquitto does not run"
        getattr(self._process, how)()
        self._process.wait(10)
        self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"mosquitto has ended: {self.log}"
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False

    def __enter__(self) -> Mosquitto:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class OldBroker(threading.Thread):
    """A broker of the old kind in front of mosquitto: it closes the connection on everything but MQTT 3.1.1."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.upstream, self.levels = port, list[int]()
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            hello = client.recv(4096)
            level = hello[hello.index(b"MQTT") + 4]
            self.levels.append(level)
            if level != 4:
                return
            with socket.create_connection((HOST, self.upstream)) as broker:
                broker.sendall(hello)
                other = {client: broker, broker: client}
                while True:
                    for sock in select.select([client, broker], [], [])[0]:
                        data = sock.recv(65536)
                        if not data:
                            return
                        other[sock].sendall(data)

    def __enter__(self) -> OldBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.join(5)


class Subscriber:
    """A separate client that collects what it receives, and connects again by itself.

    Args:
        port: of the broker.
        topic: what to subscribe to.
        persistent: the broker keeps messages for it while it is away.
        username, password: when the broker wants them.

    Attributes:
        messages: (topic, payload) in the order of arrival, retained ones included.
    """

    def __init__(
        self,
        port: int,
        topic: str = "#",
        *,
        persistent: bool = False,
        username: str | None = None,
        password: str | None = None,
        name: str = "subscriber",
        start: bool = True,
    ) -> None:
        self.port, self.topic, self.messages = port, topic, list[tuple[str, bytes]]()
        self._ready = threading.Event()
        self._name, self._persistent, self._login = name, persistent, (username, password)
        if start:
            self.start()

    def _new_client(self) -> paho.Client:
        client = paho.Client(
            CallbackAPIVersion.VERSION2, self._name, clean_session=not self._persistent, protocol=MQTTProtocolVersion.MQTTv311
        )
        if self._login[0]:
            client.username_pw_set(*self._login)
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda client, *_: client.subscribe(self.topic, qos=1)
        client.on_subscribe = lambda *_: self._ready.set()
        client.on_disconnect = lambda *_: self._ready.clear()
        client.on_message = lambda _client, _data, message: self.messages.append((message.topic, bytes(message.payload)))
        return client

    def start(self, wait: bool = True) -> None:
        """Connect; wait until the subscription stands, or leave that to the background."""
        # A client anew: paho leaks its wake-up sockets when one client's loop is started twice.
        self._client = self._new_client()
        self._client.connect_async(HOST, self.port, keepalive=10)
        self._client.loop_start()
        if wait:
            assert self._ready.wait(10), f"no subscription on port {self.port}"

    def stop(self) -> None:
        """Disconnect; a persistent session stays with the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def payloads(self, topic_end: str) -> list[bytes]:
        """Payloads of the topics that end so, such as `/availability`."""
        return [payload for topic, payload in list(self.messages) if topic.endswith(topic_end)]

    def decoded(self, topic_end: str) -> list[dict[str, Any]]:
        """What the JSON payloads of the topics that end so say."""
        return [json.loads(payload) for payload in self.payloads(topic_end)]

    def events(self) -> list[dict[str, Any]]:
        """Every event as received, duplicates included."""
        return self.decoded("/events")

    def ids(self) -> list[str]:
        """Ids of the events in the order of their first arrival: what a consumer keeps."""
        return list(dict.fromkeys(event["id"] for event in self.events()))

    def wait_for_ids(self, count: int, timeout: float = 15.0) -> list[str]:
        """Wait for so many different events; returns their ids."""
        wait_for(lambda: len(self.ids()) >= count, timeout, f"{count} different events")
        return self.ids()

    def wait_for_payload(self, topic_end: str, payload: bytes, timeout: float = 10.0) -> None:
        """Wait until the newest message of a topic is this one."""
        wait_for(lambda: self.payloads(topic_end)[-1:] == [payload], timeout, f"{payload!r} on {topic_end}")

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
