"""Pictures that were calibrated with, as part of a page."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from converters.proof.markup import Markup, tag
from edge.emotion.manifest import InputSpec

# Enough to see what they are of, few enough for a page: 48x48 gray ones are 2 kB each.
SHOWN = 48


def pictures_shown(pixels: NDArray[np.uint8], spec: InputSpec) -> Markup:
    """Some of them, evenly over all, as the network sees them.

    Args:
        pixels: uint8 (N, height, width, channels), in the network's order of colours.
        spec: says which that is.
    """
    chosen = np.unique(np.linspace(0, len(pixels) - 1, min(SHOWN, len(pixels))).round().astype(int))
    images = [
        tag("img", src=_data(pixels[index], spec), width=spec.width, height=spec.height, alt=f"number {index + 1}")
        for index in chosen
    ]
    caption = f"{len(chosen)} of {len(pixels)} pictures, as the network sees them: {spec.width}×{spec.height} {spec.color}."
    return tag("figure", tag("div", images, class_="pictures"), tag("figcaption", caption))


def _data(picture: NDArray[np.uint8], spec: InputSpec) -> str:
    # OpenCV writes bgr.
    ordered = picture[..., ::-1] if spec.color == "rgb" else picture
    _, content = cv2.imencode(".png", np.ascontiguousarray(ordered))
    return f"data:image/png;base64,{base64.b64encode(content.tobytes()).decode()}"
