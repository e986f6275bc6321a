"""What leaves the device: events, the retained state and the statistics, as they stand on the wire.

`python -m edge.delivery.schema` writes these structs as JSON Schema; docs/mqtt.md explains them to a consumer.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from edge.clock import rfc3339

EventType = Literal["new", "update", "end"]
Score = Annotated[float, Meta(ge=0, le=1)]
Stamp = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", description="RFC 3339, UTC, milliseconds")]
TrackName = Annotated[str, Meta(pattern=r"^[a-z0-9]+-[1-9]\d*$", description="<installation>-<number>; never used twice")]
Box = tuple[float, float, float, float]
Count = Annotated[int, Meta(ge=0)]
# What can be wrong while the program goes on; each is told by an alarm when it begins and when it is over.
Problem = Literal["camera", "storage", "stage", "model", "temperature"]

DIGITS = 4


class EventDraft(msgspec.Struct, frozen=True):
    """An event as the pipeline makes it: without the seq and id that the outbox gives.

    Attributes:
        track: number of the track, from 1 in each run.
        box: the face's canonical square: x, y, width, height as fractions of the frame. Not clipped: the square of a face
            at the edge of the picture reaches beyond it.
        since, at: Unix seconds.
    """

    type: EventType
    track: int
    emotion: str
    confidence: float
    scores: dict[str, float]
    box: Box
    since: float
    at: float
    model: str


class Event(msgspec.Struct, frozen=True):
    """An emotion of one face at one time.

    Attributes:
        v: version of this format.
        id: installation and seq: the same event never has two, so a consumer drops what it has seen.
        seq: counts up by one with each event of this installation, over restarts.
        type: `new` a face has its first steady emotion; `update` it changed, or the interval is over; `end` the face is gone.
        emotion: a label of the model, or `uncertain`.
        confidence: the score of the emotion; the largest score when uncertain.
        scores: smoothed and calibrated, one for each label of the model.
        since: when this emotion began.
        at: when the frame was taken.
        model: name, version and first digits of the sha256.
    """

    v: Literal[1]
    id: Annotated[str, Meta(pattern=r"^[a-z0-9]+-\d{6,}$")]
    seq: Annotated[int, Meta(ge=1)]
    type: EventType
    track: TrackName
    emotion: str
    confidence: Score
    scores: dict[str, Score]
    box: Annotated[Box, Meta(description="x, y, width, height as fractions of the frame; may reach beyond it")]
    since: Stamp
    at: Stamp
    model: str


class TrackState(msgspec.Struct, frozen=True):
    """One face that is there, as its last event told it."""

    track: TrackName
    emotion: str
    confidence: Score
    since: Stamp


class State(msgspec.Struct, frozen=True):
    """Who is there now: retained, and published only when it has changed.

    Attributes:
        faces: number of tracks.
        emotion: what most faces show; null without faces.
        tracks: oldest first.
        version: of emotion-edge.
        paused: whether a command has paused the analysis.
        problems: what is wrong at this moment, by name.
        confidence: the largest one of the faces that show `emotion`; null without faces.
    """

    v: Literal[1]
    faces: Count
    emotion: str | None
    tracks: tuple[TrackState, ...]
    model: str
    version: str
    paused: bool = False
    problems: tuple[Problem, ...] = ()
    confidence: Score | None = None


class Alarm(msgspec.Struct, frozen=True):
    """Something has gone wrong while the program goes on, or is over: told at once, and kept in `state` while it lasts.

    Attributes:
        id: the same alarm never has two.
        problem: `camera` gives no frames or one that never changes; `storage` events cannot be stored, or were damaged or
            dropped; `stage` a part of the program hung and was started anew; `model` another one was asked for and refused;
            `temperature` the board is too hot and slows itself down.
        active: true when it begins, false when it is over.
        text: one sentence for a person.
    """

    v: Literal[1]
    id: str
    at: Stamp
    problem: Problem
    active: bool
    text: str


class Latency(msgspec.Struct, frozen=True):
    """From capture to the end of the frame's work, milliseconds, since the last `stats`."""

    p50: float
    p95: float
    p99: float


