"""Views: the same bits for the same seed, in range, what the settings say, and each fault as a camera makes it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from converters.datasets.augment import Augment, draw_views, make_views
from converters.datasets.faults import add_faults, overexpose
from converters.datasets.mix import mix

STILL = Augment(flip=0, rotate=0, shift=0, zoom=0, contrast=0, brightness=0)


def views(images: np.ndarray, settings: Augment, seed: int = 0) -> np.ndarray:
    chances = draw_views(len(images), images.shape[1:], settings, np.random.default_rng(seed))
    return make_views(images, np.arange(len(images)), chances)


@pytest.fixture
def pictures() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (16, 48, 48), dtype=np.uint8)


def test_views_are_the_same_bits_for_the_same_seed_and_stay_in_range(pictures: np.ndarray) -> None:
    settings = Augment(erase=0.5)
    first, second, other = (views(pictures, settings, seed) for seed in (5, 5, 6))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert first.min() >= 0
    assert first.max() <= 255


def test_a_view_depends_on_its_picture_and_not_on_its_batch(pictures: np.ndarray) -> None:
    chances = draw_views(len(pictures), (48, 48), Augment(erase=0.5), np.random.default_rng(0))
    whole = make_views(pictures, np.arange(16), chances)
    rows = np.array([11, 3, 7])
    assert np.array_equal(make_views(pictures, rows, chances), whole[rows])


def test_no_augmentation_is_the_picture_and_a_flip_is_its_mirror(pictures: np.ndarray) -> None:
    np.testing.assert_allclose(views(pictures, STILL), pictures, atol=0.01)
    flip = Augment(flip=1, rotate=0, shift=0, zoom=0, contrast=0, brightness=0)
    np.testing.assert_allclose(views(pictures, flip), pictures[:, :, ::-1], atol=0.01)


def test_a_shift_moves_the_face_by_no_more_than_it_says() -> None:
    picture = np.zeros((64, 48, 48), np.uint8)
    picture[:, 22:26, 22:26] = 255
    moved = views(picture, Augment(flip=0, rotate=0, shift=5 / 48, zoom=0, contrast=0, brightness=0))
    rows, columns = np.mgrid[:48, :48]
    centres = np.array([[(view * axis).sum() / view.sum() for axis in (columns, rows)] for view in moved])
    distance = np.abs(centres - 23.5)
    assert distance.max() <= 5.01
    assert distance.max() > 3.5


def test_erasing_paints_one_rectangle_of_some_views(pictures: np.ndarray) -> None:
    erased = views(pictures, Augment(flip=0, rotate=0, shift=0, zoom=0, contrast=0, brightness=0, erase=0.5))
    shares = (np.abs(erased - pictures) > 0.01).mean(axis=(1, 2))
    assert 0 < (shares > 0).sum() < len(pictures)
    assert shares.max() < 0.16


@pytest.mark.parametrize(("settings", "seeds"), [(Augment(mixup=0.4), range(8)), (Augment(cutmix=1.0), range(4))])
def test_mixing_keeps_targets_in_the_proportion_of_the_pixels(settings: Augment, seeds: range) -> None:
    """Each picture has its own grey and its own class: the mean grey of a mix has to be the target's."""
    grey = np.arange(8, dtype=np.float32) * 10
    pictures = np.broadcast_to(grey[:, None, None], (8, 48, 48)).copy()
    goals = [(np.eye(8, dtype=np.float32), np.ones(8, np.float32))]
    mixed = [mix(pictures, goals, settings, np.random.default_rng(seed)) for seed in seeds]
    assert any(not np.array_equal(goals[0][0], np.eye(8)) for _, goals in mixed)
    for made, ((targets, weights),) in mixed:
        np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(weights, 1, atol=1e-6)
        np.testing.assert_allclose(made.mean(axis=(1, 2)), targets @ grey, atol=1e-3)


def test_a_picture_without_weight_adds_nothing_to_a_mixed_target() -> None:
    targets, weights = np.eye(4, dtype=np.float32), np.array([2, 1, 0, 1], np.float32)
    targets[2] = 0
    for seed in range(8):
        _, [(mixed, total)] = mix(
            np.zeros((4, 48, 48), np.float32), [(targets, weights)], Augment(mixup=1.0), np.random.default_rng(seed)
        )
        np.testing.assert_allclose(mixed.sum(1)[total > 1e-3], 1, atol=1e-5)
        assert not mixed[:, 2].any()
        assert total.sum() == pytest.approx(4, abs=1e-4)


def test_faults_strike_as_often_as_they_should_and_leave_the_face_recognisable() -> None:
    base = cv2.GaussianBlur(np.random.default_rng(2).normal(128, 400, (1, 48, 48)).astype(np.float32)[0], (0, 0), 4)
    faces = np.repeat(np.clip(base, 0, 255)[None], 400, axis=0)
    faulty = add_faults(faces, 0.2, np.random.default_rng(3))
    assert faulty.min() >= 0
    assert faulty.max() <= 255
    struck = (faulty != faces).any(axis=(1, 2))
    # None of five faults strikes 0.8^5 = 33 % of the views.
    assert 0.58 < struck.mean() < 0.76
    alike = [np.corrcoef(one.ravel(), base.ravel())[0, 1] for one in faulty[struck]]
    assert np.median(alike) > 0.9
    assert np.array_equal(faulty, add_faults(faces, 0.2, np.random.default_rng(3)))
    assert add_faults(faces, 0.0, np.random.default_rng(3)) is faces


def test_too_much_light_takes_half_the_pixels_to_white_for_as_many_views_as_it_says() -> None:
    faces = np.repeat(np.linspace(0, 255, 48, dtype=np.float32)[None, None], 48, axis=1).repeat(400, axis=0)
    bright = overexpose(faces, 0.3, np.random.default_rng(3))
    struck = (bright != faces).any(axis=(1, 2))
    assert 0.2 < struck.mean() < 0.4
    assert bright.max() == 255
    white = (bright[struck] == 255).mean(axis=(1, 2))
    # 1.3 to 2.4 times the light: 1 - 1/1.3 = 23 % to 1 - 1/2.4 = 58 % of an even ramp.
    assert white.min() > 0.2
    assert 0.5 < white.max() < 0.6
    assert np.array_equal(bright, overexpose(faces, 0.3, np.random.default_rng(3)))
    assert overexpose(faces, 0.0, np.random.default_rng(3)) is faces
