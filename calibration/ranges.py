"""The ranges of a network's tensors as a thing that can be kept, checked and used again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from calibration.choose import Method, Range

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Ranges:
    """What one observation gave.

    Attributes:
        network: sha256 of the float graph and of how its input is made.
        graph: whose tensors they are; the same network has others as ONNX than as TFLite.
        method: how each was chosen.
        rows: number of pictures. seen: sha256 of their pixels, as the network saw them.
        tensors: name -> (low, high).
    """

    network: str
    graph: str
    method: Method
    rows: int
    seen: str
    tensors: Mapping[str, Range]

    @property
    def digest(self) -> str:
        """sha256 of everything above."""
        return hashlib.sha256(json.dumps(self._content(), sort_keys=True).encode()).hexdigest()

    def _content(self) -> dict[str, Any]:
        ends = {name: [float(low), float(high)] for name, (low, high) in self.tensors.items()}
        return {
            "format": FORMAT,
            "network": self.network,
            "graph": self.graph,
            "method": self.method,
            "rows": self.rows,
            "seen": self.seen,
            "tensors": ends,
        }


def to_json(ranges: Ranges) -> bytes:
    """The ranges with their digest, one tensor a line."""
    content = ranges._content()
    tensors = ",\n".join(f"    {json.dumps(name)}: {json.dumps(ends)}" for name, ends in content.pop("tensors").items())
    head = ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items())
    return f'{{\n{head},\n  "sha256": "{ranges.digest}",\n  "tensors": {{\n{tensors}\n  }}\n}}\n'.encode()


def from_json(text: bytes) -> Ranges:
    """Read what `to_json` wrote.

    Raises:
        ValueError: not such a file, of another format, changed since, or with a range that is none.
    """
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, this version reads format {FORMAT}")
        tensors = {str(name): (float(low), float(high)) for name, (low, high) in content["tensors"].items()}
        ranges = Ranges(content["network"], content["graph"], content["method"], int(content["rows"]), content["seen"], tensors)
        digest = content["sha256"]
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"not a file of ranges ({error!r})") from None
    if ranges.digest != digest:
        raise ValueError("its sha256 does not fit its content; somebody has changed it")
    for name, (low, high) in tensors.items():
        if not low <= 0 <= high:
            raise ValueError(f"the range of {name!r} is ({low}, {high}); it has to hold zero")
    return ranges
