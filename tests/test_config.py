from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
import pytest

from edge.cli.example import example_config
from edge.cli.flags import add_flags, given_flags
from edge.config import Settings, keys, read_settings
from edge.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent


def problems(tmp_path: Path, text: str, **flags: str) -> tuple[str, ...]:
    file = tmp_path / "config.toml"
    file.write_text(text)
    given = {(name.split("__")[0], name.split("__")[1]): value for name, value in flags.items()}
    with pytest.raises(ConfigError) as caught:
        read_settings(file, given)
    return caught.value.problems


def parse(*argv: str) -> Settings:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    add_flags(parser)
    return read_settings(None, given_flags(parser.parse_args(argv)))


def test_three_mistakes_are_told_together_with_the_nearest_key(tmp_path: Path) -> None:
    text = '[camra]\nsource = "0"\n[mqtt]\nhots = "x"\nport = "1883"\n'
    first, second, third = problems(tmp_path, text)
    assert "[camra] is not a section; did you mean camera?" in first
    assert "mqtt.hots is not a setting; did you mean mqtt.host?" in second
    assert "mqtt.port = '1883': expected a whole number, got text" in third


def test_mistakes_in_file_and_flags_are_told_together(tmp_path: Path) -> None:
    found = problems(tmp_path, "[camera]\nfps = 0\n", mqtt__port="x")
    assert [problem.split(" = ")[0].split(": ")[-1] for problem in found] == ["camera.fps", "--mqtt-port"]


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[mqtt]\nhost = "a"\nport = 1\n')
    settings = read_settings(file, {("mqtt", "host"): "b"})
    assert (settings.mqtt.host, settings.mqtt.port) == ("b", 1)


def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path: Path) -> None:
    (problem,) = problems(tmp_path, '[mqtt]\npassword = "hunter2"\n')
    assert "password_file" in problem
    assert "hunter2" not in problem


def test_a_secret_as_a_flag_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("--mqtt-password", "hunter2")
    assert "EMOTION_EDGE_MQTT_PASSWORD" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[mqtt\n", "not valid TOML"),
        ("mqtt = 3\n", "should be a section"),
        ('[mqtt]\nprefix = "a/#"\n', "mqtt.prefix"),
        ('[mqtt]\ndevice = "a/b"\n', "mqtt.device"),
        ('[mqtt]\ndevice = "a\\n"\n', "mqtt.device"),
        ('[mqtt]\ncert_file = "x"\ntls = true\n', "go together"),
        ('[mqtt]\nca_file = "x"\n', "mqtt.tls = true"),
        ('[detector]\nkind = "dlib"\n', "detector.kind"),
        ("[delivery]\nhold = -1\n", "delivery.hold"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path: Path, text: str, part: str) -> None:
    assert any(part in problem for problem in problems(tmp_path, text))


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(tmp_path / "none.toml", {})


def test_every_key_is_a_flag() -> None:
    for section, key, kind in keys():
        default = getattr(getattr(Settings(), section), key)
        if default is not None:
            text = msgspec.json.encode(default).decode().strip('"')
            assert parse(f"--{section}-{key.replace('_', '-')}", text) == Settings(), (section, key, kind)


def test_the_example_configuration_is_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    lines = example_config().splitlines()
    # What is commented out without a blank is a key; "..." stands for one that has no default.
    file.write_text(
        "\n".join(line.removeprefix("#") if not line.startswith("# ") and '"..."' not in line else "" for line in lines)
    )
    assert read_settings(file, {}) == Settings()
    assert sum(line.startswith("#") and not line.startswith("# ") for line in lines) == len(list(keys()))


def test_the_committed_example_is_the_generated_one() -> None:
    assert (ROOT / "systemd" / "config.toml").read_text() == example_config(), "edge-run --example-config > systemd/config.toml"
