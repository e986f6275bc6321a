"""The verdict in words: why this one, and what the others were worth."""

from __future__ import annotations

from collections.abc import Sequence

from edge.bench.candidates import Candidate
from edge.bench.choose import Budget, Choice, as_fast, drop, preference, standing
from edge.bench.measure import Measured

# What decides a tie, in the order of `preference`.
MERITS = ("fewer threads", "higher accuracy", "the smaller file", "no delegate to set", "its median")


def label(candidate: Candidate, all_of_them: Sequence[Candidate]) -> str:
    """The shortest name that no other model has: quantization, quantization and kind of file, or the file's name."""
    formats = {one.model: one.format or "" for one in all_of_them}
    mine = formats[candidate.model]
    kinds = [text.split(" ")[0] for text in formats.values()]
    if kinds.count(mine.split(" ")[0]) == 1:
        return mine.split(" ")[0]
    if list(formats.values()).count(mine) == 1:
        return mine
    return candidate.name if [*map(_name, formats)].count(candidate.name) == 1 else candidate.model


def way(candidate: Candidate) -> str:
    """How it runs: threads, and the delegate where there is one to name."""
    threads = "" if candidate.threads is None else f"{candidate.threads} thread{'' if candidate.threads == 1 else 's'}"
    return ", ".join(part for part in (threads, delegate_name(candidate)) if part)


def delegate_name(candidate: Candidate) -> str:
    """The delegate as a column holds it."""
    return _name(candidate.delegate or "")


def baseline(measured: Sequence[Measured]) -> Measured | None:
    """What ratios are against: the float32 model, else the first one; in the first way it was measured, which is the plainest."""
    floats = [one for one in measured if (one.candidate.format or "").startswith("float32")]
    return next(iter(floats or measured), None)


def times(ratio: float) -> str:
    """A ratio for people: 1.8x, and 1.06x or 0.04x where one digit would hide it."""
    return f"{ratio:.2f}x" if ratio < 0.095 or 0.895 < ratio < 1.095 else f"{ratio:.1f}x"


def why(choice: Choice, measured: Sequence[Measured], budget: Budget) -> list[str]:
    """Sentences for the choice: against the other formats, against other ways to run the same, and what to beware of."""
    chosen = choice.chosen
    if chosen is None:
        return [_nothing(measured, budget)]
    names = {one.candidate.model: label(one.candidate, [each.candidate for each in measured]) for one in measured}
    said = [_against(chosen, other, choice, names, budget) for other in _best_of_others(chosen, measured)]
    if choice.ties:
        said.append(
            f"{len(choice.ties)} more {'is' if len(choice.ties) == 1 else 'are'} as fast within the noise "
            f"({'; '.join(_whole(tie, names) for tie in choice.ties)}): {_merits(chosen, choice)} decided"
        )
    if standing(chosen.candidate, budget.max_drop) == "unproven":
        cause = "--unproven let it in" if budget.unproven else "nothing that is proven and within the budget runs here"
        said.append(f"beware: the accuracy of {names[chosen.candidate.model]} is unproven; {cause}")
    return said + _better(chosen, choice, names, budget)


def _against(chosen: Measured, other: Measured, choice: Choice, names: dict[str, str], budget: Budget) -> str:
    mine, theirs = names[chosen.candidate.model], names[other.candidate.model]
    ratio = other.median_ms / chosen.median_ms
    eligible = any(one is other for one in choice.eligible)
    if other in choice.ties or as_fast(chosen, other):
        sentence = f"{mine} and {theirs} are as fast as each other here"
    elif ratio > 1 and theirs.startswith("float32"):
        sentence = f"{mine} is {times(ratio)} faster than {theirs} here"
    elif ratio > 1:
        sentence = f"{theirs} is slower than {mine} here ({times(1 / ratio)})"
    else:
        sentence = f"{theirs} is {times(1 / ratio)} faster than {mine} here"
    return sentence if eligible else f"{sentence}; {theirs} may not be chosen: {_objection(other.candidate, budget)}"


def _best_of_others(chosen: Measured, measured: Sequence[Measured]) -> list[Measured]:
    """Every other model in its own fastest way, the float32 one first."""
    best: dict[str, Measured] = {}
    for one in measured:
        if one.candidate.model != chosen.candidate.model:
            best[one.candidate.model] = min(one, best.get(one.candidate.model, one), key=lambda each: each.median_ms)
    against = baseline([*best.values()])
    return sorted(best.values(), key=lambda one: (one is not against, one.median_ms))


def _objection(candidate: Candidate, budget: Budget) -> str:
    match standing(candidate, budget.max_drop):
        case "failed":
            return "it failed edge-convert's gate"
        case "over budget":
            return f"it lost {drop(candidate):.2f} points of accuracy, allowed {budget.max_drop:g}"
        case _:
            return "its accuracy is unproven (--unproven lets it in)"


def _merits(chosen: Measured, choice: Choice) -> str:
    """In what the chosen one is better than those that it ties with, until none of them is left."""
    mine = preference(chosen)
    rivals, merits = [preference(tie) for tie in choice.ties], []
    for place, merit in enumerate(MERITS):
        left = [rival for rival in rivals if rival[place] == mine[place]]
        merits += [merit] if len(left) < len(rivals) else []
        rivals = left
    return ", then ".join(merits)


def _better(chosen: Measured, choice: Choice, names: dict[str, str], budget: Budget) -> list[str]:
    """A network that is far better was measured too: the budget is held against each one's own original, not against it."""
    mine = chosen.candidate.metrics
    rivals = [one for one in choice.eligible if one.candidate.metrics.measured_on == mine.measured_on]
    best = max(rivals, key=lambda one: one.candidate.metrics.accuracy or 0.0)
    if mine.accuracy is None or best.candidate.metrics.accuracy is None:
        return []
    points = 100 * (best.candidate.metrics.accuracy - mine.accuracy)
    if points <= budget.max_drop:
        return []
    sentence = (
        f"beware: {names[best.candidate.model]} comes from a better network: {points:.2f} points more accurate "
        f"(and {times(best.median_ms / chosen.median_ms)} the time); the budget holds each against its own float original"
    )
    return [sentence]


def _nothing(measured: Sequence[Measured], budget: Budget) -> str:
    if not measured:
        return "nothing can be chosen: no candidate runs here"
    objections = {one.candidate.model: _objection(one.candidate, budget) for one in measured}
    return f"nothing can be chosen: {'; '.join(f'{_name(model)}: {objection}' for model, objection in objections.items())}"


def _whole(one: Measured, names: dict[str, str]) -> str:
    return f"{names[one.candidate.model]}, {way(one.candidate)}"


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]
