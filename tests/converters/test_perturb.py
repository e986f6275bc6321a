"""Each perturbation does what its name says, by the same amount for the same seed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from converters.proof.perturb import perturbations


@pytest.fixture
def discs() -> np.ndarray:
    """Eight pictures of a bright disc of radius 10 on grey."""
    picture = cv2.circle(np.full((48, 48), 60, np.uint8), (24, 24), 10, 120, -1)
    return np.repeat(picture[None], 8, axis=0)


def changed(name: str, pictures: np.ndarray) -> np.ndarray:
    return perturbations()[name](pictures, np.random.default_rng(0))


def test_all_keep_shape_and_type_and_repeat_themselves(discs: np.ndarray) -> None:
    before = discs.copy()
    for name in perturbations():
        made = changed(name, discs)
        assert made.shape == discs.shape, name
        assert made.dtype == np.uint8, name
        assert np.array_equal(made, changed(name, discs)), name
        assert np.array_equal(discs, before), name


@pytest.mark.parametrize(("name", "factor"), [("zoom 0.8", 0.8), ("zoom 1.2", 1.2)])
def test_zoom_changes_the_area_by_its_square(discs: np.ndarray, name: str, factor: float) -> None:
    area, before = (changed(name, discs) > 90).sum(), (discs > 90).sum()
    assert area / before == pytest.approx(factor**2, rel=0.06)


def test_shift_moves_every_picture_by_a_tenth_of_its_side(discs: np.ndarray) -> None:
    rows, columns = np.mgrid[:48, :48]
    moved = [
        (axis[picture > 90].mean() - axis[discs[0] > 90].mean())
        for picture in changed("shift 10 %", discs)
        for axis in (columns, rows)
    ]
    distance = np.abs(np.array(moved).reshape(-1, 2)).sum(1)
    np.testing.assert_allclose(distance, 4.8, atol=0.5)


def test_light_is_halved_and_doubled(discs: np.ndarray) -> None:
    assert set(np.unique(changed("half brightness", discs))) == {30, 60}
    assert set(np.unique(changed("double brightness", discs))) == {120, 240}


def test_fine_detail_is_lost_to_blur_few_pixels_and_jpeg() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (4, 48, 48), dtype=np.uint8)
    for name in ("blur, sigma 1 pixel of 48", "24x24 and back"):
        assert changed(name, noise).std() < 0.6 * noise.std()
    assert 5 < np.abs(changed("JPEG 20", noise).astype(int) - noise).mean() < 80
    assert np.std(changed("noise, sigma 12", np.full((4, 48, 48), 128, np.uint8))) == pytest.approx(12, rel=0.05)
