"""Commands: what is asked is done once and answered once, and nothing that arrives does any harm."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator

import pytest
from asking import Asker
from brokers import Mosquitto, OldBroker, wait_for
from emitting import drafts, settings_for

from edge.delivery import Command, Delivery
from edge.delivery.broker import Received
from edge.delivery.commands import BURST, MAX_BYTES, MAX_WAITING, read_command
from edge.delivery.messages import Message
from edge.delivery.topics import Topics

Deliver = Callable[..., Delivery]
BASE = "emotion/cam"


def read(verb: str, payload: bytes = b"", **more: object) -> Command | Message | None:
    return read_command(Received(f"{BASE}/command/{verb}", payload, **more), Topics(BASE))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verb", "payload", "expected"),
    [
        ("pause", b"", "pause"),
        ("pause", b"{}", "pause"),
        ("pause", b'{"paused": true}', "pause"),
        ("pause", b' {"paused": false}\n', "resume"),
        ("resume", b"", "resume"),
        ("reload", b"{}", "reload"),
        ("status", b"", "status"),
    ],
)
def test_what_a_good_command_means(verb: str, payload: bytes, expected: str) -> None:
    command = read(verb, payload, correlation=b"\0\xff")
    assert command == Command(expected, verb, f"{BASE}/reply/{verb}", b"\0\xff")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("verb", "payload", "sentence"),
    [
        ("explode", b"", "there is no command of this name; there are pause, resume, reload, status"),
        ("pause", b"true", "Expected `object`, got `bool`"),
        ("pause", b'{"paused": 1}', "Expected `bool`, got `int`"),
        ("pause", b'{"paused": true, "for": 3}', "unknown field `for`"),
        ("status", b'{"x": 1}', "unknown field `x`"),
        ("reload", b'{"model": "../../etc/passwd"}', "unknown field `model`"),
        ("resume", b"{", "truncated"),
        ("resume", b"\xff\xfe{}", "malformed"),
        ("pause", b'{"\xff": 1}', "not what pause takes"),
        ("status", b"[" * 4000, "not what status takes"),
        ("status", b'{"a":' * 800, "not what status takes"),
        ("status", b" " * (MAX_BYTES + 1), "at most 4096 bytes"),
        ("status", b"NaN", "malformed"),
    ],
)
def test_a_bad_command_gets_one_sentence(verb: str, payload: bytes, sentence: str) -> None:
    reply = read(verb, payload, correlation=b"c")
    assert isinstance(reply, Message)
    assert reply.topic == f"{BASE}/reply/{verb}"
    content = json.loads(reply.payload)
    assert (content["ok"], content["command"], content["result"]) == (False, verb, None)
    assert sentence in content["error"]
    assert "\n" not in content["error"]
    assert len(content["error"]) < 400


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (f"{BASE}/reply/to-me", f"{BASE}/reply/to-me"),
        (f"{BASE}/reply/a/b", f"{BASE}/reply/a/b"),
        (None, f"{BASE}/reply/status"),
        ("", f"{BASE}/reply/status"),
        ("somewhere/else", f"{BASE}/reply/status"),
        (f"{BASE}/events", f"{BASE}/reply/status"),
        (f"{BASE}/replying", f"{BASE}/reply/status"),
        (f"{BASE}/reply/", f"{BASE}/reply/status"),
        (f"{BASE}/reply/#", f"{BASE}/reply/status"),
        (f"{BASE}/reply/+", f"{BASE}/reply/status"),
        (f"{BASE}/reply/\0", f"{BASE}/reply/status"),
        (f"{BASE}/reply/{'x' * 300}", f"{BASE}/reply/status"),
        ("emotion/other/reply/x", f"{BASE}/reply/status"),
    ],
)
def test_replies_stay_below_reply(asked: str | None, expected: str) -> None:
    command = read("status", response=asked)
    assert isinstance(command, Command)
    assert command.response == expected


def test_a_name_that_is_no_verb_gets_no_topic_of_its_own() -> None:
    for verb in ("", "Pause", "x" * 40, "a b", "é"):
        assert read(verb) is None
    reply = read("Pause", response=f"{BASE}/reply/me")
    assert isinstance(reply, Message)
    assert reply.topic == f"{BASE}/reply/me"


@pytest.mark.parametrize("five", [True, False], ids=["5", "3.1.1"])
def test_a_command_reaches_the_supervisor_and_its_reply_the_asker(mosquitto: Mosquitto, deliver: Deliver, five: bool) -> None:
    delivery = deliver(settings_for(mosquitto.port))
    wait_for(lambda: delivery.connected)
    with Asker(mosquitto.port, five=five) as asker:
        asker.wait_for_online()
        more = {"ResponseTopic": f"{BASE}/reply/me", "CorrelationData": b"\x00\x01"} if five else {}
        asker.ask("pause", b'{"paused": true}', **more)
        command = delivery.commands.get(timeout=10)
        assert (command.verb, command.name) == ("pause", "pause")
        delivery.reply(command, {"paused": True})
        asker.ask("status", **more)
        delivery.reply(delivery.commands.get(timeout=10), error="not now")
        end = "/reply/me" if five else "/reply/pause"
        first = asker.json(end)[0]
        assert first == {"v": 1, "command": "pause", "ok": True, "result": {"paused": True}, "error": None}
        if five:
            assert asker.json(end, 2)[1]["error"] == "not now"
            properties = asker.on(end)[0].properties
            assert properties.CorrelationData == b"\x00\x01"
            assert properties.ContentType == "application/json"
            assert properties.UserProperty == [("schema", "reply/1")]
            assert not asker.on(end)[0].retain
        else:
            assert asker.json("/reply/status")[0]["error"] == "not now"


def test_commands_are_heard_again_after_the_broker_has_forgotten_us(
    tmp_path_factory: pytest.TempPathFactory, deliver: Deliver
) -> None:
    with Mosquitto(tmp_path_factory.mktemp("m"), persistence="none") as mosquitto:
        delivery = deliver(settings_for(mosquitto.port))
        wait_for(lambda: delivery.connected)
        mosquitto.kill()
        wait_for(lambda: not delivery.connected)
        mosquitto.start()
        wait_for(lambda: delivery.connected)
        with Asker(mosquitto.port) as asker:
            # Being connected is not being subscribed: the state follows the subscription.
            asker.wait_for_online()
            asker.ask("status")
            assert delivery.commands.get(timeout=10).verb == "status"


@pytest.fixture(params=["5", "3.1.1"])
def broker(request: pytest.FixtureRequest, mosquitto: Mosquitto) -> Iterator[tuple[bool, int]]:
    """Whether the device speaks MQTT 5, and the port to connect it to."""
    if request.param == "5":
        yield True, mosquitto.port
        return
    with OldBroker(mosquitto.port) as old:
        yield False, old.port


def test_a_retained_command_is_ignored(mosquitto: Mosquitto, broker: tuple[bool, int], deliver: Deliver) -> None:
    """Waiting at the broker it is ignored; so it is when it is published while we listen, where MQTT 5 tells us."""
    five, port = broker
    with Asker(mosquitto.port) as asker:
        asker.ask("pause", b"{}", retain=True)
        delivery = deliver(settings_for(port))
        asker.wait_for_online()
        asker.ask("status")
        assert delivery.commands.get(timeout=10).verb == "status"
        if five:
            asker.ask("pause", b"{}", retain=True)
        assert "retained" in asker.json("/reply/pause")[0]["error"]
        assert delivery.commands.empty()


def test_ten_megabytes_are_refused_and_survived(
    mosquitto: Mosquitto, broker: tuple[bool, int], deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    """MQTT 5 lets the broker keep them from us; with 3.1.1 they are taken in and answered."""
    five, port = broker
    delivery = deliver(settings_for(port))
    with Asker(mosquitto.port) as asker:
        asker.wait_for_online()
        asker.ask("status", b"x" * 10_000_000)
        asker.ask("status", b"x" * 5000)
        replies = asker.json("/reply/status", 1 if five else 2)
        assert all("at most 4096 bytes" in reply["error"] for reply in replies)
        asker.ask("status", b"")
        assert delivery.commands.get(timeout=10).verb == "status"
        delivery.put(drafts(10))
        assert delivery.drain(10) == 0
        assert len(asker.on("/reply/status")) == len(replies)
    assert "stumbled" not in caplog.text
    assert "lost" not in caplog.text


def test_a_flood_of_commands_is_bounded_and_keeps_no_event_back(
    mosquitto: Mosquitto, deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    delivery = deliver(settings_for(mosquitto.port, window=4))
    with Asker(mosquitto.port) as asker:
        asker.wait_for_online()
        began = time.monotonic()
        infos = [asker._client.publish(f"{BASE}/command/status", b"", qos=1) for _ in range(1000)]
        delivery.put(drafts(100))
        for info in infos:
            info.wait_for_publish(20)
        assert delivery.drain(10) == 0
        wait_for(lambda: "dropped without a reply" in caplog.text)
        assert delivery.commands.qsize() == MAX_WAITING
        elapsed = time.monotonic() - began
        assert len(asker.on("/reply/status")) <= BURST + 10 * elapsed
        assert caplog.text.count("dropped without a reply") == 1
        wait_for(lambda: len(asker.on("/events")) >= 100)
        while not delivery.commands.empty():
            delivery.commands.get()
        time.sleep(0.5)
        asker.ask("status", CorrelationData=b"after the flood")
        wait_for(delivery.commands.qsize)
