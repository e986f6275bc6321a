"""One file with everything that a board needs, built to the same bytes: packages, model, weights, settings, units, installer."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import msgspec
from packaging.requirements import Requirement

from converters.deploy.interpreter import obtain
from converters.deploy.lint import lint, lint_wheel
from converters.deploy.lock import closure, lock_path, read_lock
from converters.deploy.readme import readme
from converters.deploy.targets import MACHINE, Target
from converters.deploy.units import render
from converters.deploy.verify import EXECUTABLE, FORMAT, MANIFEST, REQUIREMENTS, Bundle, Entry, verify
from converters.deploy.wheels import EPOCH, Wheel, blocks, build_own, download, fits, is_own, pick, read_wheel
from converters.outputs import check_free
from edge.doctor.elf import MAGIC
from edge.emotion.manifest import Manifest, manifest_path, read_manifest, verify_file
from edge.errors import DeployError, FetchError, first_line
from edge.fetch import ASSETS, Asset, fetch, mismatch
from edge.places import model_folders

# Where the board has what the bundle brings (docs/bundle.md).
ON_BOARD = "/opt/emotion-edge/current/models"
# The same in every bundle, so that a new one with another model needs no new settings.
MODEL = "model"
# Nearly all of it is compressed already: more effort takes twice the time and saves a thousandth.
PRESET: Final = 0


@dataclass(frozen=True, slots=True)
class Request:
    """What goes into a bundle.

    Attributes:
        target: the board.
        model, onnx: a .tflite, and for a Jetson an .onnx, each with its manifest beside it.
        output: where the bundle goes; replaced only with `force`.
        checkout: emotion-edge's sources, with systemd/.
        weights: of YuNet: as they are known; None leaves them out. yunet: the file, else they are looked for and fetched.
        wheels: a folder to take the locked wheels from, else they are downloaded.
        own: the project's wheel, else it is built.
        lock: else the one that comes with emotion-edge.
        python: the archive of the interpreter, for a board that needs one; else it is fetched.
    """

    target: Target
    model: Path
    output: Path
    checkout: Path
    onnx: Path | None = None
    weights: Asset | None = ASSETS[0]
    yunet: Path | None = None
    wheels: Path | None = None
    own: Path | None = None
    lock: Path | None = None
    python: Path | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request.

    Attributes:
        bundle: what was built, or would have been.
        size: of the file, in bytes; None where nothing was written.
        breaches: why nothing was written: what would not load on the board, or is too large for it.
        largest: name and installed bytes of the largest packages.
    """

    bundle: Bundle
    size: int | None
    breaches: tuple[str, ...]
    largest: tuple[tuple[str, int], ...]


def build(request: Request) -> Outcome:
    """Collect, examine, pack and verify.

    Raises:
        DataError: the bundle's file is there already and `force` is not given, or its folder cannot be written.
        DeployError: something is missing, is another than its hash says, or does not fit the board.
        ModelError: a model does not fit its manifest.
    """
    target = request.target
    check_free([request.output], request.force)
    if not (request.checkout / "systemd" / "install.sh").is_file():
        raise DeployError(f"{request.checkout}: no checkout of emotion-edge; run edge-bundle in one, or name it with --checkout")
    files, identity = _models(request)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheels = _wheels(request, folder)
        own = next(wheel for wheel in wheels if is_own(wheel))
        _complete(wheels, own, target)
        breaches = [breach for wheel in wheels for breach in lint_wheel(wheel.path, target)]
        installed = sum(wheel.installed for wheel in wheels) + sum(map(blocks, map(len, files.values())))
        if target.interpreter:
            archive = obtain(target.interpreter, request.python, folder)
            installed += _interpreter(archive, target, breaches)
            files[f"python/{target.interpreter.file}"] = archive.read_bytes()
        elif request.python:
            raise DeployError(f"--python: {target.board} has Python {target.python} of its own; leave it out")
        if target.limit and installed > target.limit:
            breaches.append(
                f"installed it takes {installed / 1e6:.0f} MB, and may take {target.limit / 1e6:.0f} MB on {target.name}"
            )
        files |= {f"wheels/{wheel.path.name}": wheel.path.read_bytes() for wheel in wheels}
        files[REQUIREMENTS] = _requirements(wheels)
        files |= _settings(request, files)
        files["README.md"] = readme(target, own.version, identity, request.checkout).encode()
    bundle = Bundle(
        FORMAT,
        target.name,
        own.version,
        target.python,
        MACHINE,
        target.glibc,
        identity,
        installed,
        {path: Entry(hashlib.sha256(files[path]).hexdigest(), len(files[path])) for path in sorted(files)},
    )
    largest = sorted(((wheel.name, wheel.installed) for wheel in wheels), key=lambda item: -item[1])[:5]
    size = None if breaches else _write(request.output, bundle, files)
    return Outcome(bundle, size, tuple(breaches), tuple(largest))


