"""Name, network, key and broker: from files, checked, and nothing secret in what is said about them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from deploying import ROOT
from flashing import KEY

from converters.deploy.flash.board import with_key
from converters.deploy.flash.personal import Personal, Wifi, read_personal
from edge.config import read_settings
from edge.errors import DeployError, EmotionEdgeError

SECRET = "s3cret-word"


def test_the_key_of_a_network_is_the_one_of_the_standard() -> None:
    # IEEE 802.11-2020, annex J.4.2, the first two test vectors.
    assert Wifi("IEEE", "DE", "password").key == "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    assert Wifi("ThisIsASSID", "DE", "ThisIsAPassword").key == "0dc0d6eb90555ed6419756b9a15ec3e3209b63df707dd508d14581f8982721af"
    assert Wifi("any", "DE", "A" * 64).key == "a" * 64
    assert Wifi("open", "DE", "").key == ""


BAD = [
    ("wifi", f'ssid = "a"\npassword = "{SECRET}"\n', "country"),
    ("wifi", f'ssid = "a"\npassword = "{SECRET}"\ncountry = "de"\n', "country"),
    ("wifi", f'ssid = "a"\npasword = "{SECRET}"\ncountry = "DE"\n', "pasword"),
    ("wifi", 'ssid = "a"\npassword = "short"\ncountry = "DE"\n', "8 to 63 characters"),
    ("wifi", f'ssid = "{"a" * 33}"\npassword = "{SECRET}"\ncountry = "DE"\n', "at most 32 bytes"),
    ("wifi", f'ssid = a\npassword = "{SECRET}"\n', "not valid TOML"),
    ("wifi", f"password = {SECRET}\n", "not valid TOML"),
    ("wifi", 'ssid = "a"\ncountry = "DE"\n', "no password in it, and nobody here to be asked"),
    ("mqtt", f'password = "{SECRET}"\n', "host"),
    ("mqtt", f'host = "b"\npassword = "{SECRET}"\n', "password needs username"),
    ("mqtt", f'host = "b"\nport = 70000\nusername = "c"\npassword = "{SECRET}"\n', "port"),
    ("mqtt", 'host = "b"\nusername = "c"\n', "nobody here to be asked"),
    ("mqtt", 'host = "b"\nca_file = "ca.crt"\n', "ca_file needs tls = true"),
    ("mqtt", 'host = "b"\ntls = true\nca_file = "none.crt"\n', "cannot be read"),
    ("mqtt", 'host = "b"\ntls = true\nca_file = ""\n', "cannot be read"),
    ("mqtt", 'host = "b"\ntls = true\nca_file = "a\\u0000b"\n', "cannot be read"),
    ("mqtt", 'host = "b"\ntls = true\nca_file = "~nobody9/x"\n', "nobody's home; give the whole path"),
    ("mqtt", f'host = "b"\nusername = ""\npassword = "{SECRET}"\n', "username"),
    ("mqtt", 'host = "b"\ndevice = "a/b"\n', "device"),
    ("mqtt", 'host = "b"\nprefix = "x #"\n', "prefix"),
    ("ssh_key", f"-----BEGIN OPENSSH PRIVATE KEY-----\n{SECRET}\n", "a private key, which stays on this machine"),
    ("ssh_key", f"{KEY}\n{KEY}\n", "not a public key of ssh"),
    ("ssh_key", f'command="{SECRET}" {KEY}', "not a public key of ssh"),
    ("update_key", f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n", "a private key, which stays"),
    ("update_key", SECRET, "not a public key in PEM form"),
    ("config", f'[mqtt]\npassword = "{SECRET}"\n', "is a secret"),
]


@pytest.mark.parametrize(("what", "text", "sentence"), BAD, ids=[f"{what} {sentence[:20]}" for what, _, sentence in BAD])
def test_a_file_that_cannot_be_used_is_refused_and_its_secret_unsaid(tmp_path: Path, what: str, text: str, sentence: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(EmotionEdgeError, match=sentence) as caught:
        read_personal(**{what: tmp_path / "file"})
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_not_in_the_file_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "wifi").write_text('ssid = "a"\ncountry = "DE"\n')
    (tmp_path / "mqtt").write_text('host = "b"\nusername = "c"\n')
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return "from-a-person"

    personal = read_personal(wifi=tmp_path / "wifi", mqtt=tmp_path / "mqtt", ask=ask)
    assert personal.wifi is not None
    assert personal.mqtt is not None
    assert (personal.wifi.password, personal.mqtt.password) == ("from-a-person", "from-a-person")
    assert sorted(asked) == ["password of c on b: ", "password of the network a: "]


@pytest.mark.parametrize("name", ["", "a b", "-a", "a-", "a.b", "a" * 64, "ä", "$(id)"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(DeployError, match="--hostname"):
        read_personal(hostname=name)


def test_nothing_asked_for_is_nothing() -> None:
    assert read_personal() == Personal()


CONFIGS = {
    "the example": (ROOT / "systemd/config.toml").read_text(),
    "empty": "",
    "another section": '[camera]\nsource = "0"\n',
    "the section at the end": '[camera]\nsource = "0"\n\n[mqtt]\n',
    "a comment behind its head": '[mqtt] # mine\nport = 1884\n\n[detector]\n#host = "of another section"\n',
    "a key in it": '# mine\n[mqtt]\nport = 1884\n\n[camera]\nsource = "0"\n',
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_key_is_added_to_a_configuration_and_the_rest_stays(tmp_path: Path, name: str) -> None:
    text = CONFIGS[name]
    changed = with_key(with_key(text, "mqtt", "host", 'a "b" \\ c'), "mqtt", "tls", True)
    before, after = msgspec.toml.decode(text), msgspec.toml.decode(changed)
    assert after == {**before, "mqtt": {**before.get("mqtt", {}), "host": 'a "b" \\ c', "tls": True}}
    assert {line for line in text.splitlines() if line.startswith("# ")} <= {*changed.splitlines()}
    (tmp_path / "config.toml").write_text(changed)
    assert read_settings(tmp_path / "config.toml", {}).mqtt.host == 'a "b" \\ c'
    assert with_key(changed, "mqtt", "tls", True) == changed


def test_a_key_that_is_there_with_another_value_is_not_changed() -> None:
    with pytest.raises(DeployError, match=r"mqtt.host is 'a' in the configuration, and would be 'b'"):
        with_key('[mqtt]\nhost = "a"\n', "mqtt", "host", "b")
    for inline in ("mqtt = {port = 1}\n", "mqtt.port = 1\n", "mqtt = 1\n", "[[mqtt]]\n"):
        with pytest.raises(DeployError, match="write host = "):
            with_key(inline, "mqtt", "host", "b")
    with pytest.raises(DeployError, match="not valid TOML"):
        with_key("[mqtt\n", "mqtt", "host", "b")
