"""The verdict in words: why this one, and what the others were worth."""

from __future__ import annotations

from collections.abc import Sequence

from edge.bench.candidates import TENSORRT, Candidate
from edge.bench.choose import Budget, Choice, as_fast, behind, drop, over, preference, rows, standing
from edge.bench.measure import Measured

# What decides a tie, in the order of `preference`.
MERITS = ("fewer threads", "higher accuracy", "the smaller file", "the plainer way to run it", "its median")

# A model's path and whether it runs on TensorRT; what each is called.
Which = tuple[str, bool]
Names = dict[Which, str]


def which(candidate: Candidate) -> Which:
    """The model, and whether it runs on TensorRT, which makes another network of it."""
    return candidate.model, candidate.delegate == TENSORRT


def label(candidate: Candidate, all_of_them: Sequence[Candidate]) -> str:
    """The shortest name that no other has: what TensorRT made of a model, or how the model is named on the CPU."""
    plain = _plain(candidate, all_of_them)
    engines = [one for one in all_of_them if one.delegate == TENSORRT]
    if candidate.delegate != TENSORRT:
        return f"{plain} on the CPU" if any(one.model == candidate.model for one in engines) else plain
    name = "TensorRT" if candidate.precision in (None, "typed") else f"TensorRT {candidate.precision.upper()}"
    return (
        name
        if all(one.model == candidate.model or one.precision != candidate.precision for one in engines)
        else f"{name} of {plain}"
    )


def _plain(candidate: Candidate, all_of_them: Sequence[Candidate]) -> str:
    """Quantization, quantization and kind of file, or the file's name."""
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
    if candidate.delegate == TENSORRT and candidate.precision not in (None, "typed"):
        return f"{TENSORRT} {candidate.precision}"
    return _name(candidate.delegate or "")


def baseline(measured: Sequence[Measured]) -> Measured | None:
    """What ratios are against: the float32 model, else the first one; in the first way it was measured, which is the plainest."""
    processors = [one for one in measured if one.candidate.delegate != TENSORRT]
    floats = [one for one in processors if (one.candidate.format or "").startswith("float32")]
    return next(iter(floats or measured), None)


def times(ratio: float) -> str:
    """A ratio for people: 1.8x, and 1.06x or 0.04x where one digit would hide it."""
    return f"{ratio:.2f}x" if ratio < 0.095 or 0.895 < ratio < 1.095 else f"{ratio:.1f}x"


def why(choice: Choice, measured: Sequence[Measured], budget: Budget) -> list[str]:
    """Sentences for the choice: against the other formats, against other ways to run the same, and what to beware of."""
    chosen = choice.chosen
    if chosen is None:
        return [_nothing(measured, budget, choice)]
    names = _names(measured)
    said = [_against(chosen, other, choice, names, budget) for other in _best_of_others(chosen, measured)]
    if choice.ties:
        said.append(
            f"{len(choice.ties)} more {'is' if len(choice.ties) == 1 else 'are'} as fast within the noise "
            f"({'; '.join(_whole(tie, names) for tie in choice.ties)}): {_merits(chosen, choice)} decided"
        )
    if standing(chosen.candidate, budget.max_drop, choice.best) == "unproven":
        cause = "--unproven let it in" if budget.unproven else "nothing that is proven and within the budget runs here"
        said.append(f"beware: the accuracy of {names[which(chosen.candidate)]} is unproven; {cause}")
    return said + _apart(chosen, choice, names)


def _names(measured: Sequence[Measured]) -> Names:
    candidates = [one.candidate for one in measured]
    return {which(candidate): label(candidate, candidates) for candidate in candidates}


def _against(chosen: Measured, other: Measured, choice: Choice, names: Names, budget: Budget) -> str:
    mine, theirs = names[which(chosen.candidate)], names[which(other.candidate)]
    ratio = other.median_ms / chosen.median_ms
    eligible = any(one is other for one in choice.eligible)
    if other in choice.ties or as_fast(chosen, other):
        sentence = f"{mine} and {theirs} are as fast as each other here"
    elif ratio > 1 and (theirs.startswith("float32") or chosen.candidate.delegate == TENSORRT):
        sentence = f"{mine} is {times(ratio)} faster than {theirs} here"
    elif ratio > 1:
        sentence = f"{theirs} is slower than {mine} here ({times(1 / ratio)})"
    else:
        sentence = f"{theirs} is {times(1 / ratio)} faster than {mine} here"
    return (
        sentence if eligible else f"{sentence}; {theirs} may not be chosen: {_objection(other.candidate, budget, choice, names)}"
    )


def _best_of_others(chosen: Measured, measured: Sequence[Measured]) -> list[Measured]:
    """Every other model in its own fastest way, and on TensorRT apart, the float32 one first."""
    best: dict[Which, Measured] = {}
    for one in measured:
        if (mine := which(one.candidate)) != which(chosen.candidate):
            best[mine] = min(one, best.get(mine, one), key=lambda each: each.median_ms)
    against = baseline([*best.values()])
    return sorted(best.values(), key=lambda one: (one is not against, one.median_ms))


def _objection(candidate: Candidate, budget: Budget, choice: Choice, names: Names) -> str:
    match standing(candidate, budget.max_drop, choice.best):
        case "failed":
            return "it failed edge-convert's gate"
        case "over budget" if over(drop(candidate), budget.max_drop):
            return f"it lost {drop(candidate):.2f} points of accuracy, allowed {budget.max_drop:g}"
        case "over budget":
            best = next(best for where, best in choice.best.items() if where == rows(candidate))
            whose = "" if (best.format or "").startswith("float32") else "the float original of "
            points = f"{behind(candidate, choice.best):.2f} points less accurate"
            return f"it is {points} than {whose}{names[which(best)]}, allowed {budget.max_drop:g}"
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


def _apart(chosen: Measured, choice: Choice, names: Names) -> list[str]:
    """Other networks that could have been chosen, but whose accuracy cannot be held against this one's."""
    mine = rows(chosen.candidate)
    others = [names[which(one.candidate)] for one in choice.eligible if mine and rows(one.candidate) not in (None, mine)]
    if not others:
        return []
    them = ", ".join(dict.fromkeys(others))
    sentence = (
        f"beware: the accuracy of {them} was measured on other pictures than that of {names[which(chosen.candidate)]}: "
        "which is the better network is not known"
    )
    return [sentence]


def _nothing(measured: Sequence[Measured], budget: Budget, choice: Choice) -> str:
    if not measured:
        return "nothing can be chosen: no candidate runs here"
    names = _names(measured)
    objections = {one.candidate.model: _objection(one.candidate, budget, choice, names) for one in measured}
    return f"nothing can be chosen: {'; '.join(f'{_name(model)}: {objection}' for model, objection in objections.items())}"


def _whole(one: Measured, names: Names) -> str:
    return f"{names[which(one.candidate)]}, {way(one.candidate)}"


def _name(path: str) -> str:
    return path.rsplit("/", 1)[-1]
