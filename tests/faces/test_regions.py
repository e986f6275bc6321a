"""Faces are found in the regions and nowhere else, in the frame's own coordinates."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes import SeenFaces

from edge.config import DetectorSettings, Region
from edge.faces import open_detector
from edge.faces.regions import InRegions
from edge.types import Face

LEFT, RIGHT = (312, 122), (868, 152)


@pytest.mark.parametrize("kind", ["yunet", "haar"])
@pytest.mark.parametrize(
    ("regions", "expected"),
    [
        ((), [LEFT, RIGHT]),
        (((0, 0, 0.5, 1),), [LEFT]),
        (((0.5, 0, 0.5, 1),), [RIGHT]),
        (((0.1, 0, 0.35, 0.5), (0.6, 0, 0.3, 0.5)), [LEFT, RIGHT]),
        # Both are in the box around the regions, neither is in a region.
        (((0, 0, 0.1, 1), (0.9, 0, 0.1, 1)), []),
        (((0, 0.7, 1, 0.3),), []),
    ],
)
def test_only_faces_whose_centre_is_in_a_region(
    testdata: Path, kind: str, regions: tuple[Region, ...], expected: list[tuple[int, int]]
) -> None:
    picture = cv2.imread(str(testdata / "media" / "two-people.jpg"))
    weights = str(testdata / "models" / "yunet_n_320_320.onnx")
    found = open_detector(DetectorSettings(kind=kind, weights=weights, regions=regions, threads=1)).detect(picture)
    assert len(found) == len(expected)
    for face, (x, y) in zip(sorted(found, key=lambda face: face.x), expected, strict=True):
        assert (face.x, face.y) == pytest.approx((x, y), abs=16)
        if face.landmarks is not None:
            assert np.abs(face.landmarks - (face.x, face.y)).max() < face.side / 2


class Looking(SeenFaces):
    """Remembers what it was shown."""

    def detect(self, image: np.ndarray) -> list[Face]:
        self.shown = image
        return super().detect(image)


def test_the_detector_sees_the_box_around_the_regions_and_it_is_no_copy() -> None:
    picture, detector = np.zeros((100, 200, 3), np.uint8), Looking([Face(60, 10, 8, landmarks=np.zeros((5, 2), np.float32))])
    (face,) = InRegions(detector, [(0.25, 0.5, 0.1, 0.2), (0.5, 0.1, 0.25, 0.2)]).detect(picture)
    assert detector.shown.shape == (60, 100, 3)
    assert detector.shown.base is picture
    assert (face.x, face.y) == (110, 20)
    assert face.landmarks is not None
    assert face.landmarks.tolist() == [[50, 10]] * 5


@pytest.mark.parametrize("region", [(0.0, 0.0, 1.0, 1.0), (1.0, 1.0, 0.5, 0.5), (0.999, 0.0, 1e-9, 1e-9), (0.5, 0.5, 1.0, 1.0)])
@pytest.mark.parametrize("shape", [(1, 1, 3), (480, 640, 3), (3, 1000, 3)])
def test_a_region_at_the_edge_of_any_picture_is_at_least_a_pixel(region: Region, shape: tuple[int, int, int]) -> None:
    detector = Looking([])
    assert InRegions(detector, [region]).detect(np.zeros(shape, np.uint8)) == []
    assert detector.shown.size
