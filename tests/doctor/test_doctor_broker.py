"""edge-doctor and a real broker: each fault is found at its own step, told in one line, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from brokers import HOST, Mosquitto, Subscriber, free_port, wait_for
from certificates import authority, certificate
from emitting import NOBODY, QUICK, drafts
from fakes import ManualClock

from edge.config import CameraSettings, MqttSettings, ServiceSettings, Settings
from edge.delivery import Delivery
from edge.doctor import dialogue, examine
from edge.doctor.broker import check, expiry
from edge.doctor.dialogue import doctor_topic, round_trip
from edge.doctor.finding import Finding

ALL = ["name", "port", "tls", "login", "subscribe", "publish", "round_trip"]
SECRET = "correct horse battery staple"
WRONG = "open sesame"
TOPIC = "emotion/cam/reply/doctor"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = authority(tmp_path_factory.mktemp("doctor") / "authority")
    certificate(found, "good")
    certificate(found, "device")
    certificate(found, "expired", end="20210101")
    certificate(found, "future", begin="20980101")
    certificate(found, "elsewhere", names="DNS:broker.example")
    return found


def secured(folder: Path, ca: Path, name: str = "good", more: str = "", **rest: Any) -> Mosquitto:
    files = f"cafile {ca}\ncertfile {ca.parent}/{name}.crt\nkeyfile {ca.parent}/{name}.key\n{more}"
    return Mosquitto(folder, files, persistence="none", **rest)


def acl(folder: Path, *lines: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "acl"
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o600)
    return f"acl_file {file}"


def settings(port: int, **mqtt: Any) -> Settings:
    return Settings(mqtt=MqttSettings(**{"host": HOST, "port": port, "device": "cam", **mqtt}))


def login(folder: Path, password: str = SECRET) -> dict[str, Any]:
    file = folder / "password"
    file.write_text(password + "\n")
    return {"username": "cam", "password_file": str(file)}


def steps(findings: list[Finding]) -> list[str]:
    return [finding.name.removeprefix("broker.") for finding in findings]


def test_all_is_well_over_tls_with_password_and_access_list_and_nothing_is_left(tmp_path: Path, ca: Path) -> None:
    rules = acl(tmp_path / "broker", "user cam", "topic readwrite emotion/cam/#", "user see", "topic read #")
    with secured(
        tmp_path / "broker", ca, more=rules + f"\nlistener {(plain := free_port())} {HOST}", users={"cam": SECRET, "see": "see"}
    ) as broker:
        with Subscriber(plain, username="see", password="see") as watcher:
            mqtt = {"tls": True, "ca_file": str(ca), **login(tmp_path)}
            found = list(check(settings(broker.port, **mqtt)))
            assert steps(found) == ALL
            assert {finding.verdict for finding in found} == {"good"}
            assert "2099-01-01" in found[2].text
            wait_for(lambda: watcher.messages)
            assert [topic for topic, _ in watcher.messages] == [TOPIC]
        with Subscriber(plain, username="see", password="see", name="later") as later:
            assert later.messages == []
        # It ended with a goodbye, and had no will.
        assert "Received DISCONNECT from edge-doctor-" in broker.log
        assert "offline" not in str(watcher.messages)


def test_a_running_delivery_is_not_disturbed(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "broker") as broker, Subscriber(broker.port) as watcher:
        given = Settings(
            mqtt=settings(broker.port).mqtt,
            camera=CameraSettings(source="demo"),
            service=ServiceSettings(state_dir=str(tmp_path / "state")),
        )
        delivery = Delivery(given, tmp_path / "state", replay=False, backoff=QUICK)
        delivery.set_state(NOBODY)
        delivery.start()
        try:
            watcher.wait_for_payload("/availability", b"online")
            found = list(examine(given, ["broker", "disk", "permissions"]))
            assert not any(finding.verdict == "broken" for finding in found), found
            delivery.put(drafts(20))
            assert delivery.drain(10) == 0
            assert watcher.payloads("/availability") == [b"online"]
            assert broker.log.count("New client connected") == 3
        finally:
            delivery.stop()


CASES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    # case: (settings, last step, what is told, what to do)
    "wrong password": ({}, "login", "refused: Not authorized", "mosquitto_passwd"),
    "no user": ({"username": None, "password_file": None}, "login", "refused: Not authorized", "set mqtt.username"),
    "no password": ({"password_file": None}, "login", "refused: Not authorized", "no password was found"),
    "password file is missing": ({"password_file": "/nowhere/password"}, "login", "cannot be read", "mqtt.password_file"),
    "another authority": ({}, "tls", "certificate is refused", "mqtt.ca_file"),
    "the system's authorities": ({"ca_file": None}, "tls", "certificate is refused", "mqtt.ca_file"),
    "a certificate for another name": ({}, "tls", "certificate is not valid for", "subjectAltName"),
    "an expired certificate": ({}, "tls", "has expired", "new certificate"),
    "a certificate from the future": ({}, "tls", "not yet valid", "clock"),
    "TLS to a plain port": ({}, "tls", "is this the broker's TLS port?", "8883"),
    "plain text to a TLS port": ({"tls": False, "ca_file": None}, "login", "no answer to CONNECT", "mqtt.tls = true"),
    "a certificate of ours is wanted": ({}, "login", "no answer to CONNECT", "mqtt.cert_file"),
    "no such file": ({"ca_file": "/nowhere/ca.crt"}, "tls", "cannot be used", "mqtt.ca_file"),
    "nobody listens": ({}, "port", "nothing listens there", "start the broker"),
    "no such name": ({"host": "nobody.invalid"}, "name", "cannot be resolved", "mqtt.host"),
}


@pytest.mark.parametrize("case", CASES)
def test_each_fault_is_told_at_its_own_step_with_what_to_do(tmp_path: Path, ca: Path, case: str) -> None:
    changes, step, told, remedy = CASES[case]
    name = {"a certificate for another name": "elsewhere", "an expired certificate": "expired"}.get(case, "good")
    name = "future" if case == "a certificate from the future" else name
    more = "require_certificate true\n" if case == "a certificate of ours is wanted" else ""
    broker = (
        Mosquitto(tmp_path / "plain", persistence="none")
        if "plain port" in case
        else secured(tmp_path / "tls", ca, name, more, users={"cam": SECRET})
    )
    with broker as mosquitto:
        believed = authority(tmp_path / "other") if case == "another authority" else ca
        password = WRONG if case == "wrong password" else SECRET
        mqtt = {"tls": True, "ca_file": str(believed), **login(tmp_path, password)} | changes
        port = free_port() if case == "nobody listens" else mosquitto.port
        found = list(check(settings(port, **mqtt)))
    last = found[-1]
    assert steps(found) == ALL[: ALL.index(step) + 1]
    assert all(finding.verdict in ("good", "warning") for finding in found[:-1])
    assert last.verdict == "broken"
    assert told in last.text
    assert remedy in (last.remedy or "")
    assert not any(word in str(found) for word in (SECRET, WRONG))
    assert not any("\n" in finding.text for finding in found)


def test_our_own_certificate_opens_what_wants_one(tmp_path: Path, ca: Path) -> None:
    # The control of the case above.
    both = {"cert_file": str(ca.parent / "device.crt"), "key_file": str(ca.parent / "device.key")}
    with secured(tmp_path / "tls", ca, more="require_certificate true\n") as broker:
        found = list(check(settings(broker.port, tls=True, ca_file=str(ca), **both)))
    assert {finding.verdict for finding in found} == {"good"}


SHIPPED_RULES = (Path(__file__).resolve().parents[2] / "systemd" / "mosquitto.acl").read_text()


@pytest.mark.parametrize(
    ("rules", "device", "step", "verdict", "told", "remedy"),
    [
        (SHIPPED_RULES, "cam", "", "", "", ""),
        (
            SHIPPED_RULES,
            "other",
            "publish",
            "broken",
            "may not publish to emotion/other/reply/doctor: Not authorized",
            "has to be other",
        ),
        ("user cam\ntopic read emotion/cam/#", "cam", "publish", "broken", "Not authorized", "write emotion/cam/#"),
        # mosquitto grants every subscription, and holds the message back.
        ("user cam\ntopic write emotion/cam/#", "cam", "round_trip", "warning", "did not come back", "emotion/cam/command/+"),
        ("user cam\ntopic readwrite emotion/cam/#", "cam", "", "", "", ""),
    ],
)
def test_an_access_list_that_denies_is_told_with_the_topics_to_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: str, device: str, step: str, verdict: str, told: str, remedy: str
) -> None:
    monkeypatch.setattr(dialogue, "ACKNOWLEDGE_TIMEOUT", 1.0)
    folder = tmp_path / "broker"
    with Mosquitto(folder, acl(folder, rules), persistence="none", users={"cam": SECRET}) as broker:
        found = list(check(settings(broker.port, device=device, **login(tmp_path))))
    bad = [finding for finding in found if finding.verdict != "good"]
    assert [(finding.verdict, *steps([finding])) for finding in bad] == ([(verdict, step)] if step else [])
    for finding in bad:
        assert told in finding.text
        assert remedy in (finding.remedy or "")


AMQTT = """
import asyncio, sys
from amqtt.broker import Broker