def _models(request: Request) -> tuple[dict[str, bytes], str]:
    """The models under the names that they have on the board, with manifests that say so; and the identity of the first."""
    target = request.target
    if request.onnx and target.platform == "pi":
        raise DeployError(f"--onnx: {target.board} runs the .tflite; an .onnx is for a Jetson's TensorRT")
    files: dict[str, bytes] = {}
    manifests: list[Manifest] = []
    for path, suffix in ((request.model, ".tflite"), (request.onnx, ".onnx")):
        if path is None:
            continue
        if path.suffix != suffix:
            raise DeployError(f"{path}: a {suffix} is expected here; edge-convert makes one")
        manifest = read_manifest(manifest_path(path))
        content = verify_file(manifest, path)
        place = Path(MODEL + suffix)
        named = msgspec.structs.replace(manifest, file=place.name)
        files[f"models/{place}"] = content
        files[f"models/{manifest_path(place)}"] = msgspec.json.format(msgspec.json.encode(named)) + b"\n"
        manifests.append(manifest)
    if manifests[-1].quantization == "int8-qdq" and not target.int8:
        raise DeployError(f"{request.onnx}: {target.board} has no fast INT8 and refuses Q/DQ nodes; give the float .onnx")
    if len({manifest.labels for manifest in manifests}) > 1:
        raise DeployError(f"{request.onnx}: its labels are not those of {request.model}; give two forms of one model")
    weights = _weights(request)
    if weights is not None and request.weights:
        files[f"models/{request.weights.file}"] = weights
    # edge-run takes the .onnx where there is one.
    return files, manifests[-1].identity


def _weights(request: Request) -> bytes | None:
    asset = request.weights
    if asset is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        here = [place / asset.file for place in model_folders()]
        found = [path for path in here if path.is_file() and not mismatch(asset, path)]
        source = str(request.yunet or (found[0] if found else asset.url))
        try:
            return fetch(asset, source, Path(folder)).read_bytes()
        except FetchError as error:
            told = str(error).replace("; nothing was kept", "").replace("--from", "--yunet")
            raise DeployError(f"{told}; --no-yunet leaves it out, and faces are found with Haar") from None


def _wheels(request: Request, folder: Path) -> list[Wheel]:
    """The project's own wheel and those of the lock, in the order of their names."""
    lock = request.lock or lock_path(request.target)
    pins = read_lock(lock)
    paths = [request.own or build_own(request.checkout, folder / "own")]
    if request.wheels:
        paths += pick(pins, request.wheels)
    else:
        download(lock, request.target, folder / "wheels")
        paths += (folder / "wheels").glob("*.whl")
    wheels = sorted(map(read_wheel, paths), key=lambda wheel: wheel.name)
    for wheel in wheels:
        if not fits(wheel, request.target):
            raise DeployError(f"{wheel.path.name}: not for Python {request.target.python} on {request.target.name}; see its name")
    if not any(map(is_own, wheels)):
        raise DeployError(f"{paths[0].name}: not a wheel of emotion-edge; --wheel names one, or leave it out to build it")
    return wheels


