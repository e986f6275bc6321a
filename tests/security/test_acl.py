"""Promise 9, the broker's side: with the access rules that we ship, no device speaks for another or listens to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import Asker
from brokers import Mosquitto, Subscriber, wait_for
from emitting import delivering, drafts, settings_for

from edge.delivery import About, forget

ACL = Path(__file__).resolve().parents[2] / "systemd" / "mosquitto.acl"
USERS = {name: name for name in ("cam", "other", "homeassistant", "reader")}
# What another device would like to do as `cam`, and what it would be good for.
FORGERIES = [
    ("emotion/cam/events", "an event that never was"),
    ("emotion/cam/state", "nobody is there"),
    ("emotion/cam/availability", "a device that seems to be gone"),
    ("emotion/cam/alarms", "a false alarm"),
    ("emotion/cam/command/pause", "a camera that looks away"),
    ("emotion/cam/reply/status", "a false answer"),
    ("homeassistant/device/emotion-edge/cam/config", "sensors that read elsewhere"),
]


def broker(folder: Path, protected: bool) -> Mosquitto:
    return Mosquitto(folder, f"acl_file {ACL}" if protected else "", users=USERS)


@pytest.mark.parametrize("protected", [True, False], ids=["with our rules", "without"])
def test_no_device_writes_on_the_topics_of_another(tmp_path: Path, protected: bool) -> None:
    with (
        broker(tmp_path / "mosquitto", protected) as mosquitto,
        Subscriber(mosquitto.port, username="homeassistant", password="homeassistant") as listener,
        Asker(mosquitto.port, "emotion/cam/#", login="other") as other,
    ):
        for topic, payload in FORGERIES:
            other.publish(topic, payload)
        other.publish("emotion/other/state", b"its own")
        wait_for(lambda: ("emotion/other/state", b"its own") in listener.messages)
        arrived = {topic for topic, _ in listener.messages} - {"emotion/other/state"}
        assert arrived == (set() if protected else {topic for topic, _ in FORGERIES})
        assert bool(other.messages) is not protected, "nor does it hear another one"


def test_a_device_does_all_that_it_has_to_under_our_rules(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "password").write_text("cam")
    mqtt = {"username": "cam", "password_file": str(tmp_path / "password")}
    with (
        broker(tmp_path / "mosquitto", True) as mosquitto,
        Asker(mosquitto.port, login="homeassistant") as home,
        Subscriber(mosquitto.port, "emotion/#", username="reader", password="reader") as reader,
    ):
        settings = settings_for(mosquitto.port, mqtt=mqtt, homeassistant={"discovery": True})
        with delivering(settings, tmp_path / "state") as delivery:
            delivery.describe(About(("happy",), "m 1 ab"))
            delivery.put(drafts(10))
            delivery.alarm("camera", True, "the camera is gone")
            assert delivery.drain(10) == 0
            reader.wait_for_ids(10)
            home.wait_for_online()
            home.publish("homeassistant/status", b"online")
            assert len(home.json("/config", 2)) == 2
            home.ask("status")
            delivery.reply(delivery.commands.get(timeout=10), {"fine": True})
            assert home.json("/reply/status")[0]["result"] == {"fine": True}
            assert home.json("/alarms")[0]["problem"] == "camera"
        with delivering(settings_for(mosquitto.port, mqtt=mqtt, batch=5), tmp_path / "state") as delivery:
            delivery.put(drafts(10))
            assert delivery.drain(10) == 0
            wait_for(lambda: reader.payloads("/events/batch"))
        assert len(forget(settings)) == 3
    assert "refuse" not in caplog.text
