"""What can be set: one frozen struct a section. Their words are the help of the flags and the example configuration."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
# Left, top, width and height as fractions of the picture.
Region = tuple[Fraction, Fraction, Fraction, Fraction]
# `\Z`: before a `$` there may be a line's end.
Topic = Annotated[str, Meta(pattern=r"^[^/+#\x00\s]+(/[^/+#\x00\s]+)*\Z")]
TopicLevel = Annotated[str, Meta(pattern=r"^[^/+#\x00\s]+\Z")]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the sections."""


class CameraSettings(Section, frozen=True):
    """Where frames come from.

    Attributes:
        source: V4L2 index or path (/dev/v4l/by-id/… stays the same over reboots), `csi` (a Jetson's ribbon camera), `pi` (a
            Raspberry Pi's), `csi:1` for the second one, rtsp/http url, video file, folder, picture, or `demo`.
        width: pixels, asked of a live camera; what it really gives is logged.
        height: pixels, likewise.
        fps: frames per second, asked of a live camera.
        rotate: degrees, clockwise, by which the picture is turned upright.
        flip: mirror the picture, after the rotation.
        stall: a live camera that gives no frame for this long is opened again, seconds; V4L2 itself gives up after 2.
        frozen: likewise one whose picture does not change in a single bit for this long, seconds; 0 is off.
        still: seconds of replay time for which a single picture is held.
    """

    source: str = "0"
    width: Annotated[int, Meta(ge=16, le=8192)] = 640
    height: Annotated[int, Meta(ge=16, le=8192)] = 480
    fps: Annotated[float, Meta(gt=0, le=240)] = 15.0
    rotate: Literal[0, 90, 180, 270] = 0
    flip: Literal["none", "horizontal", "vertical"] = "none"
    stall: Annotated[float, Meta(ge=0.5, le=3600)] = 2.5
    frozen: Annotated[float, Meta(ge=0, le=86_400)] = 10.0
    still: Seconds = 3.0


class DetectorSettings(Section, frozen=True):
    """How faces are found.

    Attributes:
        kind: `auto` takes yunet when its weights are there, else haar.
        weights: YuNet's .onnx; else the usual places are searched (see `edge-fetch`).
        width: frames are shrunk to this width for detection, pixels.
        every: detect on every k-th frame and follow the faces between; 0 lets the load decide (a file takes 1).
        min_score: YuNet's boxes below it are dropped.
        runtime: what computes YuNet: `auto` takes TFLite, and OpenCV where there is none or it cannot read these weights.
        threads: CPU threads of one detection; 0 measures at the start which number is fastest here.
        regions: look for faces only here: boxes of left, top, width, height as fractions of the picture, such as
            [[0, 0, 0.5, 1]]; none is everywhere.
    """

    kind: Literal["auto", "haar", "yunet"] = "auto"
    weights: str | None = None
    width: Annotated[int, Meta(ge=64, le=4096)] = 320
    every: Annotated[int, Meta(ge=0, le=100)] = 0
    min_score: Fraction = 0.7
    runtime: Literal["auto", "tflite", "opencv"] = "auto"
    threads: Annotated[int, Meta(ge=0, le=64)] = 0
    regions: tuple[Region, ...] = ()


class ModelSettings(Section, frozen=True):
    """Which network looks at the faces.

    Attributes:
        path: a .tflite or .onnx with its manifest beside it; without it, the model that comes with emotion-edge.
        threads: CPU threads of one inference.
        delegate: what computes a .tflite: `xnnpack`, `none`, or a library such as libedgetpu.so.1; edge-bench tells the fastest.
        views: inferences of one face in one frame, 1 or 2; the average of two is steadier.
        shadow: a second model that looks at some of the faces beside the first; `stats` tells how often the two agree and
            how long each takes. Its answers are never published.
        shadow_share: share of the tracks that the second model looks at.
    """

    path: str | None = None
    threads: Annotated[int, Meta(ge=1, le=64)] = 1
    delegate: Annotated[str, Meta(min_length=1)] = "xnnpack"
    views: Annotated[int, Meta(ge=1, le=2)] = 2
    shadow: str | None = None
    shadow_share: Fraction = 0.2


