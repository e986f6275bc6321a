"""The second model beside the first: real models, the shipped one against itself and against one that was changed."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edge.emotion.classify import DEFAULT_MODEL, Classifier, open_classifier
from edge.emotion.shadow import ShadowModel
from edge.errors import ModelError

CROPS = [np.random.default_rng(seed).integers(0, 256, (60, 60, 3), np.uint8) for seed in range(20)]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return open_classifier(DEFAULT_MODEL)


def relabelled(classifier: Classifier, labels: tuple[str, ...]) -> Classifier:
    return Classifier(msgspec.structs.replace(classifier.manifest, labels=labels), classifier.runtime)


def play(shadow: ShadowModel, classifier: Classifier) -> None:
    for crop in CROPS:
        shadow.look([crop], classifier.classify([crop])[0], 0.002)


def test_a_look_at_two_views_is_the_mean_of_both(classifier: Classifier) -> None:
    first, second = classifier.classify(CROPS[:2])
    assert np.array_equal(classifier.look(CROPS[:1]), first)
    both = classifier.look(CROPS[:2])
    assert both.dtype == np.float32
    assert np.array_equal(both, (first + second) / np.float32(2))


def test_a_model_agrees_with_itself(classifier: Classifier) -> None:
    shadow = ShadowModel(classifier, classifier.manifest.labels, 1.0)
    assert (shadow.looks, shadow.agreement, shadow.milliseconds) == (0, None, (None, None))
    play(shadow, classifier)
    assert (shadow.looks, shadow.agreement) == (20, 1.0)
    first, second = shadow.milliseconds
    assert first == 2.0
    assert second is not None
    assert second > 0


def test_labels_in_another_order_are_compared_by_name(classifier: Classifier) -> None:
    turned = classifier.manifest.labels[::-1]
    shadow = ShadowModel(relabelled(classifier, turned), turned, 1.0)
    play(shadow, relabelled(classifier, turned))
    assert shadow.agreement == 1.0
    other = ShadowModel(relabelled(classifier, turned), classifier.manifest.labels, 1.0)
    play(other, classifier)
    assert other.agreement is not None
    assert other.agreement < 1.0, "the negative control: the second model's words mean something else now"


def test_other_labels_cannot_be_compared(classifier: Classifier) -> None:
    with pytest.raises(ModelError, match="same labels"):
        ShadowModel(classifier, ("happy", "sad"), 1.0)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_its_share_is_of_whole_tracks(classifier: Classifier, share: float) -> None:
    shadow = ShadowModel(classifier, classifier.manifest.labels, share)
    chosen = [shadow.wants(track) for track in range(1, 1001)]
    assert sum(chosen) == pytest.approx(1000 * share, abs=5)
    assert chosen == [shadow.wants(track) for track in range(1, 1001)]


def test_a_second_model_that_fails_is_switched_off_and_nothing_else_happens(classifier: Classifier) -> None:
    shadow = ShadowModel(classifier, classifier.manifest.labels, 1.0)
    shadow.look([np.zeros((0, 0, 3), np.uint8)], np.zeros(7, np.float32), 0.001)
    assert not shadow.wants(1)
    assert shadow.looks == 0