class Counters(msgspec.Struct, frozen=True):
    """What has become of the events.

    Attributes:
        waiting: not acknowledged by the broker yet.
        published: acknowledged since this process began.
        dropped: lost to a full outbox, ever.
    """

    waiting: Count = 0
    published: Count = 0
    dropped: Count = 0


class CameraStats(msgspec.Struct, frozen=True):
    """What the camera really gives.

    Attributes:
        width, height: pixels, before rotation.
        fps: frames per second that came, since the last `stats`.
        reopened: how often it had to be opened again since this process began.
    """

    width: Count
    height: Count
    fps: float
    reopened: Count


class Shadow(msgspec.Struct, frozen=True):
    """The second model beside the first, on the same faces, since this process began.

    Attributes:
        model: the second model's identity.
        faces: looks at a face that both had.
        agreement: share of them with the same most likely label; null before the first.
        milliseconds: median time of one look by the first model, null before the first.
        shadow_milliseconds: by the second.
    """

    model: str
    faces: Count
    agreement: Score | None
    milliseconds: float | None
    shadow_milliseconds: float | None


class Stats(msgspec.Struct, frozen=True):
    """How the device is doing.

    Attributes:
        uptime: seconds since this process began.
        fps: frames worked through per second, since the last `stats`.
        latency: null before the first frame.
        frames, frames_dropped: since this process began; dropped are those a newer frame overtook.
        queue: frames waiting at this moment.
        temperature: of the board in degrees Celsius; null where it cannot be read.
        rss: resident memory in bytes.
        every: faces are looked for in every so-manieth frame at this moment, and followed between.
        throttled: whether the board slows itself down (heat, low voltage); null where it does not say.
        restarts: how often a part of the program hung and was started anew.
        camera: null before the first frame, and for files.
        shadow: null without a second model.
    """

    v: Literal[1]
    at: Stamp
    uptime: float
    fps: float
    latency: Latency | None
    frames: Count
    frames_dropped: Count
    queue: Count
    events: Counters
    temperature: float | None
    rss: Count
    every: Count = 1
    throttled: bool | None = None
    restarts: Count = 0
    camera: CameraStats | None = None
    shadow: Shadow | None = None


class Batch(msgspec.Struct, frozen=True):
    """Several events in one message, in the order of their seq.

    Attributes:
        v: version of this format.
    """

    v: Literal[1]
    events: tuple[Event, ...]


class Reply(msgspec.Struct, frozen=True):
    """The answer to a command.

    Attributes:
        v: version of this format.
        command: the last level of the topic that the command was sent to, or `update`.
        ok: whether it was done.
        result: what the command gives; null where it gives nothing.
        error: one sentence: why it was not done.
    """

    v: Literal[1]
    command: str
    ok: bool
    result: dict[str, Any] | None = None
    error: str | None = None


Payload = Event | State | Stats | Alarm | Reply


def finish(draft: EventDraft, seq: int, installation: str, track: int) -> Event:
    """Give a draft what only the outbox knows.

    Args:
        seq: the event's number.
        installation: name of the installation.
        track: the track's number over all runs.
    """
    return Event(
        v=1,
        id=f"{installation}-{seq:06d}",
        seq=seq,
        type=draft.type,
        track=f"{installation}-{track}",
        emotion=draft.emotion,
        confidence=rounded(draft.confidence),
        scores={label: rounded(score) for label, score in draft.scores.items()},
        box=(rounded(draft.box[0]), rounded(draft.box[1]), rounded(draft.box[2]), rounded(draft.box[3])),
        since=rfc3339(draft.since),
        at=rfc3339(draft.at),
        model=draft.model,
    )


def rounded(value: float) -> float:
    """Four digits: enough for a score and a tenth of a pixel, and a third of the bytes."""
    return round(float(value), DIGITS)


def encode(payload: Payload) -> bytes:
    """The payload as UTF-8 JSON, keys in the order of the struct."""
    return msgspec.json.encode(payload)
