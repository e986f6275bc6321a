"""What the user says about a model: by flags, or in a TOML file beside it. What neither says stays None."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edge.config import nearest
from edge.emotion.manifest import Number, Temperature
from edge.errors import DataError

Numbers = Annotated[tuple[Number, ...], msgspec.Meta(min_length=1, max_length=3)]


class Description(msgspec.Struct, frozen=True):
    """Everything about a model that its file does not tell; see docs/convert.md.

    Attributes:
        labels: class names in the order of the outputs.
        color: what the channels are.
        mean, scale: x = (pixel - mean) * scale; given together.
        resize: OpenCV's interpolation from a crop to the input.
        shape: height and width, and channels where that is not certain either, for a network that takes any.
        output: name or number (from 0) of the output with the scores, for a network with several.
        output_kind: whether the last tensor holds logits or probabilities.
        temperature: see `edge.emotion.manifest.OutputSpec`.
        landmarks: see `edge.emotion.manifest.InputSpec`.
        name, version: what events call the model.
    """

    labels: tuple[str, ...] | None = None
    color: Literal["gray", "rgb", "bgr"] | None = None
    mean: Numbers | None = None
    scale: Numbers | None = None
    resize: Literal["area", "linear", "linear_exact", "cubic"] | None = None
    shape: Annotated[tuple[int, ...], msgspec.Meta(min_length=2, max_length=3)] | None = None
    output: Annotated[int, msgspec.Meta(ge=0)] | Annotated[str, msgspec.Meta(min_length=1)] | None = None
    output_kind: Literal["logits", "probabilities"] | None = None
    temperature: Temperature | None = None
    landmarks: tuple[tuple[Number, Number], ...] | None = None
    name: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    version: Annotated[str, msgspec.Meta(min_length=1)] | None = None

    def over(self, other: Description) -> Description:
        """What this one says, and where it says nothing, what the other says."""
        mine = {field: value for field in self.__struct_fields__ if (value := getattr(self, field)) is not None}
        return msgspec.structs.replace(other, **mine)


NOTHING_GIVEN = Description()


def sidecar_path(model: Path) -> Path:
    """model.h5 -> model.toml; a SavedModel folder `saved` -> saved.toml beside it."""
    return model.with_name(model.name + ".toml") if model.is_dir() else model.with_suffix(".toml")


def read_sidecar(model: Path) -> Description:
    """Read the description beside a model; an empty one where there is none.

    Raises:
        DataError: it is not TOML, or has a key that is unknown or of the wrong type.
    """
    path = sidecar_path(model)
    if not path.is_file():
        return Description()
    try:
        content = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not valid TOML ({error})") from None
    table = content.get("model")
    if set(content) != {"model"} or not isinstance(table, dict):
        raise DataError(f"{path}: expected one section, [model], with the keys {', '.join(Description.__struct_fields__)}")
    return make_description(table, f"{path}: ")


def sidecar(description: Description) -> bytes:
    """What `read_sidecar` reads again: the content of a TOML file."""
    said = {field: value for field in description.__struct_fields__ if (value := getattr(description, field)) is not None}
    # JSON's strings, numbers and arrays are TOML's too.
    lines = [f"{field} = {msgspec.json.encode(value).decode()}" for field, value in said.items()]
    return "\n".join(["[model]", *lines, ""]).encode()


def make_description(values: dict[str, object], where: str = "") -> Description:
    """Check values by name.

    Raises:
        DataError: naming the key and, when it is unknown, the nearest one that is known.
    """
    known = Description.__struct_fields__
    for key in values:
        if key not in known:
            raise DataError(f"{where}{key} is not a key{nearest(key, known)}")
    try:
        description = msgspec.convert(values, Description)
    except msgspec.ValidationError as error:
        # "Expected `float`, got `str` - at `$.mean[0]`" -> "mean[0]: expected float, got str"
        problem, _, place = str(error).replace("`", "").partition(" - at $.")
        raise DataError(f"{where}{place}: {problem[0].lower()}{problem[1:]}") from None
    if (description.mean is None) != (description.scale is None):
        raise DataError(f"{where}mean and scale go together: x = (pixel - mean) * scale; one of them is missing")
    if description.shape is not None and not _is_shape(description.shape):
        given = "x".join(map(str, description.shape))
        raise DataError(
            f"{where}shape: {given} is no picture; give height and width from 8 to 1024, and 1 or 3 channels: 48x48x1"
        )
    if description.labels is not None and len(set(description.labels)) != len(description.labels):
        raise DataError(f"{where}a label stands twice in {', '.join(description.labels)}")
    return description


def _is_shape(shape: tuple[int, ...]) -> bool:
    return all(8 <= side <= 1024 for side in shape[:2]) and all(channels in (1, 3) for channels in shape[2:])
