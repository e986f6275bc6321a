"""Settings: one TOML file and flags of the same names, read into frozen structs. All mistakes are told at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from edge.errors import ConfigError

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Topic = Annotated[str, Meta(pattern=r"^[^/+#\x00\s]+(/[^/+#\x00\s]+)*$")]
TopicLevel = Annotated[str, Meta(pattern=r"^[^/+#\x00\s]+$")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the sections."""


class CameraSettings(Section, frozen=True):
    """Where frames come from.

    Attributes:
        source: V4L2 index or path, rtsp/http url, video file, folder, picture, or `demo`.
        width: pixels, asked of a live camera; what it really gives is logged.
        height: pixels, likewise.
        fps: frames per second, asked of a live camera.
        still: seconds of replay time for which a single picture is held.
    """

    source: str = "0"
    width: Annotated[int, Meta(ge=16, le=8192)] = 640
    height: Annotated[int, Meta(ge=16, le=8192)] = 480
    fps: Annotated[float, Meta(gt=0, le=240)] = 15.0
    still: Seconds = 3.0


class DetectorSettings(Section, frozen=True):
    """How faces are found.

    Attributes:
        kind: `auto` takes yunet when its weights are there, else haar.
        weights: YuNet's .onnx; else the usual places are searched (see `edge-fetch`).
        width: frames are shrunk to this width for detection, pixels.
        every: detect on every k-th frame.
        min_score: YuNet's boxes below it are dropped.
    """

    kind: Literal["auto", "haar", "yunet"] = "auto"
    weights: str | None = None
    width: Annotated[int, Meta(ge=64, le=4096)] = 320
    every: Annotated[int, Meta(ge=1, le=100)] = 1
    min_score: Fraction = 0.7


class ModelSettings(Section, frozen=True):
    """Which network looks at the faces.

    Attributes:
        path: a .tflite or .onnx with its manifest beside it; without it, the model that comes with emotion-edge.
        threads: CPU threads of one inference.
        delegate: what computes a .tflite: `xnnpack`, `none`, or a library such as libedgetpu.so.1; edge-bench tells the fastest.
        views: inferences of one face in one frame, 1 or 2; the average of two is steadier.
    """

    path: str | None = None
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    delegate: Annotated[str, Meta(min_length=1)] = "xnnpack"
    views: Annotated[int, Meta(ge=1, le=2)] = 2


class TensorRtSettings(Section, frozen=True):
    """An .onnx model on the GPU of a Jetson.

    Attributes:
        use: `auto` runs .onnx models on TensorRT wherever it is installed; `off` leaves them on the CPU.
        precision: `auto` is int8 for a model with Q/DQ nodes, else fp16 where the GPU gains by it.
        python: the interpreter that can import tensorrt and pycuda; else this one or /usr/bin/python3, whichever can.
        cache: folder of the engines; without it /var/lib/emotion-edge/engines where that can be written, else the user's cache.
        timeout: an inference that takes longer is given up and its process replaced, seconds.
    """

    use: Literal["auto", "off"] = "auto"
    precision: Literal["auto", "fp32", "fp16", "int8"] = "auto"
    python: str | None = None
    cache: str | None = None
    timeout: Seconds = 3.0


class TrackSettings(Section, frozen=True):
    """Which face is which.

    Attributes:
        max_gap: a track that was not seen for this long is lost, seconds.
        min_overlap: smallest intersection over union of a face with its track's last place.
    """

    max_gap: Seconds = 1.0
    min_overlap: Fraction = 0.2


class EmotionSettings(Section, frozen=True):
    """From scores to one steady word.

    Attributes:
        smoothing: time constant of the exponential average over scores, seconds; 0 is off.
        threshold: below this score the emotion is `uncertain`.
        hysteresis: a new emotion must lead the present one by this much.
        dwell: a new emotion must lead for this long, seconds.
    """

    smoothing: Annotated[float, Meta(ge=0, le=60)] = 0.5
    threshold: Fraction = 0.4
    hysteresis: Fraction = 0.1
    dwell: Annotated[float, Meta(ge=0, le=60)] = 0.6


class MqttSettings(Section, frozen=True):
    """The broker.

    Attributes:
        host: the broker's name or address.
        port: the broker's port; without it 1883, or 8883 with TLS.
        username: the name to log in with.
        password_file: a file that holds nothing but the password; else the systemd credential `mqtt-password` or the
            environment variable EMOTION_EDGE_MQTT_PASSWORD is taken.
        tls: encrypt and verify; there is no way to encrypt without verifying.
        ca_file: PEM, the authorities that may vouch for the broker; without it the system's.
        cert_file: PEM, this device's own certificate, for brokers that ask for one.
        key_file: PEM, the key of cert_file.
        prefix: topics are `<prefix>/<device>/…`.
        device: this device's name in the topics; without it the host's name.
        keepalive: seconds between signs of life.
    """

    host: Annotated[str, Meta(min_length=1)] = "localhost"
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    username: str | None = None
    password_file: str | None = None
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    prefix: Topic = "emotion"
    device: TopicLevel | None = None
    keepalive: Annotated[int, Meta(ge=1, le=3600)] = 30


