"""edge-fetch yunet: get what is not part of emotion-edge, by a pinned address, size and sha256."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from edge.cli.exits import OK, Parser, exit_status
from edge.errors import FetchError
from edge.fetch import ASSETS, Asset, fetch, mismatch
from edge.places import model_folders, readable

# A download that is through before this needs no progress, seconds.
PATIENCE = 2.0


def main(argv: list[str] | None = None) -> int:
    parser = Parser(prog="edge-fetch", description=__doc__)
    parser.add_argument("asset", nargs="?", help=f"one of: {', '.join(asset.name for asset in ASSETS)}; without it, a list")
    parser.add_argument("--list", action="store_true", help="what there is, its licence, and where it lies on this machine")
    parser.add_argument(
        "--from", dest="source", metavar="FILE_OR_URL", help="take it from here; size and sha256 are still checked"
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="put it there instead of the user's cache")
    parser.add_argument("--force", action="store_true", help="fetch it although it is there")
    return exit_status("edge-fetch", lambda: _run(parser.parse_args(argv)))


def _run(arguments: argparse.Namespace) -> int:
    return _list(arguments) if arguments.list or arguments.asset is None else _fetch(arguments)


def _list(arguments: argparse.Namespace) -> int:
    for asset in ASSETS:
        places = [folder / asset.file for folder in filter(readable, _folders(arguments))]
        found = [str(path) for path in places if path.is_file() and not mismatch(asset, path)]
        print(f"{asset.name}: {asset.purpose}; {asset.size:,} bytes, licence {asset.licence}")
        print(f"  {asset.url}")
        print(f"  {'here: ' + ', '.join(found) if found else 'not here; get it: edge-fetch ' + asset.name}")
    return OK


def _fetch(arguments: argparse.Namespace) -> int:
    asset = _named(arguments.asset)
    folder = _folders(arguments)[-1]
    target = folder / asset.file
    if target.is_file() and not arguments.force and not mismatch(asset, target):
        print(f"{target} is there already (--force fetches it again)")
        return OK
    progress = _Progress(asset.name)
    try:
        path = fetch(asset, arguments.source or asset.url, folder, progress)
    finally:
        progress.close()
    print(f"{path}: {asset.size:,} bytes, sha256 as pinned, licence {asset.licence}")
    return OK


def _named(name: str) -> Asset:
    for asset in ASSETS:
        if asset.name == name:
            return asset
    raise FetchError(f"{name}: nothing of that name; known are {', '.join(asset.name for asset in ASSETS)}")


def _folders(arguments: argparse.Namespace) -> tuple[Path, ...]:
    return (arguments.to.expanduser(),) if arguments.to else model_folders()


class _Progress:
    """One line on the terminal, once it takes longer than a person's patience."""

    def __init__(self, name: str) -> None:
        self._name, self._start, self._shown = name, time.monotonic(), False

    def __call__(self, done: int, size: int) -> None:
        if sys.stderr.isatty() and time.monotonic() - self._start > PATIENCE:
            self._shown = True
            print(f"\r{self._name}: {done / size:4.0%} of {size / 1024:,.0f} KB", end="", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._shown:
            print(file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
