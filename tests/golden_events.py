"""What edge makes of the three media of the test data, as files that a change of behaviour has to change.

    EMOTION_EDGE_TESTDATA=... python tests/golden_events.py          # write tests/golden/*.json anew
    EMOTION_EDGE_TESTDATA=... python tests/golden_events.py --print  # only print the events, one line of JSON each

Write them anew whenever the model, the detector, the crop, the smoothing or the tracks are meant to behave differently, and
read the difference before it is committed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import msgspec

from edge.camera import open_camera
from edge.config import CameraSettings, DetectorSettings, Settings
from edge.delivery import Announcer
from edge.delivery.events import encode, finish
from edge.emotion.classify import open_classifier
from edge.emotion.open import Models
from edge.faces import open_detector
from edge.faces.tracks import Tracker
from edge.pipeline import Analysis

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"
# Named, not the default: another default model must not change what this tests.
MODEL = ROOT / "edge" / "models" / "micro.int8.tflite"
# Name of the golden file -> medium and detector settings.
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "stage": ("stage-performance.mp4", {"kind": "yunet"}),
    "stage-followed": ("stage-performance.mp4", {"kind": "yunet", "every": 4}),
    "two-people": ("two-people.jpg", {"kind": "yunet"}),
    "portrait": ("portrait-480p.jpg", {"kind": "yunet"}),
    "portrait-haar": ("portrait-480p.jpg", {"kind": "haar"}),
}


def play(case: str, testdata: Path) -> tuple[tuple[int, int], list[bytes]]:
    """Replay a medium through the whole analysis.

    Returns:
        The picture's width and height, and the events as they would go over the wire.
    """
    medium, given = CASES[case]
    detector = DetectorSettings(**given, weights=str(testdata / "models" / "yunet_n_320_320.onnx"))
    settings = Settings(camera=CameraSettings(source=str(testdata / "media" / medium)), detector=detector)
    classifier = open_classifier(MODEL)
    announcer = Announcer(classifier.manifest.labels, classifier.manifest.identity, settings.delivery.update_interval, str)
    found = open_detector(detector, live=False)
    analysis = Analysis(found, Models(classifier, None), Tracker(settings.tracks), announcer, settings, live=False)
    camera, drafts, size = open_camera(settings.camera), [], (0, 0)
    while (frame := camera.read()) is not None:
        drafts += analysis.step(frame).drafts
        size = (frame.image.shape[1], frame.image.shape[0])
    camera.close()
    drafts += analysis.end()
    return size, [encode(finish(draft, number, "replay", draft.track)) for number, draft in enumerate(drafts, 1)]


def main() -> int:
    from conftest import TESTDATA

    for case in CASES:
        size, events = play(case, TESTDATA)
        if "--print" in sys.argv:
            print("\n".join(event.decode() for event in events))
            continue
        told = [msgspec.json.decode(event) for event in events]
        kept = [{key: event[key] for key in ("type", "track", "emotion", "confidence", "box", "at")} for event in told]
        lines = ",\n".join(f"  {json.dumps(event)}" for event in kept)
        head = {"medium": CASES[case][0], "detector": CASES[case][1], "model": told[0]["model"], "opencv": cv2.__version__}
        text = f'{json.dumps(head)[:-1]}, "size": {json.dumps(size)}, "events": [\n{lines}\n]}}\n'
        (GOLDEN / f"{case}.json").write_text(text)
        print(f"{case}: {len(kept)} events")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