class TensorRtSettings(Section, frozen=True):
    """An .onnx model on the GPU of a Jetson.

    Attributes:
        use: `auto` runs .onnx models on TensorRT wherever it is installed; `off` leaves them on the CPU.
        precision: `auto` is int8 for a model with Q/DQ nodes, else fp16 where the GPU gains by it.
        python: the interpreter that can import tensorrt and pycuda; else this one or /usr/bin/python3, whichever can.
        cache: folder of the engines; without it /var/cache/emotion-edge/engines where that can be written, else the user's cache.
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
        window: messages on their way to the broker at one time.
        batch: events that wait are sent this many to a message, on `events/batch`; 1 sends each alone, on `events`.
        expiry: the broker forgets an event that it could not hand on for this long, seconds (MQTT 5); 0 is never.
        drain_timeout: how long a file source waits for delivery at its end, seconds.
        stats_interval: seconds between `stats` messages.
    """

    update_interval: Seconds = 10.0
    hold: Annotated[float, Meta(ge=0, le=86_400)] = 60.0
    max_events: Annotated[int, Meta(ge=1, le=10_000_000)] = 100_000
    max_bytes: Annotated[int, Meta(ge=4096)] = 64 * 1024 * 1024
    window: Annotated[int, Meta(ge=1, le=1000)] = 20
    batch: Annotated[int, Meta(ge=1, le=100)] = 1
    expiry: Annotated[int, Meta(ge=0, le=31_536_000)] = 0
    drain_timeout: Seconds = 30.0
    stats_interval: Seconds = 60.0


class HomeAssistantSettings(Section, frozen=True):
    """Home Assistant finds the device by itself (MQTT discovery).

    Attributes:
        discovery: announce this device, its sensors and its pause switch.
        prefix: Home Assistant's own discovery prefix.
        name: what Home Assistant calls the device; without it `Emotion` and the device's name.
    """

    discovery: bool = False
    prefix: Topic = "homeassistant"
    name: str | None = None


class SnapshotSettings(Section, frozen=True):
    """Pictures kept on this device, off unless asked for; they are never sent anywhere.

    Attributes:
        keep: keep a picture of each new face and each new emotion in the state folder.
        blur: what is made unrecognisable: the `faces` that were found (and all beyond detector.regions), the `background`, or
            `nothing`. A face that the detector has missed stays as it is.
        expire: a picture is deleted after this long, seconds.
        most: at most so many are kept; the oldest go.
    """

    keep: bool = False
    blur: Literal["faces", "background", "nothing"] = "faces"
    expire: Annotated[float, Meta(gt=0, le=31_536_000)] = 86_400.0
    most: Annotated[int, Meta(ge=1, le=100_000)] = 500


class PreviewSettings(Section, frozen=True):
    """A page to look at: emotions as a time line, rates and health.

    Attributes:
        serve: serve the page.
        address: where to listen; anything but this machine itself needs a token.
        port: of the page; 0 takes a free one, which the log tells.
        token_file: a file that holds nothing but the word that a browser has to know (`/?token=…`); else the systemd
            credential `preview-token`. Without both only this machine is answered.
        pictures: show the camera's picture too.
    """

    serve: bool = False
    address: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8321
    token_file: str | None = None
    pictures: bool = False


class UpdateSettings(Section, frozen=True):
    """Models that come over MQTT, signed by the owner (`edge-model`; extra `update`); off without a key.

    Attributes:
        key_file: PEM, the owner's public key (Ed25519); only models that its private half has signed are taken.
        healthy: a new model stays when it has watched for this long without a failure, seconds; else the old one comes back.
    """

    key_file: str | None = None
    healthy: Annotated[float, Meta(ge=1, le=86_400)] = 60.0


class ServiceSettings(Section, frozen=True):
    """The process itself.

    Attributes:
        state_dir: where the outbox lives; without it systemd's STATE_DIRECTORY, else the user's state folder.
        log_level: what the log tells.
        hang: a stage that has not moved for this long is started anew, seconds.
        metrics_port: serve figures for Prometheus on this port of 127.0.0.1 (extra `metrics`); 0 is off.
    """

    state_dir: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    hang: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 0


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
    homeassistant: HomeAssistantSettings = HomeAssistantSettings()
    snapshots: SnapshotSettings = SnapshotSettings()
    preview: PreviewSettings = PreviewSettings()
    update: UpdateSettings = UpdateSettings()
    service: ServiceSettings = ServiceSettings()
