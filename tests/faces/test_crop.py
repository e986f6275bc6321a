"""The crop is the square, pixel for pixel, and a roll is undone."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from edge.faces.crop import LARGEST, SMALLEST, cut, views
from edge.types import Face


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)


@pytest.mark.parametrize(("x", "y", "side"), [(0, 0, 16), (10, 20, 33), (60, 50, 48), (100, 60, 60)])
def test_an_upright_integer_square_is_the_source_bit_for_bit(picture: np.ndarray, x: int, y: int, side: int) -> None:
    crop = cut(picture, Face(x + side / 2, y + side / 2, side))
    assert np.array_equal(crop, picture[y : y + side, x : x + side])


def test_a_quarter_turn_is_undone_bit_for_bit(picture: np.ndarray) -> None:
    side = 40
    crop = cut(picture, Face(50 + side / 2, 30 + side / 2, side, roll=math.pi / 2))
    # A head that leans clockwise by a quarter turn has its top on the right; upright again, the right column is the top row.
    assert np.array_equal(crop, np.rot90(picture[30 : 30 + side, 50 : 50 + side]))


def test_a_leaning_picture_comes_out_upright() -> None:
    # Blobs far wider than a pixel, so that interpolation costs next to nothing.
    upright = cv2.GaussianBlur(np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8), (0, 0), 6)
    upright = cv2.normalize(upright, None, 0, 255, cv2.NORM_MINMAX)
    degrees = 25.0
    # OpenCV's angle is counter-clockwise, ours is clockwise.
    turned = cv2.warpAffine(upright, cv2.getRotationMatrix2D((99.5, 99.5), -degrees, 1.0), (200, 200))
    crop = cut(turned, Face(100, 100, 100, roll=math.radians(degrees)))
    expected = upright[50:150, 50:150].astype(int)
    wrong_way = cut(turned, Face(100, 100, 100, roll=math.radians(-degrees)))
    assert np.abs(crop.astype(int) - expected).mean() < 2
    assert np.abs(wrong_way.astype(int) - expected).mean() > 20


def test_outside_the_frame_the_edge_repeats(picture: np.ndarray) -> None:
    crop = cut(picture, Face(0, 60, 40))
    assert np.array_equal(crop[:, :20], np.repeat(picture[40:80, :1], 20, axis=1))


@pytest.mark.parametrize(("side", "size"), [(3.0, SMALLEST), (47.6, 48), (1e7, LARGEST)])
def test_the_size_is_the_side_within_bounds(picture: np.ndarray, side: float, size: int) -> None:
    crop = cut(picture, Face(80, 60, side))
    assert crop.shape == (size, size, 3)
    assert crop.dtype == np.uint8


def test_two_views_are_tighter_and_looser_and_one_is_mirrored(picture: np.ndarray) -> None:
    face = Face(80, 60, 50)
    (one,) = views(picture, face, 1)
    assert np.array_equal(one, cut(picture, face))
    tighter, looser = views(picture, face, 2)
    assert (tighter.shape, looser.shape) == ((46, 46, 3), (53, 53, 3))
    assert np.array_equal(tighter, picture[37:83, 57:103])
    assert np.array_equal(looser, cut(picture, Face(80, 60, 53))[:, ::-1])
