"""edge-run: watch a source, find faces, recognise emotions, publish events over MQTT.

Every setting of the configuration file is a flag too, and flags win. Ends by itself when a file is through.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path

from edge.cli.exits import OK, UNDELIVERED, Parser, exit_status
from edge.cli.flags import add_flags, given_flags
from edge.config import Settings, read_settings
from edge.places import state_folder

# Levels of syslog(3), which the journal reads from the start of each line (sd-daemon(3)).
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def main(argv: list[str] | None = None) -> int:
    parser = Parser(
        prog="edge-run",
        description=__doc__,
        epilog="Exit status: 0 done or stopped, 2 unusable settings or files, 3 the file is through but the broker does not have "
        "every event yet (they are kept and sent next time), 4 a part of the program hangs and only a new process can help. "
        "SIGHUP loads the model anew.",
    )
    parser.add_argument("--config", type=Path, help="a TOML file; `--example-config` prints one")
    parser.add_argument(
        "--check", action="store_true", help="check settings, password and certificates, model and detector, then end"
    )
    parser.add_argument(
        "--forget", action="store_true", help="wipe what the broker keeps of this device (retained topics), then end"
    )
    parser.add_argument("--example-config", action="store_true", help="print every key with its default, then end")
    add_flags(parser)
    return exit_status("edge-run", lambda: _run(parser.parse_args(argv)))


def _run(arguments: argparse.Namespace) -> int:
    if arguments.example_config:
        from edge.cli.example import example_config

        print(example_config(), end="")
        return OK
    settings = read_settings(arguments.config, given_flags(arguments))
    _log_to_stderr(settings)
    # Imported late: --help and a mistake in the settings answer at once, without OpenCV.
    if arguments.forget:
        from edge.delivery.forget import forget

        wiped = forget(settings)
        print(f"wiped: {', '.join(wiped) or 'nothing was kept'}")
        return OK
    from edge.service import Service

    # Before the models are opened, which may take minutes: the default of this signal is the end.
    reload = threading.Event()
    signal.signal(signal.SIGHUP, lambda *_: reload.set())
    service = Service(settings, state_folder(settings), reread=lambda: read_settings(arguments.config, given_flags(arguments)))
    if arguments.check:
        from edge.login import read_password, tls_context

        read_password(settings.mqtt)
        tls_context(settings.mqtt)
        print(f"ready: {service.describe()} (source and broker are not tried)")
        return OK
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    settle()
    left = service.run(stop, reload)
    if left:
        print(f"edge-run: {left} events have not reached the broker; they are kept and sent at the next start", file=sys.stderr)
    # Whoever stops it knows that something may be left; a script that waits for a file has to be told.
    return UNDELIVERED if left and not stop.is_set() else OK


def settle() -> None:
    """Take what has been made so far out of the collector's sight, as it stays.

    It looks at everything only when what is new has grown to a quarter of what is old: after hours, with 40,000 old objects.
    The second collection is the one that counts how many are old, and by then there are next to none.
    """
    gc.collect()
    gc.freeze()
    gc.collect()


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler()
    # A terminal started by systemd inherits the variable, but its standard error is another file (systemd.exec(5)).
    stderr = os.fstat(2)
    journal = os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"
    handler.setFormatter(_JournalFormatter() if journal else logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=settings.service.log_level.upper(), handlers=[handler])


class _JournalFormatter(logging.Formatter):
    """The journal stamps each line itself and wants its priority in front."""

    def format(self, record: logging.LogRecord) -> str:
        return f"<{PRIORITIES.get(record.levelno, 6)}>{super().format(record)}"


if __name__ == "__main__":
    raise SystemExit(main())
