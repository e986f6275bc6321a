"""The order of the stages, with the real model and everything but the detector as it runs on a board."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import SeenFaces

from edge.config import DetectorSettings, ModelSettings, Settings
from edge.delivery import Announcer, EventDraft
from edge.emotion.classify import DEFAULT_MODEL, open_classifier
from edge.emotion.open import Models
from edge.faces.tracks import Tracker
from edge.pipeline import Analysis
from edge.types import Face, Frame

PICTURE = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
FACE = Face(80, 60, 50)


def analysis(faces: SeenFaces, settings: Settings | None = None) -> Analysis:
    settings = settings or Settings()
    classifier = open_classifier(DEFAULT_MODEL)
    announcer = Announcer(classifier.manifest.labels, classifier.manifest.identity, 10.0, "run-{}".format)
    return Analysis(faces, Models(classifier, None), Tracker(settings.tracks), announcer, settings)


def play(stages: Analysis, seconds: float, fps: float = 15, begin: float = 0) -> list[EventDraft]:
    times = begin + np.arange(round(seconds * fps)) / fps
    return [draft for number, time in enumerate(times) for draft in stages.step(Frame(PICTURE, number, time, time)).drafts]


@pytest.mark.parametrize("every", [1, 5, 30])
def test_a_face_is_one_track_however_rare_the_detections_are(every: int) -> None:
    detector = SeenFaces([FACE])
    drafts = play(analysis(detector, Settings(detector=DetectorSettings(every=every))), 6)
    assert [(draft.type, draft.track) for draft in drafts] == [("new", 1)]
    # Once more right at the start: a face that was detected once may be none.
    assert detector.asked == 90 / every + (every > 1)


def test_when_the_source_falls_silent_its_tracks_end_and_new_ones_begin() -> None:
    stages = analysis(SeenFaces([FACE]))
    assert [draft.type for draft in play(stages, 2)] == ["new"]
    assert [(draft.type, draft.track) for draft in stages.end()] == [("end", 1)]
    assert stages.state().faces == 0
    assert stages.end() == []
    assert [(draft.type, draft.track) for draft in play(stages, 2, begin=60)] == [("new", 2)]


def test_one_view_or_two_are_both_probabilities() -> None:
    one, two = (play(analysis(SeenFaces([FACE]), Settings(model=ModelSettings(views=views))), 1)[0] for views in (1, 2))
    for draft in (one, two):
        assert sum(draft.scores.values()) == pytest.approx(1, abs=7 / 256)
    assert one.scores != two.scores
