from __future__ import annotations

import numpy as np
import pytest

from edge.config import EmotionSettings
from edge.emotion.smooth import Smoother
from edge.types import Emotion

LABELS = ("angry", "happy", "neutral")
HAPPY, NEUTRAL, TORN = (0.05, 0.9, 0.05), (0.05, 0.05, 0.9), (0.34, 0.33, 0.33)


def play(
    settings: EmotionSettings, *parts: tuple[tuple[float, ...], float], fps: float = 10
) -> list[tuple[float, Emotion | None]]:
    """Feed each (scores, seconds) in turn; returns (time, emotion) of each frame."""
    smoother, frame, result = Smoother(LABELS, settings), 0, []
    for scores, seconds in parts:
        for _ in range(round(seconds * fps)):
            time = frame / fps
            result.append((time, smoother.update(np.array(scores, np.float32), time, 1000 + time)))
            frame += 1
    return result


def first(result: list[tuple[float, Emotion | None]], label: str) -> float:
    return next(time for time, emotion in result if emotion and emotion.label == label)


def test_no_emotion_before_the_dwell_has_passed() -> None:
    result = play(EmotionSettings(smoothing=0, dwell=0.5), (HAPPY, 1.0))
    assert [emotion is None for time, emotion in result] == [time < 0.5 for time, _ in result]


def test_since_is_when_the_label_took_the_lead_not_when_it_was_confirmed() -> None:
    result = play(EmotionSettings(smoothing=0, dwell=0.5), (HAPPY, 1.0))
    assert result[-1][1] is not None
    assert result[-1][1].since == 1000


def test_a_flash_shorter_than_the_dwell_changes_nothing() -> None:
    result = play(EmotionSettings(smoothing=0, dwell=0.5), (HAPPY, 1.0), (NEUTRAL, 0.3), (HAPPY, 1.0))
    assert {emotion.label for _, emotion in result if emotion} == {"happy"}


def test_a_lasting_change_is_taken_up_after_the_dwell() -> None:
    result = play(EmotionSettings(smoothing=0, dwell=0.5), (HAPPY, 1.0), (NEUTRAL, 1.0))
    assert first(result, "neutral") == pytest.approx(1.5)


def test_a_small_lead_is_not_enough() -> None:
    settings = EmotionSettings(smoothing=0, dwell=0.2, hysteresis=0.1, threshold=0.3)
    close = (0.06, 0.44, 0.50)
    assert {e.label for _, e in play(settings, (HAPPY, 1.0), (close, 2.0)) if e} == {"happy"}
    without = EmotionSettings(smoothing=0, dwell=0.2, hysteresis=0.0, threshold=0.3)
    assert "neutral" in {e.label for _, e in play(without, (HAPPY, 1.0), (close, 2.0)) if e}


def test_low_scores_are_uncertain_and_carry_the_largest_as_confidence() -> None:
    emotion = play(EmotionSettings(smoothing=0, dwell=0.1), (TORN, 1.0))[-1][1]
    assert emotion is not None
    assert (emotion.label, round(emotion.confidence, 2)) == ("uncertain", 0.34)


def test_the_average_does_not_depend_on_the_frame_rate() -> None:
    settings = EmotionSettings(smoothing=0.5, dwell=0)
    ends = [play(settings, (HAPPY, 1.0), (NEUTRAL, 1.0), fps=fps)[-1][1] for fps in (10, 40)]
    assert ends[0] is not None
    assert ends[1] is not None
    # One second after the last happy frame, at either rate.
    np.testing.assert_allclose(ends[0].scores, ends[1].scores, atol=1e-5)
    assert ends[0].scores[1] == pytest.approx(0.05 + 0.85 * np.exp(-1 / 0.5), abs=1e-4)


def test_scores_stay_probabilities() -> None:
    for _, emotion in play(EmotionSettings(), (HAPPY, 1.0), (TORN, 1.0), (NEUTRAL, 1.0)):
        if emotion:
            assert emotion.scores.sum() == pytest.approx(1, abs=1e-5)
