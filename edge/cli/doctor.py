"""edge-doctor: find out what keeps edge-run from working on this machine, and what to do about it.

It takes the settings of edge-run, as a file or as flags. It changes nothing, and may run while edge-run does.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from edge import __version__
from edge.cli.exits import FAILED_GATE, OK, Parser, exit_status
from edge.cli.flags import add_flags, given_flags
from edge.clock import rfc3339
from edge.config import nearest, read_settings
from edge.doctor import NAMES, Finding, Verdict, examine

# Where systemd/install.sh puts them.
SERVICE_CONFIG = Path("/etc/emotion-edge/config.toml")
WORST_FIRST: tuple[Verdict, ...] = ("broken", "warning", "good", "skipped")


class Report(msgspec.Struct, frozen=True):
    """What --json prints.

    Attributes:
        verdict: the worst of the findings; `skipped` ones do not count.
        config: the file whose settings were examined; None for the defaults and flags alone.
    """

    v: int
    version: str
    at: str
    verdict: Verdict
    config: str | None
    findings: tuple[Finding, ...]


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="edge-doctor",
        description=__doc__,
        epilog="Exit status: 0 all is well, apart from warnings; 1 something is broken; 2 unusable arguments or settings.",
    )
    parser.add_argument("--config", type=Path, help=f"edge-run's TOML file (the service's is {SERVICE_CONFIG})")
    parser.add_argument(
        "--only", type=_topics, default=NAMES, metavar="TOPIC,TOPIC", help=f"look at these alone: {', '.join(NAMES)}"
    )
    parser.add_argument("--json", action="store_true", help="print everything as one JSON object")
    add_flags(parser)
    return exit_status("edge-doctor", lambda: _run(parser.parse_args(argv)))


def _run(arguments: argparse.Namespace) -> int:
    settings = read_settings(arguments.config, given_flags(arguments))
    found = examine(settings, arguments.only)
    if arguments.json:
        findings = tuple(found)
        report = Report(1, __version__, rfc3339(time.time()), worst(findings), _config(arguments.config), findings)
        print(msgspec.json.encode(report).decode())
    else:
        print(f"edge-doctor {__version__}, {_which(arguments.config)}")
        findings = tuple(_told(found))
        print(_summary(findings))
    return FAILED_GATE if worst(findings) == "broken" else OK


def worst(findings: Iterable[Finding]) -> Verdict:
    """The verdict over all."""
    verdicts = {finding.verdict for finding in findings}
    return next((verdict for verdict in WORST_FIRST if verdict in verdicts), "good")


def _told(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Print each as soon as it is there."""
    for finding in findings:
        text = " ".join(finding.text.split())
        print(f"{finding.verdict:<8} {finding.name:<24} {text}{f'; {finding.remedy}' if finding.remedy else ''}", flush=True)
        yield finding


def _summary(findings: tuple[Finding, ...]) -> str:
    counts = Counter(finding.verdict for finding in findings)
    return ", ".join(f"{counts[verdict]} {verdict}" for verdict in WORST_FIRST if counts[verdict])


def _which(config: Path | None) -> str:
    if config is not None:
        return f"settings of {config}"
    service = f"; the service's are in {SERVICE_CONFIG} (--config)" if SERVICE_CONFIG.is_file() else ""
    return f"default settings and the flags given{service}"


def _config(config: Path | None) -> str | None:
    return None if config is None else str(config)


def _topics(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in NAMES:
            raise argparse.ArgumentTypeError(f"{name!r} is not a topic{nearest(name, NAMES)}")
    return names


if __name__ == "__main__":
    raise SystemExit(main())
