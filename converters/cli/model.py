"""edge-model: sign a model, bring it to a device over MQTT, and see whether the device has kept it.

A device takes models only from the owner of the key that its configuration names ([update] key_file).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from converters.cli.flags import above_zero
from edge.cli.exits import FAILED_GATE, OK, UNUSABLE, Parser, exit_status
from edge.config import read_settings
from edge.errors import DataError, UpdateError
from edge.login import PASSWORD_VARIABLE, broker_port, read_password, tls_context

if TYPE_CHECKING:
    from converters.deploy.line import Place
    from edge.update.package import Phase

PROG = "edge-model"
EPILOG = """examples:
  edge-model keygen -o owner.key                           owner.key stays here, owner.pub goes to the devices
  edge-model pack model.int8.tflite --key owner.key        makes model.int8-1.1.0.edgemodel
  edge-model push model.int8-1.1.0.edgemodel --broker broker.example --device camera-1
  edge-model status --broker broker.example --device camera-1
exit status: 0 done, 1 a device has refused the model or taken it back, 2 unusable input, or no answer"""
# Flags that are settings of edge-run.
SETTINGS = ("prefix", "username", "password_file", "tls", "ca_file", "cert_file", "key_file")


def main(argv: list[str] | None = None) -> int:
    return exit_status(PROG, lambda: _run(_parser().parse_args(argv)))


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog=PROG, description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="keygen|pack|push|status")
    keygen = verbs.add_parser("keygen", help="make a pair of keys")
    keygen.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="the private key; the public one ends in .pub"
    )
    pack = verbs.add_parser("pack", help="sign a model and its manifest")
    pack.add_argument("model", type=Path, help="a .tflite or .onnx beside its manifest")
    pack.add_argument("--key", type=Path, required=True, help="the private key")
    pack.add_argument("--counter", type=int, metavar="N", help="must grow from package to package (default: seconds since 1970)")
    pack.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: beside the model, with its version")
    pack.add_argument("--force", action="store_true", help="replace the file")
    for verb in (keygen, pack):
        verb.add_argument("--passphrase-file", type=Path, metavar="FILE", help="holds the pass phrase of the private key")
    push = verbs.add_parser("push", help="bring a package to devices, one after the other")
    push.add_argument("package", type=Path, help="what pack has made")
    push.add_argument(
        "--patience", type=above_zero, default=300.0, metavar="S", help="give up after so long without progress (300)"
    )
    status = verbs.add_parser("status", help="which models devices run, and how their updates stand")
    status.add_argument("--json", action="store_true", help="print it as JSON, one line a device")
    for verb in (push, status):
        _add_broker_flags(verb)
    return parser


def _add_broker_flags(parser: argparse.ArgumentParser) -> None:
    """Each with the name that edge-run has for it, which is what the sentence about a mistake says."""
    parser.add_argument("--broker", required=True, metavar="HOST[:PORT]", help="the port is 1883, with --tls 8883")
    parser.add_argument(
        "--device", "--mqtt-device", required=True, action="append", help="its name in the topics; can be given several times"
    )
    parser.add_argument("--prefix", "--mqtt-prefix", help="what the topics begin with (default emotion)")
    parser.add_argument(
        "--username", "--mqtt-username", help=f"the password comes from a file or the environment variable {PASSWORD_VARIABLE}"
    )
    parser.add_argument("--password-file", "--mqtt-password-file", metavar="FILE", help="holds nothing but the password")
    parser.add_argument("--tls", "--mqtt-tls", action="store_const", const="true", help="encrypt, and verify the broker")
    parser.add_argument(
        "--ca-file", "--mqtt-ca-file", metavar="FILE", help="PEM, who may vouch for the broker; else the system's"
    )
    parser.add_argument(
        "--cert-file", "--mqtt-cert-file", metavar="FILE", help="PEM, a certificate of your own, with --cert-key-file"
    )
    parser.add_argument("--cert-key-file", "--mqtt-key-file", dest="key_file", metavar="FILE", help="PEM, its key")


def _run(arguments: argparse.Namespace) -> int:
    match arguments.verb:
        case "keygen":
            return _keygen(arguments)
        case "pack":
            return _pack(arguments)
        case "push":
            return _push(arguments)
    return _status(arguments)


def _keygen(arguments: argparse.Namespace) -> int:
    from converters.deploy.model_package import make_keys

    public = make_keys(arguments.output, _read(arguments.passphrase_file))
    print(f"{arguments.output}: the private key; keep it, and keep it secret")
    print(f"{public}: the public key; copy it to the devices and name it there as key_file in [update]")
    return OK


def _pack(arguments: argparse.Namespace) -> int:
    from converters.deploy.model_package import SUFFIX, load_private_key, pack, write_package

    key = load_private_key(arguments.key, _read(arguments.passphrase_file))
    package, content = pack(arguments.model, key, arguments.counter)
    head = package.head
    output = arguments.output or arguments.model.with_name(f"{arguments.model.stem}-{head.version}{SUFFIX}")
    write_package(content, output, arguments.force)
    print(f"{output}: {head.identity}, counter {head.counter}, {len(content):,} bytes")
    return OK


def _push(arguments: argparse.Namespace) -> int:
    from converters.deploy.model_package import read_package
    from converters.deploy.push import RefusedError, push

    package, content = read_package(arguments.package)
    status = OK
    for place, device in _places(arguments):
        show = _Show(device, sys.stderr.isatty())
        try:
            sent = push(package, content, place, arguments.patience, show)
        except UpdateError as error:
            status = max(status, FAILED_GATE if isinstance(error, RefusedError) else UNUSABLE)
            print(f"{PROG}: {device}: {error}", file=sys.stderr)
        else:
            from_there = f", from chunk {sent.resumed} on" if sent.resumed else ""
            print(f"{device}: runs {package.head.identity} and keeps it ({sent.chunks} chunks sent{from_there})")
    return status


def _status(arguments: argparse.Namespace) -> int:
    import msgspec

    from converters.deploy.push import ask, describe

    status = OK
    for place, device in _places(arguments):
        try:
            progress = ask(place)
        except UpdateError as error:
            status = UNUSABLE
            print(f"{PROG}: {device}: {error}", file=sys.stderr)
        else:
            print(msgspec.json.encode(progress).decode() if arguments.json else f"{device}\n{describe(progress)}")
    return status


class _Show:
    """Says where a push stands, when it changes; chunk by chunk only to a person."""

    def __init__(self, device: str, person: bool) -> None:
        self._device, self._person, self._last = device, person, ""

    def __call__(self, phase: Phase, done: int, chunks: int) -> None:
        words = {
            "receiving": f"{done} of {chunks} chunks" if self._person else "sending",
            "checking": "the device checks it",
            "trial": "the device tries it",
        }
        text = words.get(phase, "")
        if text and text != self._last:
            self._last = text
            print(f"{PROG}: {self._device}: {text}", file=sys.stderr)


def _places(arguments: argparse.Namespace) -> list[tuple[Place, str]]:
    from converters.deploy.line import Place

    host, _, port = arguments.broker.rpartition(":") if ":" in arguments.broker else (arguments.broker, "", "")
    if not host or (port and not (port.isdecimal() and 0 < int(port) < 65536)):
        raise DataError(f"--broker {arguments.broker}: expected HOST or HOST:PORT")
    told = {key: getattr(arguments, key) for key in SETTINGS} | {"host": host, "port": port or None}
    given = {("mqtt", key): value for key, value in told.items() if value is not None}
    # One broker for all of them, but each name has to be one.
    mqtt, *_ = [read_settings(None, {**given, ("mqtt", "device"): device}).mqtt for device in arguments.device]
    password = read_password(mqtt) if mqtt.username is not None else None
    tls = tls_context(mqtt)
    return [
        (Place(host, broker_port(mqtt), f"{mqtt.prefix}/{device}", mqtt.username, password, tls), device)
        for device in arguments.device
    ]


def _read(path: Path | None) -> bytes | None:
    """A secret in a file, without the end of its line."""
    if path is None:
        return None
    try:
        return path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None


if __name__ == "__main__":
    raise SystemExit(main())
