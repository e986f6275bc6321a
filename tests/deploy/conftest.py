"""What edge-flash is tested with: made once, and only read."""

from __future__ import annotations

from pathlib import Path

import pytest
from flashing import BOOTS, KEY, make_bundle, make_image, make_root

from converters.cli.flash import main

WIFI = 'ssid = "a; \\"net\\""\npassword = "correct horse"\ncountry = "DE"\n'
MQTT = 'host = "broker.example"\nport = 8883\ntls = true\nca_file = "ca.crt"\nusername = "camera-1"\npassword = "hunter2"\n'


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For Raspberry Pi OS bookworm."""
    return make_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a card with Raspberry Pi OS bookworm."""
    folder = tmp_path_factory.mktemp("image")
    return make_image(folder / "card.img", make_root(folder / "root", "bookworm"), BOOTS["bookworm"])


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every flag that makes a board one's own, with its file."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "wifi.toml").write_text(WIFI)
    (folder / "mqtt.toml").write_text(MQTT)
    (folder / "ca.crt").write_text("-----BEGIN CERTIFICATE-----\n")
    (folder / "id.pub").write_text(f"{KEY}\n")
    (folder / "owner.pub").write_text("-----BEGIN PUBLIC KEY-----\n")
    flags = {"--wifi-file": "wifi.toml", "--mqtt-file": "mqtt.toml", "--ssh-key": "id.pub", "--update-key": "owner.pub"}
    return ["--hostname", "camera-1", *(word for flag, name in flags.items() for word in (flag, str(folder / name)))]


@pytest.fixture(scope="session")
def laid(bundle: Path, own: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root file system in a folder, flashed."""
    root = make_root(tmp_path_factory.mktemp("laid") / "root")
    assert main(["--bundle", str(bundle), "--rootfs", str(root), *own]) == 0
    return root
