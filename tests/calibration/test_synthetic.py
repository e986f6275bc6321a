"""Data-free pictures: the same for the same seed, in all exposures, and not white noise."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.synthetic import pink_noise


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_cover_the_range_of_pixels(channels: int):
    images = pink_noise(64, (32, 24, channels), seed=1)
    assert images.shape == (64, 32, 24, channels)
    assert images.dtype == np.uint8
    assert images.min() == 0
    assert images.max() == 255
    assert np.ptp(images.mean(axis=(1, 2, 3))) > 80


def test_a_seed_decides_the_pictures():
    assert np.array_equal(pink_noise(4, (16, 16, 1), 1), pink_noise(4, (16, 16, 1), 1))
    assert not np.array_equal(pink_noise(4, (16, 16, 1), 1), pink_noise(4, (16, 16, 1), 2))


def test_neighbouring_pixels_are_alike_as_in_photographs():
    images = pink_noise(32, (48, 48, 1), seed=2).astype(float)[..., 0]
    pairs = [np.corrcoef(image[:, 1:].ravel(), image[:, :-1].ravel())[0, 1] for image in images]
    assert np.mean(pairs) > 0.4
