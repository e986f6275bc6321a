"""One TOML file and flags of the same names -> settings. All mistakes are told at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec

from edge.config.settings import Settings
from edge.errors import ConfigError, first_line

# Keys that people look for and that must never stand in a file others can read, or in a process list.
SECRETS = {
    ("mqtt", "password"): "put it into a file and name that file as password_file, or set EMOTION_EDGE_MQTT_PASSWORD",
    ("preview", "token"): "put it into a file and name that file as token_file",
}

Values = Mapping[tuple[str, str], Any]


def keys() -> Iterator[tuple[str, str, Any]]:
    """Every key as (section, key, type), in the order of the file."""
    for section in msgspec.structs.fields(Settings):
        hints = get_type_hints(section.type, include_extras=True)
        for field in msgspec.structs.fields(section.type):
            yield section.name, field.name, hints[field.name]


def read_settings(path: Path | None, flags: Values) -> Settings:
    """Defaults, then the file, then flags.

    Args:
        path: a TOML file, or None.
        flags: (section, key) -> text from the command line.

    Raises:
        ConfigError: with one sentence for each mistake, in file and flags alike.
    """
    problems: list[str] = []
    values = dict(_read_file(path, problems)) if path else {}
    types = {(section, key): kind for section, key, kind in keys()}
    result: dict[str, dict[str, Any]] = {}
    where = f"{path}: " if path else ""
    for from_file, told in ((True, values), (False, flags)):
        for (section, key), value in told.items():
            name = f"{where}{section}.{key}" if from_file else f"--{section}-{key.replace('_', '-')}"
            if (section, key) in SECRETS:
                problems.append(f"{name} is a secret; {SECRETS[section, key]}")
            elif (section, key) not in types:
                problems.append(f"{name} is not a setting{nearest(f'{section}.{key}', [f'{s}.{k}' for s, k in types])}")
            else:
                try:
                    # Flags are text, so a number may be told as one; in a file "1883" is a mistake.
                    given = value if from_file else _listed(value, types[section, key])
                    result.setdefault(section, {})[key] = msgspec.convert(given, types[section, key], strict=from_file)
                except msgspec.ValidationError as error:
                    kind = types[section, key]
                    choices = get_args(kind) if get_origin(kind) is Literal else ()
                    reason = f"expected one of {', '.join(map(str, choices))}" if choices else _plain(error)
                    # The address of a network camera may hold its password.
                    shown = "" if (section, key) == ("camera", "source") else f" = {value!r}"
                    problems.append(f"{name}{shown}: {reason}")
    settings = Settings(**{s.name: s.type(**result.get(s.name, {})) for s in msgspec.structs.fields(Settings)})
    problems += _contradictions(settings) + _homeless(settings)
    if "@" in str(flags.get(("camera", "source"), "")).partition("://")[2].partition("/")[0]:
        problems.append(
            "--camera-source: an address with a password can be read by everyone on this machine; put it into the file"
        )
    if problems:
        raise ConfigError(problems)
    return settings


def _read_file(path: Path, problems: list[str]) -> Iterator[tuple[tuple[str, str], Any]]:
    try:
        content = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        problems.append(f"{path}: the configuration cannot be read ({error.strerror})")
        return
    # Besides its own error the parser lets through those of a number too long and of lists too deep.
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        problems.append(f"{path}: not valid TOML ({first_line(error)})")
        return
    sections = [section.name for section in msgspec.structs.fields(Settings)]
    for section, table in content.items():
        if section not in sections:
            problems.append(f"{path}: [{section}] is not a section{nearest(section, sections)}")
        elif not isinstance(table, dict):
            problems.append(f"{path}: {section} should be a section: write [{section}] with its keys below")
        else:
            for key, value in table.items():
                yield (section, key), value


def _listed(text: str, kind: object) -> Any:
    """A flag's text; that of a list is JSON, which looks as it does in TOML."""
    if get_origin(kind) is not tuple:
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise msgspec.ValidationError("Expected a list such as [[0, 0, 0.5, 1]]") from None


def _contradictions(settings: Settings) -> list[str]:
    mqtt, problems = settings.mqtt, []
    if (mqtt.cert_file is None) != (mqtt.key_file is None):
        problems.append("mqtt.cert_file and mqtt.key_file go together; one of them is missing")
    if (mqtt.ca_file or mqtt.cert_file) and not mqtt.tls:
        problems.append("mqtt.ca_file and mqtt.cert_file need mqtt.tls = true")
    if mqtt.password_file and not mqtt.username:
        problems.append("mqtt.password_file needs mqtt.username")
    # Three frames, so that one may be lost: with fewer every track would end, or the camera be opened again, between two.
    slowest = 3 / min(settings.camera.stall, settings.tracks.max_gap)
    if settings.camera.fps < slowest:
        problems.append(
            f"camera.fps = {settings.camera.fps:g} is too slow for camera.stall and tracks.max_gap: at least {slowest:.2g} "
            "frames/s, or raise both"
        )
    if any(not width or not height for _, _, width, height in settings.detector.regions):
        problems.append("detector.regions has a region without a size; each is left, top, width, height")
    return problems


def _homeless(settings: Settings) -> list[str]:
    """Paths in the home of somebody who does not exist; everybody else expands them without looking."""
    problems = []
    for section, key, _ in keys():
        value = getattr(getattr(settings, section), key)
        if isinstance(value, str) and value.startswith("~"):
            try:
                Path(value).expanduser()
            except RuntimeError:
                problems.append(f"{section}.{key} = {value!r}: there is no such user's home; give the whole path")
    return problems


def nearest(word: str, known: Sequence[str]) -> str:
    """The end of the sentence about an unknown word: which known one it may be, or what there is."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else f"; known are {', '.join(known)}"


def _plain(error: msgspec.ValidationError) -> str:
    text = str(error).replace("`", "").replace(" | null", "")
    if "matching regex" in text:
        return "expected a topic name without blanks, + and # (and, for a device, without /)"
    for technical, plain in (
        ("int", "a whole number"),
        ("float", "a number"),
        ("str", "text"),
        ("bool", "true or false"),
        ("array", "a list"),
    ):
        text = re.sub(rf"\b{technical}\b", plain, text)
    return text[0].lower() + text[1:]
