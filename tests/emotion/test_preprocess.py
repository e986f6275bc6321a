from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge.emotion.classify import calibrated
from edge.emotion.golden import golden_crop
from edge.emotion.manifest import InputSpec, OutputSpec
from edge.emotion.preprocess import to_pixels, to_tensor
from edge.errors import ModelError

GRAY = InputSpec(height=48, width=48, channels=1, color="gray", mean=(127.5,), scale=(1 / 127.5,))
RGB = InputSpec(height=32, width=40, channels=3, color="rgb", mean=(1.0, 2.0, 3.0), scale=(0.1, 0.2, 0.3), resize="linear")


def test_gray_of_the_right_size_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    assert np.array_equal(to_pixels(image, GRAY)[..., 0], image)


def test_range_of_the_tensor() -> None:
    ends = to_tensor(np.array([[[0], [255]]], np.uint8), GRAY)
    np.testing.assert_allclose(ends.ravel(), [-1, 1], atol=1e-6)
    assert ends.dtype == np.float32


@pytest.mark.parametrize("side", [20, 32, 200])
def test_rgb_takes_blue_from_the_last_place(side: int) -> None:
    blue = np.zeros((side, side, 3), np.uint8)
    blue[..., 0] = 200  # BGR
    pixels = to_pixels(blue, RGB)
    assert pixels.shape == (32, 40, 3)
    assert pixels[..., 2].min() == 200
    assert pixels[..., :2].max() == 0
    np.testing.assert_allclose(to_tensor(pixels, RGB)[0, 0], [-0.1, -0.4, 59.1], rtol=1e-5)


@pytest.mark.parametrize("side", [30, 100])
def test_a_bgr_crop_becomes_the_gray_that_opencv_would_make(side: int) -> None:
    crop = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    expected = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY), (48, 48), interpolation=cv2.INTER_AREA)
    # Colour after or before the resize rounds twice in another order.
    assert np.abs(to_pixels(crop, GRAY)[..., 0].astype(int) - expected).max() <= 1


def test_golden_crops_are_the_same_bytes_for_ever() -> None:
    crop = golden_crop("v1:3", GRAY)
    assert crop.shape == (48, 48, 1)
    # These sums are the contract: a manifest that was written once must be checked by the same pixels in ten years.
    assert [int(golden_crop(f"v1:{k}", GRAY).astype(np.int64).sum()) for k in (0, 3, 77)] == GRAY_SUMS
    assert int((golden_crop("v1:5", RGB).astype(np.int64) * np.arange(3)).sum()) == RGB_SUM


GRAY_SUMS = [290889, 166190, 334514]
RGB_SUM = 669949


@pytest.mark.parametrize("rule", ["v2:1", "v1:", "v1:-1", "v1:x", ""])
def test_an_unknown_golden_rule_is_refused(rule: str) -> None:
    with pytest.raises(ModelError, match="unknown to this version"):
        golden_crop(rule, GRAY)


def test_temperature_means_the_same_for_logits_and_probabilities() -> None:
    logits = np.array([2.0, 0.5, -1.0], np.float32)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    for temperature in (0.5, 1.0, 2.5):
        a = calibrated(logits, OutputSpec(kind="logits", temperature=temperature))
        b = calibrated(probabilities, OutputSpec(kind="probabilities", temperature=temperature))
        np.testing.assert_allclose(a, b, atol=1e-5)
        assert a.sum() == pytest.approx(1, abs=1e-5)
