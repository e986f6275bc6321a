"""Every error a user can meet, as one tree.

    EmotionEdgeError                 one plain sentence: what happened and what to do next
    ├── ConfigError                  settings that cannot be used; carries every problem, not the first
    ├── ModelError                   a model or manifest that does not fit; refused before a frame is read
    ├── RuntimeMissingError          no inference runtime can be imported on this machine
    ├── EngineError                  a TensorRT engine that cannot be built, loaded or run
    ├── CameraError                  a source that cannot be opened or has stopped giving frames
    ├── DetectorError                face-detector weights that are missing or unreadable
    ├── FetchError                   a download that failed, or whose size or sha256 is wrong
    ├── DeliveryError                events that cannot be kept or brought to the broker, by the settings most often
    │   └── OutboxError              an outbox that cannot be opened now; later it may be
    ├── UpdateError                  a model package that must not be installed, or cannot be
    ├── StageError                   a part of the running program hangs for good: exit status 4, a new process may help
    ├── DataError                    a data set, recipe or Keras file that cannot be read (converters only)
    └── DeployError                  a bundle, lock or board image that cannot be made or used (converters only)

Each is shown as its message alone, without a traceback, and ends a command with exit status 2.
"""

from __future__ import annotations

from collections.abc import Sequence


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of somebody else's message, cut short; the error's name where it says nothing."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line[:limit] + ("…" if len(line) > limit else "")


class EmotionEdgeError(Exception):
    """Base of all errors that are meant to be read by a person."""


class ConfigError(EmotionEdgeError):
    """Settings that cannot be used.

    Attributes:
        problems: one sentence per mistake, each naming the key it is about.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class ModelError(EmotionEdgeError):
    """A model file or manifest that does not fit what it claims to be."""


class RuntimeMissingError(EmotionEdgeError):
    """No runtime for this kind of model can be imported."""


class EngineError(EmotionEdgeError):
    """A TensorRT engine that cannot be built, loaded or run here."""


class CameraError(EmotionEdgeError):
    """A source that cannot be opened, or that has failed while running."""


class DetectorError(EmotionEdgeError):
    """A face detector that cannot be built."""


class FetchError(EmotionEdgeError):
    """A download that failed or does not match its pinned size and sha256."""


class DeliveryError(EmotionEdgeError):
    """Events cannot be kept or brought to the broker."""


class OutboxError(DeliveryError):
    """The outbox cannot be opened at this moment; its disk is full, say, or another process has it."""


class UpdateError(EmotionEdgeError):
    """A model package that must not be installed, or cannot be."""


class StageError(EmotionEdgeError):
    """A part of the running program hangs and cannot be started anew; only a new process can help."""


class DataError(EmotionEdgeError):
    """A data set, a recipe or a Keras file that cannot be used."""


class DeployError(EmotionEdgeError):
    """A bundle, its lock, or the card or image of a board that cannot be made or used."""
