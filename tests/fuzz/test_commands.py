"""Whatever arrives on a command topic gives a command or one error reply: no traceback, no hang, nothing outside reply/."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from asking import Asker
from brokers import Mosquitto, wait_for
from emitting import delivering, drafts, settings_for
from hypothesis import given
from hypothesis import strategies as st

from edge.delivery import Delivery
from edge.delivery.broker import Received
from edge.delivery.commands import BURST, MAX_WAITING, Command, Desk, read_command
from edge.delivery.events import Reply
from edge.delivery.messages import Message
from edge.delivery.topics import Topics

BASE = "emotion/cam"
VERBS = ("pause", "resume", "reload", "status")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.just("paused"), inner),
    max_leaves=20,
)
nested = st.builds(
    lambda opening, depth: opening * depth, st.sampled_from([b"[", b'{"paused":', b'{"a":[']), st.integers(1, 2000)
)
payloads = (
    values.map(lambda value: json.dumps(value).encode())
    | st.text().map(lambda text: text.encode("utf-16"))
    | st.sampled_from([b"", b"{}", b'{"paused":true}', b'{"paused":false}', b"\xef\xbb\xbf{}", b"x" * 5000])
    | st.binary(max_size=200)
    | nested
)
# What a broker lets pass in a topic.
topic_text = st.text(st.characters(blacklist_characters="/+#", blacklist_categories=("Cs", "Cc", "Cn")), max_size=50)
names = st.sampled_from(VERBS) | topic_text
responses = st.none() | st.text(max_size=300) | st.text(max_size=300).map(lambda text: f"{BASE}/reply/{text}")


@given(name=names, payload=payloads, retain=st.booleans(), response=responses, correlation=st.none() | st.binary(max_size=5000))
def test_anything_gives_a_command_or_one_error_reply(
    name: str, payload: bytes, retain: bool, response: str | None, correlation: bytes | None
) -> None:
    found = read_command(Received(f"{BASE}/command/{name}", payload, retain, response, correlation), Topics(BASE))
    if found is None:
        assert name not in VERBS
        return
    topic = found.response if isinstance(found, Command) else found.topic
    assert topic.startswith(f"{BASE}/reply/")
    assert len(topic) > len(f"{BASE}/reply/")
    assert not set(topic) & set("+#\0\n")
    if isinstance(found, Command):
        assert found.verb in VERBS
        assert not retain
        assert found.correlation == correlation
        return
    reply = msgspec.json.decode(found.payload, type=Reply)
    assert (reply.ok, reply.result) == (False, None)
    assert reply.error
    assert "\n" not in reply.error
    assert len(found.payload) < 1000
    found.properties().pack()


@given(gaps=st.lists(st.floats(0, 0.2), min_size=30, max_size=120))
def test_no_flood_fills_the_queue(gaps: list[float]) -> None:
    desk, now, replies = Desk(Topics(BASE)), 1000.0, 0
    for gap in gaps:
        now += gap
        replies += isinstance(desk.take(Received(f"{BASE}/command/status", b""), now), Message)
    assert desk.commands.qsize() <= MAX_WAITING
    assert desk.commands.qsize() + replies <= BURST + 10 * sum(gaps) + 1


def test_the_delivery_thread_survives_what_a_broker_hands_on(
    tmp_path: Path, full: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The same through a real broker, with what MQTT 5 can carry beside the payload."""
    examples: list[tuple[str, bytes, bool, dict[str, Any]]] = []

    @given(
        name=names.filter(bool),
        payload=payloads,
        retain=st.booleans(),
        response=st.none() | topic_text,
        data=st.binary(max_size=99),
    )
    def collect(name: str, payload: bytes, retain: bool, response: str | None, data: bytes) -> None:
        properties = {"ResponseTopic": response, "CorrelationData": data}
        examples.append((name, payload, retain, {key: value for key, value in properties.items() if value}))

    collect()
    examples = examples[: 2000 if full else 100]
    with Mosquitto(tmp_path / "mosquitto") as mosquitto, Asker(mosquitto.port, f"{BASE}/#") as asker:
        # A device for each burst of them, for it looks at no more at once.
        for start in range(0, len(examples), BURST - 2):
            with delivering(settings_for(mosquitto.port), tmp_path / "state") as delivery:
                asker.wait_for_online()
                for name, payload, retain, properties in examples[start : start + BURST - 2]:
                    asker.ask(name, payload, retain=retain, **properties)
                    while not delivery.commands.empty():
                        delivery.reply(delivery.commands.get(), {"done": True})
                delivery.put(drafts(10))
                assert delivery.drain(10) == 0
                asker.ask("status", b"", CorrelationData=b"last")
                wait_for(lambda delivery=delivery: _last(delivery))  # type: ignore[misc]
            wait_for(lambda: asker.on("/availability")[-1].payload == b"stopped")
        levels = {message.topic.split("/")[2] for message in asker.messages}
        assert levels == {"availability", "state", "events", "command", "reply"}
    for word in ("stumbled", "lost", "Traceback", "flood"):
        assert word not in caplog.text


def _last(delivery: Delivery) -> bool:
    return not delivery.commands.empty() and delivery.commands.get().correlation == b"last"