async def main():
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    broker = Broker({"listeners": {"default": {"type": "tcp", "bind": sys.argv[1]}}, "plugins": plugins})
    await broker.start()
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1() -> None:
    command = [sys.executable, "-W", "ignore", "-c", AMQTT, f"{HOST}:{(port := free_port())}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as broker:
        try:
            assert broker.stdout is not None
            assert broker.stdout.readline() == b"up\n"
            found = list(check(settings(port)))
        finally:
            broker.kill()
    assert steps(found) == ALL
    assert {finding.verdict for finding in found} == {"good"}
    assert "MQTT 3.1.1" in found[ALL.index("login")].text


@pytest.mark.parametrize(("days", "verdict"), [(400, "good"), (31, "good"), (29, "warning"), (-1, "warning")])
def test_a_certificate_that_ends_soon_is_told_before_it_does(days: int, verdict: str) -> None:
    found = expiry(1_800_000_000.0 + days * 86_400, 1_800_000_000.0, "TLSv1.3")
    assert found.verdict == verdict
    assert ("days" in found.text) == (verdict == "warning")


def test_the_date_is_the_certificates_own(tmp_path: Path, ca: Path) -> None:
    with secured(tmp_path / "tls", ca) as broker:
        # Ten days before the certificate made above ends.
        clock = ManualClock(wall=4_070_908_800.0 - 10 * 86_400)
        found = list(check(settings(broker.port, tls=True, ca_file=str(ca)), clock=clock))
    assert [finding.verdict for finding in found if finding.name == "broker.tls"] == ["warning"]
    assert "in 10 days" in found[2].text


def test_a_password_over_a_plain_connection_is_warned_of_unless_it_stays_on_this_machine() -> None:
    from edge.doctor.broker import tls

    assert [finding.verdict for finding in tls(MqttSettings(host="broker.example", username="cam"))] == ["warning"]
    assert [finding.verdict for finding in tls(MqttSettings(host="localhost", username="cam"))] == ["good"]
    assert [finding.verdict for finding in tls(MqttSettings(host="broker.example"))] == ["good"]


def test_the_topic_is_one_that_the_device_itself_may_use() -> None:
    assert doctor_topic(MqttSettings(prefix="a/b", device="cam")) == "a/b/cam/reply/doctor"


@pytest.mark.parametrize(("seconds", "verdict"), [(0.002, "good"), (0.9, "good"), (2.5, "warning")])
def test_a_slow_round_trip_is_told(seconds: float, verdict: str) -> None:
    assert round_trip(seconds).verdict == verdict