def _complete(wheels: list[Wheel], own: Wheel, target: Target) -> None:
    """A board without a network gets no package later."""
    asked = Requirement(f"{own.name}[{','.join(target.extras)}]")
    _, unmet = closure([asked], {wheel.name: wheel for wheel in wheels}, target)
    if unmet:
        raise DeployError(
            f"{target.name}: its lock has nothing for {', '.join(map(str, unmet))}; edge-bundle --lock writes it anew"
        )


def _interpreter(archive: Path, target: Target, breaches: list[str]) -> int:
    """Bytes on the board's card; what would not load there is added to the breaches."""
    objects, installed = [], 0
    try:
        with tarfile.open(archive) as file:
            for member in file:
                content = file.extractfile(member) if member.isfile() else None
                installed += blocks(member.size)
                if content and (start := content.read(len(MAGIC))) == MAGIC:
                    objects.append((member.name, start + content.read()))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DeployError(f"{archive}: not an archive that can be read ({first_line(error)})") from None
    breaches += [f"{archive.name}: {breach}" for breach in lint(objects, target)]
    return installed


def _requirements(wheels: list[Wheel]) -> bytes:
    return "".join(f"{wheel.name}=={wheel.version} --hash=sha256:{wheel.sha256}\n" for wheel in wheels).encode()


def _settings(request: Request, files: dict[str, bytes]) -> dict[str, bytes]:
    """What comes from the checkout: settings, units, installer, licence."""
    here = request.checkout / "systemd"
    found = {"LICENSE": request.checkout / "LICENSE", "NOTICE": request.checkout / "NOTICE"}
    found |= {name: here / name for name in ("config.toml", "mosquitto.conf", "mosquitto.acl", EXECUTABLE)}
    found["systemd/emotion-edge.sysusers"] = here / "emotion-edge.sysusers"
    try:
        read = {name: path.read_bytes() for name, path in found.items()}
    except OSError as error:
        raise DeployError(f"{error.filename}: cannot be read ({error.strerror}); the checkout is not whole") from None
    model = f"models/{MODEL}.onnx"
    text = _with_model(read["config.toml"].decode(), model if model in files else f"models/{MODEL}.tflite")
    units = render(request.target.platform, request.target.systemd)
    return read | {f"systemd/{name}": unit.encode() for name, unit in units.items()} | {"config.toml": text.encode()}


def _with_model(text: str, file: str) -> str:
    """Name a file of the bundle in the example settings.

    YuNet's weights are not named: the installer puts them where they are looked for, and settings outlive a bundle that has none.
    """
    line = f'path = "{ON_BOARD}/{Path(file).name}"'
    changed, count = re.subn(r'(?m)(^\[model\]\n(?:(?!\[).*\n)*?)#path = "\.\.\."$', lambda found: found[1] + line, text, count=1)
    if not count:
        raise DeployError("systemd/config.toml: no `#path` in [model]; the checkout is not whole")
    return changed


def _write(output: Path, bundle: Bundle, files: dict[str, bytes]) -> int:
    """Pack, verify, and only then give it its name."""
    content = {**files, MANIFEST: msgspec.json.format(msgspec.json.encode(bundle)) + b"\n"}
    part = output.with_name(output.name + ".part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(part, "w:xz", format=tarfile.USTAR_FORMAT, preset=PRESET) as archive:
            folders = {str(parent) for name in content for parent in PurePosixPath(name).parents}
            for name in sorted({*content, *folders}):
                member = tarfile.TarInfo(str(PurePosixPath(bundle.folder, name)))
                member.mtime = EPOCH
                if name in content:
                    member.size = len(content[name])
                    member.mode = 0o755 if name == EXECUTABLE else 0o644
                    archive.addfile(member, io.BytesIO(content[name]))
                else:
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(member)
        verify(part)
        size = part.stat().st_size
        part.replace(output)
    except OSError as error:
        raise DeployError(f"{error.filename or output}: cannot be written ({error.strerror})") from None
    finally:
        part.unlink(missing_ok=True)
    return size
