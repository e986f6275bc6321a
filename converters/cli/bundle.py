"""edge-bundle --target pi-bookworm64 --model X.tflite -o b.tar.xz: one file with everything that a board needs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from converters.deploy.targets import TARGETS
from converters.outputs import check_free
from edge.cli.exits import FAILED_GATE, OK, Parser, exit_status
from edge.errors import ConfigError, RuntimeMissingError

if TYPE_CHECKING:
    from converters.deploy.bundle import Outcome

PROG = "edge-bundle"
EPILOG = """examples:
  edge-bundle --target pi-bookworm64 --model micro.int8.tflite -o b.tar.xz
  edge-bundle --target orin-jp6 --model micro.int8.tflite --onnx micro.qdq.onnx -o b.tar.xz
  edge-bundle --verify b.tar.xz
  edge-bundle --lock --target pi-bookworm64      let pip choose the packages' versions anew
exit status: 0 built or good, 1 something in it would not load on the board or is too large for it, 2 unusable input"""


def main(argv: list[str] | None = None) -> int:
    return exit_status(PROG, lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", choices=tuple(TARGETS), help="the board and its system")
    parser.add_argument("--model", type=Path, metavar="X.tflite", help="the model, with its manifest beside it")
    parser.add_argument("--onnx", type=Path, metavar="Y.onnx", help="the same model for a Jetson's TensorRT, likewise")
    parser.add_argument("-o", "--output", type=Path, metavar="B.tar.xz", help="where the bundle goes; with --lock, the lock")
    parser.add_argument("--force", action="store_true", help="replace what is there")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    others = parser.add_argument_group("instead of building")
    others.add_argument("--verify", type=Path, metavar="B.tar.xz", help="hold a bundle against its own description")
    others.add_argument("--lock", action="store_true", help="choose the versions of all packages for --target and write its lock")
    sources = parser.add_argument_group("where its parts come from")
    sources.add_argument("--yunet", type=Path, metavar="FILE", help="YuNet's weights (else the usual places, else fetched)")
    sources.add_argument("--no-yunet", action="store_true", help="without them; faces are found with Haar, which misses more")
    sources.add_argument("--wheels", type=Path, metavar="DIR", help="the locked wheels lie there; nothing is downloaded")
    sources.add_argument("--wheel", type=Path, metavar="FILE", help="emotion-edge's own wheel (else built from the checkout)")
    sources.add_argument("--locked", type=Path, metavar="FILE", help="a lock of one's own")
    sources.add_argument("--python", type=Path, metavar="ARCHIVE", help="the Python for a jetson-nano (else fetched)")
    sources.add_argument("--checkout", type=Path, metavar="DIR", help="emotion-edge's sources (else where this command lies)")
    return parser


def _run(arguments: argparse.Namespace) -> int:
    try:
        import elftools  # noqa: F401
        import packaging  # noqa: F401
    except ImportError as error:
        raise RuntimeMissingError(f"{error.name} is not installed; pip install 'emotion-edge[deploy]'") from None
    if arguments.verify:
        return _verify(arguments)
    missing = [] if arguments.target else [f"--target: one of {', '.join(TARGETS)}"]
    if not arguments.lock:
        missing += [f"--{name}: missing; see {PROG} --help" for name in ("model", "output") if getattr(arguments, name) is None]
    if arguments.yunet and arguments.no_yunet:
        missing.append("--yunet and --no-yunet: give one of them")
    if missing:
        raise ConfigError(missing)
    return _lock(arguments) if arguments.lock else _build(arguments)


def _verify(arguments: argparse.Namespace) -> int:
    from converters.deploy.verify import verify

    bundle = verify(arguments.verify)
    if arguments.json:
        import msgspec

        print(msgspec.json.encode(bundle).decode())
    else:
        print(
            f"{arguments.verify}: emotion-edge {bundle.version} for {bundle.target}, {bundle.model}, {len(bundle.files)} files, "
            f"every one as it was built"
        )
    return OK


def _lock(arguments: argparse.Namespace) -> int:
    from converters.deploy.lock import lock_path, project_requirements, resolve, write_lock

    target = TARGETS[arguments.target]
    path = arguments.output or lock_path(target)
    # The project's own lock is there to be written anew.
    check_free([path], arguments.force or arguments.output is None)
    pins = resolve(target, project_requirements(_checkout(arguments), target))
    write_lock(path, target, pins)
    print(f"{path}: {len(pins)} packages")
    return OK


def _build(arguments: argparse.Namespace) -> int:
    from converters.deploy.bundle import Request, build
    from edge.fetch import ASSETS

    target = TARGETS[arguments.target]
    request = Request(
        target=target,
        model=arguments.model,
        output=arguments.output,
        checkout=_checkout(arguments),
        onnx=arguments.onnx,
        weights=None if arguments.no_yunet else ASSETS[0],
        yunet=arguments.yunet,
        wheels=arguments.wheels,
        own=arguments.wheel,
        lock=arguments.locked,
        python=arguments.python,
        force=arguments.force,
    )
    outcome = build(request)
    for breach in outcome.breaches:
        print(f"{PROG}: {breach}", file=sys.stderr)
    if arguments.json:
        import msgspec

        print(msgspec.json.encode(outcome).decode())
    else:
        print("\n".join(_report(outcome, request.output)))
        for sentence in target.unproven:
            print(f"not proven: {sentence}")
    return FAILED_GATE if outcome.breaches else OK


def _report(outcome: Outcome, path: Path) -> list[str]:
    bundle = outcome.bundle
    installed = f"{bundle.installed_bytes / 1e6:.0f} MB"
    largest = ", ".join(f"{name} {size / 1e6:.0f}" for name, size in outcome.largest)
    if outcome.size is None:
        return [f"not written: {path}; installed it would take {installed} ({largest})"]
    wheels = sum(name.startswith("wheels/") for name in bundle.files)
    return [
        f"{path}: {outcome.size / 1e6:.1f} MB, emotion-edge {bundle.version} for {bundle.target}, {bundle.model}",
        f"{wheels} wheels, each loads with glibc {bundle.glibc}; installed {installed} ({largest})",
    ]


def _checkout(arguments: argparse.Namespace) -> Path:
    return arguments.checkout or Path(__file__).resolve().parents[2]


if __name__ == "__main__":
    raise SystemExit(main())