class DeliverySettings(Section, frozen=True):
    """What becomes an event and how it reaches the broker.

    Attributes:
        update_interval: an unchanged emotion is told again after this long, seconds.
        hold: events are kept this long after the broker took them, to be sent again if it forgot them, seconds.
        max_events: most events in the outbox; beyond it the oldest go and are counted.
        max_bytes: most bytes of events in the outbox, likewise.
        window: events on their way to the broker at one time.
        drain_timeout: how long a file source waits for delivery at its end, seconds.
        stats_interval: seconds between `stats` messages.
    """

    update_interval: Seconds = 10.0
    hold: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    max_events: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    max_bytes: Annotated[int, Meta(ge=4096)] = 64 * 1024 * 1024
    window: Annotated[int, Meta(ge=1, le=1000)] = 20
    drain_timeout: Seconds = 30.0
    stats_interval: Seconds = 60.0


class ServiceSettings(Section, frozen=True):
    """The process itself.

    Attributes:
        state_dir: where the outbox lives; without it systemd's STATE_DIRECTORY, else the user's state folder.
        log_level: what the log tells.
    """

    state_dir: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All sections, each complete by its defaults."""

    camera: CameraSettings = CameraSettings()
    detector: DetectorSettings = DetectorSettings()
    model: ModelSettings = ModelSettings()
    tensorrt: TensorRtSettings = TensorRtSettings()
    tracks: TrackSettings = TrackSettings()
    emotion: EmotionSettings = EmotionSettings()
    mqtt: MqttSettings = MqttSettings()
    delivery: DeliverySettings = DeliverySettings()
    service: ServiceSettings = ServiceSettings()


# Keys that people look for and that must never stand in a file others can read, or in a process list.
SECRETS = {("mqtt", "password"): "put it into a file and name that file as password_file, or set EMOTION_EDGE_MQTT_PASSWORD"}

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
    for from_file, given in ((True, values), (False, flags)):
        for (section, key), value in given.items():
            name = f"{where}{section}.{key}" if from_file else f"--{section}-{key.replace('_', '-')}"
            if (section, key) in SECRETS:
                problems.append(f"{name} is a secret; {SECRETS[section, key]}")
            elif (section, key) not in types:
                problems.append(f"{name} is not a setting{_nearest(f'{section}.{key}', [f'{s}.{k}' for s, k in types])}")
            else:
                try:
                    # Flags are text, so a number may be told as one; in a file "1883" is a mistake.
                    result.setdefault(section, {})[key] = msgspec.convert(value, types[section, key], strict=from_file)
                except msgspec.ValidationError as error:
                    kind = types[section, key]
                    choices = get_args(kind) if get_origin(kind) is Literal else ()
                    reason = f"expected one of {', '.join(map(str, choices))}" if choices else _plain(error)
                    problems.append(f"{name} = {value!r}: {reason}")
    settings = Settings(**{s.name: s.type(**result.get(s.name, {})) for s in msgspec.structs.fields(Settings)})
    problems += _contradictions(settings)
    if problems:
        raise ConfigError(problems)
    return settings


def _read_file(path: Path, problems: list[str]) -> Iterator[tuple[tuple[str, str], Any]]:
    try:
        content = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        problems.append(f"{path}: the configuration cannot be read ({error.strerror})")
        return
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path}: not valid TOML ({error})")
        return
    sections = [section.name for section in msgspec.structs.fields(Settings)]
    for section, table in content.items():
        if section not in sections:
            problems.append(f"{path}: [{section}] is not a section{_nearest(section, sections)}")
        elif not isinstance(table, dict):
            problems.append(f"{path}: {section} should be a section: write [{section}] with its keys below")
        else:
            for key, value in table.items():
                yield (section, key), value


def _contradictions(settings: Settings) -> list[str]:
    mqtt, problems = settings.mqtt, []
    if (mqtt.cert_file is None) != (mqtt.key_file is None):
        problems.append("mqtt.cert_file and mqtt.key_file go together; one of them is missing")
    if (mqtt.ca_file or mqtt.cert_file) and not mqtt.tls:
        problems.append("mqtt.ca_file and mqtt.cert_file need mqtt.tls = true")
    if mqtt.password_file and not mqtt.username:
        problems.append("mqtt.password_file needs mqtt.username")
    return problems


def _nearest(word: str, known: list[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {found[0]}?" if found else f"; known are {', '.join(known)}"


def _plain(error: msgspec.ValidationError) -> str:
    text = str(error).replace("`", "").replace(" | null", "")
    if "matching regex" in text:
        return "expected a topic name without blanks, + and # (and, for a device, without /)"
    for technical, plain in (("int", "a whole number"), ("float", "a number"), ("str", "text"), ("bool", "true or false")):
        text = re.sub(rf"\b{technical}\b", plain, text)
    return text[0].lower() + text[1:]
