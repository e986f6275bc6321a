"""The golden pairs of a manifest: crops on which the network says different things, with what it says here."""

from __future__ import annotations

from edge.emotion.classify import Classifier
from edge.emotion.golden import golden_crop
from edge.emotion.manifest import Golden

NEEDED, SEARCHED = 3, 256


def find_golden(classifier: Classifier) -> tuple[Golden, ...]:
    """Search rule numbers until three crops differ in their top-1.

    A network that gives one answer to everything would pass a check with equal crops; where three answers cannot be had,
    the first numbers fill up.
    """
    by_class: dict[int, Golden] = {}
    rest: list[Golden] = []
    for number in range(1, SEARCHED + 1):
        rule = f"v1:{number}"
        scores = classifier.scores(golden_crop(rule, classifier.manifest.input))
        golden = Golden(rule, tuple(round(float(score), 6) for score in scores))
        if int(scores.argmax()) in by_class:
            rest.append(golden)
        else:
            by_class[int(scores.argmax())] = golden
        if len(by_class) == NEEDED:
            break
    return (*by_class.values(), *rest[: NEEDED - len(by_class)])
