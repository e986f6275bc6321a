"""TLS is verified or refused, and passwords come from where they are safe."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from brokers import Mosquitto, wait_for
from certificates import authority, certificate
from emitting import drafts, settings_for

from edge.delivery import Delivery
from edge.errors import DeliveryError

Deliver = Callable[..., Delivery]


def secured(folder: Path, ca: Path, more: str = "") -> Mosquitto:
    """A mosquitto that speaks TLS with the certificate `broker` of the authority."""
    files = f"cafile {ca}\ncertfile {ca.parent}/broker.crt\nkeyfile {ca.parent}/broker.key\n"
    return Mosquitto(folder, files + more)


def test_a_broker_of_our_authority_is_accepted_also_with_certificates_on_both_sides(tmp_path: Path, deliver: Deliver) -> None:
    ca = authority(tmp_path / "ca")
    certificate(ca, "broker")
    certificate(ca, "cam")
    tls = {"tls": True, "ca_file": str(ca)}
    both = {"cert_file": str(ca.parent / "cam.crt"), "key_file": str(ca.parent / "cam.key")}
    with secured(tmp_path / "one", ca) as one, secured(tmp_path / "two", ca, "require_certificate true\n") as two:
        for mosquitto, mqtt in ((one, tls), (two, tls | both)):
            delivery = deliver(settings_for(mosquitto.port, mqtt=mqtt), state_dir=mosquitto.folder / "state")
            delivery.put(drafts(50))
            assert delivery.drain(10) == 0


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("another authority", "TLS: the broker's certificate is refused: "),
        ("the system's authorities", "TLS: the broker's certificate is refused: "),
        ("another host", "certificate is not valid for"),
        ("expired", "certificate has expired"),
        ("plain port", "is this the broker's TLS port?"),
    ],
)
def test_whatever_cannot_be_verified_is_refused_in_one_line(
    tmp_path: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture, case: str, sentence: str
) -> None:
    ca = authority(tmp_path / "ca")
    wrong = {"another host": {"names": "IP:127.0.0.9"}, "expired": {"end": "20210101"}}
    certificate(ca, "broker", **wrong.get(case, {}))
    believed = authority(tmp_path / "other") if case == "another authority" else ca
    mqtt = {"tls": True} if case == "the system's authorities" else {"tls": True, "ca_file": str(believed)}
    broker = Mosquitto(tmp_path / "plain") if case == "plain port" else secured(tmp_path / "tls", ca)
    with broker as mosquitto:
        delivery = deliver(settings_for(mosquitto.port, mqtt=mqtt))
        delivery.put(drafts(1))
        wait_for(lambda: caplog.text.count("trying again") >= 2)
        assert sentence in caplog.text
        assert all("\n" not in record.getMessage() for record in caplog.records)
        assert not delivery.connected
        assert delivery.counters.published == 0


def test_plain_text_to_a_tls_port_never_connects(tmp_path: Path, deliver: Deliver, caplog: pytest.LogCaptureFixture) -> None:
    ca = authority(tmp_path / "ca")
    certificate(ca, "broker")
    with secured(tmp_path / "tls", ca) as mosquitto:
        delivery = deliver(settings_for(mosquitto.port))
        wait_for(lambda: caplog.text.count("trying again") >= 2)
        assert not delivery.connected


def test_files_that_are_no_certificates_are_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    for name in ("ca.crt", "missing.crt"):
        with pytest.raises(DeliveryError, match=f"TLS: .*{name} cannot be used"):
            Delivery(settings_for(1, mqtt={"tls": True, "ca_file": str(tmp_path / name)}), tmp_path / "state", replay=False)


SHOW = """
import sys
from edge.config import MqttSettings
from edge.login import read_password
print(read_password(MqttSettings(username="u", password_file=sys.argv[1] or None)), end="")
"""


@pytest.mark.parametrize(
    ("named", "credential", "variable", "expected"),
    [
        (True, True, True, "from file"),
        (False, True, True, "from credential"),
        (False, False, True, "from environment"),
        (False, False, False, "None"),
    ],
)
def test_where_the_password_comes_from(tmp_path: Path, named: bool, credential: bool, variable: bool, expected: str) -> None:
    (tmp_path / "file").write_text("from file\n")
    environment = {key: value for key, value in os.environ.items() if key != "CREDENTIALS_DIRECTORY"}
    environment["CREDENTIALS_DIRECTORY"] = str(tmp_path / "credentials")
    (tmp_path / "credentials").mkdir()
    if credential:
        (tmp_path / "credentials" / "mqtt-password").write_text("from credential")
    if variable:
        environment["EMOTION_EDGE_MQTT_PASSWORD"] = "from environment"
    command = [sys.executable, "-c", SHOW, str(tmp_path / "file") if named else ""]
    assert subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout == expected
