"""A card as text: Markdown to lay beside a model, and a table for a terminal.

What every card has to say about purpose, limits and licence stands here, once.
"""

from __future__ import annotations

from converters.proof.card import Card
from converters.proof.report import confidence_line

PURPOSE = """\
It labels what a face shows in a picture. An expression is not a feeling: people smile without joy and are sad without showing
it."""

FER2013_LIMITS = """\
FER2013 was collected by web search in 2013 and labelled by few people; about a third of its labels is disputed (the crowd
votes of FER+ agree with 63 % of them). Most of its faces are adults who look into a camera; children, old people, dark skin,
covered and turned faces are rare in it, and this network was not measured on them apart."""

LAW = """\
In the European Union, Regulation (EU) 2024/1689 forbids inferring emotions at work and in education except for medical or
safety reasons (Article 5(1)(f)) and asks that people be told (Article 50(3))."""

LICENCE = """\
Weights that this project ships are Apache-2.0 like the rest of it; others have the licence of who trained them. FER2013 is
offered by Kaggle for research; whether weights trained on it may be used commercially where you are is for you to clear."""


def markdown(card: Card, picture: str) -> str:
    """The card as a page.

    Args:
        card: what was measured.
        picture: name of the confusion matrix' file, beside the page.
    """
    network, spec = card.network, card.network.input
    size = f"{spec.height}x{spec.width} {'gray' if spec.channels == 1 else 'colour'}"
    weights = "A network" if network.parameters is None else f"A network of {network.parameters:,} parameters"
    classes = f"{len(network.labels)} facial expressions apart: {', '.join(network.labels)}"
    lines = [
        f"# {network.name} {network.version}",
        "",
        f"{weights} that tells {classes}. It takes {size} pictures of a face, cut as FER2013 cuts them.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {_cell(value)} |" for name, value in _facts(card)),
        "",
        *(f"{note[0].upper()}{note[1:]}.\n" for note in card.notes),
        *_classes(card),
        "",
        f"![Confusion matrix and reliability diagram]({picture})",
        "",
        "## What it is for, and what it is not",
        "",
        PURPOSE,
        *([FER2013_LIMITS] if card.protocol.data == "FER2013" else []),
        _weakest(card),
        "",
        LAW,
        "",
        "## Licence",
        "",
        LICENCE,
    ]
    return "\n".join(lines) + "\n"


def table(card: Card) -> str:
    """The card's figures as aligned lines."""
    rows = [(name, value.replace("`", "")) for name, value in _figures(card)]
    rows += [
        (f"recall {label}", f"{_percent(recall)}  (precision {_percent(card.precision[label])})")
        for label, recall in card.recall.items()
    ]
    width = max(len(name) for name, _ in rows)
    protocol = card.protocol
    return "\n".join(
        [
            f"{card.network.file.file}: {card.network.quantization}, input {card.network.preprocessing}",
            f"measured on {protocol.rows:,} rows of {protocol.data} {protocol.split}, {protocol.crops}",
            "",
            *(f"{name.ljust(width)}  {value}" for name, value in rows),
            "",
            confidence_line(card.confidence),
            *(f"note: {note}" for note in card.notes),
        ]
    )


def _facts(card: Card) -> list[tuple[str, str]]:
    network, protocol, training = card.network, card.protocol, card.training
    return [
        ("File", f"`{network.file.file}`, {network.quantization}, sha256 `{network.file.sha256}`"),
        ("Trained by", f"`{training.tool}`, recipe {training.recipe}, seed {training.seed}" if training else "not known here"),
        ("Epoch chosen by", training.selection if training else "not known here"),
        ("Measured on", f"{protocol.data} {protocol.split}, {protocol.rows:,} rows, {protocol.crops}"),
        *_figures(card),
        ("Confidence", confidence_line(card.confidence).removeprefix("confidence: ")),
        ("Data", card.data_licence),
        ("Command", f"`{card.command}`"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())),
    ]


def _figures(card: Card) -> list[tuple[str, str]]:
    network, cleaned = card.network, card.deduplicated
    found = [("Accuracy", f"{card.accuracy:.2%} (standard error {100 * card.standard_error:.2f} points)")]
    if cleaned is not None:
        without = f"without {cleaned.removed:,} rows whose pixels occur in the training part"
        error = f"standard error {100 * cleaned.standard_error:.2f} points"
        found.append(("Accuracy, de-duplicated", f"{cleaned.accuracy:.2%} ({error}; {without})"))
    if card.flip_average is not None:
        found.append(("Accuracy, flip-averaged", f"{card.flip_average:.2%} (another protocol: mean of picture and mirror image)"))
    found.append(("Macro-F1", f"{card.macro_f1:.2%}"))
    found.append(("Calibration error", f"{card.confidence.ece_after:.2%}"))
    found.append(("Size", "unknown" if network.bytes is None else f"{network.bytes / 1000:,.1f} kB as {_format(card)}"))
    found.append(("Parameters", "unknown" if network.parameters is None else f"{network.parameters:,}"))
    found.append(("Multiply-accumulates", "unknown" if network.macs is None else f"{network.macs / 1e6:,.2f} million a picture"))
    speed = f"one thread, LiteRT as {_format(card)}, {network.machine}"
    found.append(("Latency", "unknown" if network.latency_ms is None else f"{network.latency_ms:.3f} ms ({speed})"))
    return found


def _format(card: Card) -> str:
    return f"{card.network.quantization} .tflite"


def _classes(card: Card) -> list[str]:
    labels = card.network.labels
    rows = [sum(row) for row in card.confusion]
    return [
        f"| {card.protocol.split} | {' | '.join(map(_cell, labels))} |",
        "|---" * (len(labels) + 1) + "|",
        f"| recall | {' | '.join(_percent(card.recall[label]) for label in labels)} |",
        f"| precision | {' | '.join(_percent(card.precision[label]) for label in labels)} |",
        f"| rows | {' | '.join(f'{count:,}' for count in rows)} |",
    ]


def _weakest(card: Card) -> str:
    ordered = sorted((recall, label) for label, recall in card.recall.items() if recall is not None)
    return f"{ordered[0][1].capitalize()} and {ordered[1][1]} are its weakest classes."


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
