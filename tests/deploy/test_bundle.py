"""A bundle holds all that a board needs, built to the same bytes, or it is not built."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from deploying import MODEL, ROOT, Store, elf, store, wheel

from converters.cli.bundle import main
from converters.deploy.bundle import Outcome, Request, build
from converters.deploy.interpreter import Interpreter
from converters.deploy.targets import TARGETS
from converters.deploy.units import render
from converters.deploy.verify import unpack
from converters.deploy.wheels import build_own, platform_options
from edge.config import read_settings
from edge.emotion.manifest import manifest_path, read_manifest, verify_file
from edge.errors import DeployError, EmotionEdgeError
from edge.fetch import Asset

BOOKWORM, ORIN, NANO = TARGETS["pi-bookworm64"], TARGETS["orin-jp6"], TARGETS["jetson-nano"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return store(tmp_path_factory.mktemp("small"), BOOKWORM)


def command(parts: Store, output: Path, *more: str) -> list[str]:
    return ["--target", "pi-bookworm64", "--model", str(MODEL), "-o", str(output), *parts.arguments(), *more]


def asked(parts: Store, output: Path, **changes: object) -> Request:
    request = Request(BOOKWORM, MODEL, output, ROOT, weights=None, wheels=parts.wheels, own=parts.own, lock=parts.lock)
    return dataclasses.replace(request, **changes)


def made(parts: Store, output: Path, **changes: object) -> Outcome:
    return build(asked(parts, output, **changes))


def test_everything_is_in_it_and_fits_together(small: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(small, tmp_path / "b.tar.xz")) == 0
    assert "15 wheels, each loads with glibc 2.36" in capsys.readouterr().out
    assert main(["--verify", str(tmp_path / "b.tar.xz")]) == 0
    bundle = unpack(tmp_path / "b.tar.xz", tmp_path / "there")
    here = {str(path.relative_to(tmp_path / "there")) for path in (tmp_path / "there").rglob("*") if path.is_file()}
    assert here == {*bundle.files, "bundle.json"}
    assert {"README.md", "LICENSE", "NOTICE", "config.toml", "mosquitto.conf", "mosquitto.acl", "install.sh"} <= here
    assert (bundle.python, bundle.machine, bundle.glibc, bundle.version) == ("3.11", "aarch64", "2.36", "0.1.0")

    # What the board reads: its settings, its model by the manifest beside it, its unit, and pip every wheel by its hash.
    settings = read_settings(tmp_path / "there" / "config.toml", {})
    assert settings.model.path == "/opt/emotion-edge/current/models/model.tflite"
    model = tmp_path / "there" / "models" / "model.tflite"
    assert verify_file(manifest := read_manifest(manifest_path(model)), model) == MODEL.read_bytes()
    assert manifest.identity == bundle.model == read_manifest(manifest_path(MODEL)).identity
    unit = tmp_path / "there" / "systemd" / "emotion-edge.service"
    assert unit.read_text() == render("pi", 252)["emotion-edge.service"]
    assert os.access(tmp_path / "there" / "install.sh", os.X_OK)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--require-hashes"]
    pip += ["-r", "requirements.txt", "--find-links", "wheels", "--target", "site", *platform_options(BOOKWORM)]
    done = subprocess.run(pip, cwd=tmp_path / "there", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "there" / "site" / "numpy" / "core.so").is_file()
    assert (tmp_path / "there" / "site" / "edge" / "__init__.py").is_file()


def test_the_same_inputs_give_the_same_bytes(small: Store, tmp_path: Path) -> None:
    """Whenever, wherever, by whomever: other folders, times and umask; and other inputs give others."""
    assert made(small, tmp_path / "a.tar.xz").size == (tmp_path / "a.tar.xz").stat().st_size
    shutil.copytree(small.wheels, tmp_path / "wheels")
    for path in (tmp_path / "wheels").iterdir():
        os.utime(path, (1_000_000_000, 1_000_000_000))
    old = os.umask(0o077)
    try:
        made(small, tmp_path / "elsewhere" / "b.tar.xz", wheels=tmp_path / "wheels")
    finally:
        os.umask(old)
    assert (tmp_path / "elsewhere" / "b.tar.xz").read_bytes() == (tmp_path / "a.tar.xz").read_bytes()
    own = wheel(tmp_path, small.own.name, {"edge/__init__.py": b"1"}, ("numpy>=1.24",))
    made(small, tmp_path / "c.tar.xz", own=own)
    assert (tmp_path / "c.tar.xz").read_bytes() != (tmp_path / "a.tar.xz").read_bytes()


def test_the_projects_wheel_is_the_same_wherever_it_is_built(tmp_path: Path) -> None:
    wheels = []
    for name, umask, stamp in (("a", 0o022, 1_000_000_000), ("b", 0o077, 1_700_000_000)):
        old = os.umask(umask)
        try:
            checkout = tmp_path / name / "checkout"
            for folder in ("edge", "converters", "calibration"):
                shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__"))
            for file in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
                shutil.copyfile(ROOT / file, checkout / file)
            for path in checkout.rglob("*"):
                os.utime(path, (stamp, stamp))
            wheels.append(build_own(checkout, tmp_path / name / "out"))
        finally:
            os.umask(old)
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    assert wheels[0].name == wheels[1].name


def test_what_would_not_load_there_is_named_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    planted = store(tmp_path, BOOKWORM, {"libc.so.6": ["GLIBC_2.17", "GLIBC_2.99"]})
    output = tmp_path / "b.tar.xz"
    assert main(command(planted, output)) == 1
    told = capsys.readouterr()
    assert told.err.startswith("edge-bundle: numpy-")
    assert "numpy/core.so needs GLIBC_2.99 of libc.so.6, pi-bookworm64 has GLIBC_2.36" in told.err
    assert told.err.count("\n") == 1
    assert "not written" in told.out
    assert not list(tmp_path.glob("b.tar.xz*"))


def test_what_is_too_large_for_the_card_is_refused(small: Store, tmp_path: Path) -> None:
    outcome = made(small, tmp_path / "b.tar.xz", target=dataclasses.replace(BOOKWORM, limit=100_000))
    assert outcome.size is None
    assert outcome.breaches == (
        f"installed it takes {outcome.bundle.installed_bytes / 1e6:.0f} MB, and may take 0 MB on pi-bookworm64",
    )
    assert not (tmp_path / "b.tar.xz").exists()


def _missing(parts: Store) -> None:
    next(parts.wheels.glob("tqdm-*")).unlink()


def _another(parts: Store) -> None:
    name = next(parts.wheels.glob("tqdm-*")).name
    wheel(parts.wheels, name, {"tqdm.py": b"other"})


def _other_python(parts: Store) -> None:
    old = next(parts.wheels.glob("numpy-*"))
    new = wheel(parts.wheels, old.name.replace("cp311", "cp310"), {"numpy/core.so": elf()})
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (old, new)]
    old.unlink()
    parts.lock.write_text(parts.lock.read_text().replace(*digests))


def _loose(parts: Store) -> None:
    parts.lock.write_text(parts.lock.read_text() + "requests>=2\n")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_missing, "tqdm 4.70.1: no wheel of it"),
        (_another, "is another file than the lock's"),
        (_other_python, "not for Python 3.11 on pi-bookworm64"),
        (_loose, "'requests>=2' is not `name==version --hash=sha256:…`"),
    ],
)
def test_a_package_that_is_missing_or_another_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Store], None], told: str
) -> None:
    parts = store(tmp_path, BOOKWORM)
    spoil(parts)
    assert main(command(parts, tmp_path / "b.tar.xz")) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (tmp_path / "b.tar.xz").exists()


def test_a_board_without_a_network_gets_every_package_now(tmp_path: Path) -> None:
    parts = store(tmp_path, BOOKWORM, missing="paho-mqtt")
    with pytest.raises(DeployError, match=r"its lock has nothing for paho-mqtt"):
        made(parts, tmp_path / "b.tar.xz")


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--onnx", str(MODEL)], "runs the .tflite; an .onnx is for a Jetson"),
        (["--python", str(MODEL)], "has Python 3.11 of its own"),
        (["--wheels", "/nowhere"], "/nowhere: no such folder"),
        (["--wheel", str(MODEL)], "not a wheel that can be read"),
        (["--locked", "/nowhere"], "/nowhere: the lock cannot be read"),
        (["--model", "/nowhere/x.tflite"], "the model's manifest cannot be read"),
        (["--model", "/nowhere/x.onnx"], "a .tflite is expected here"),
        (["--checkout", "/nowhere"], "no checkout of emotion-edge"),
        (["--yunet", str(MODEL)], "--yunet and --no-yunet: give one of them"),
        (["--target", "pi5"], "invalid choice: 'pi5'"),
    ],
)
def test_a_mistake_is_one_line(
    small: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], told: str
) -> None:
    assert main(command(small, tmp_path / "b.tar.xz", *more)) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_nothing_is_replaced_without_being_told(small: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "b.tar.xz"
    output.write_text("mine")
    assert main(command(small, output)) == 2
    assert "add --force to replace it" in capsys.readouterr().err
    assert output.read_text() == "mine"
    assert main(command(small, output, "--force", "--json")) == 0
    assert json.loads(capsys.readouterr().out)["size"] == output.stat().st_size


def test_a_setting_is_never_put_into_another_section(small: Store, tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / "systemd", checkout / "systemd")
    for file in ("LICENSE", "NOTICE", "README.md"):
        shutil.copy(ROOT / file, checkout)
    settings = checkout / "systemd" / "config.toml"
    before, section, after = settings.read_text().partition("[model]\n")
    assert '#path = "..."' in after
    settings.write_text(before + section + after.replace('#path = "..."', "#") + '\n[other]\n#path = "..."\n')
    with pytest.raises(DeployError, match=r"no `#path` in \[model\]"):
        made(small, tmp_path / "b.tar.xz", checkout=checkout)


def test_weights_are_known_by_their_hash(small: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "face_detection_yunet_2023mar.onnx"
    mine.write_bytes(b"stand-in")
    arguments = [word for word in command(small, tmp_path / "b.tar.xz", "--yunet", str(mine)) if word != "--no-yunet"]
    assert main(arguments) == 2
    assert "not the expected face_detection_yunet_2023mar.onnx" in capsys.readouterr().err
    weights = Asset("yunet", mine.name, "http://127.0.0.1:9/", 8, hashlib.sha256(b"stand-in").hexdigest(), "MIT", "a stand-in")
    made(small, tmp_path / "b.tar.xz", weights=weights, yunet=mine)
    unpack(tmp_path / "b.tar.xz", tmp_path / "there")
    assert (tmp_path / "there" / "models" / mine.name).read_bytes() == b"stand-in"
    settings = read_settings(tmp_path / "there" / "config.toml", {})
    # The installer puts them where they are looked for; settings that named them would outlive them.
    assert settings.detector.weights is None


def test_a_jetson_gets_both_models_and_its_own_units(tmp_path: Path) -> None:
    parts = store(tmp_path, ORIN)
    onnx = tmp_path / "micro.qdq.onnx"
    onnx.write_bytes(MODEL.read_bytes())
    manifest = read_manifest(manifest_path(MODEL))
    qdq = msgspec.structs.replace(manifest, file=onnx.name, quantization="int8-qdq")
    manifest_path(onnx).write_bytes(msgspec.json.encode(qdq))
    made(parts, tmp_path / "b.tar.xz", target=ORIN, onnx=onnx)
    bundle = unpack(tmp_path / "b.tar.xz", tmp_path / "there")
    assert {"models/model.tflite", "models/model.tflite.json", "models/model.onnx", "models/model.onnx.json"} <= set(bundle.files)
    settings = read_settings(tmp_path / "there" / "config.toml", {})
    assert settings.model.path == "/opt/emotion-edge/current/models/model.onnx"
    for name, text in render("jetson", 249).items():
        assert (tmp_path / "there" / "systemd" / name).read_text() == text
    assert "pycuda" in (tmp_path / "there" / "README.md").read_text().partition("# emotion-edge\n")[0]
    with pytest.raises(DeployError, match="refuses Q/DQ nodes"):
        made(store(tmp_path / "nano", NANO), tmp_path / "c.tar.xz", target=NANO, onnx=onnx)


def test_the_nano_gets_a_python_that_is_known_by_its_hash(tmp_path: Path) -> None:
    def archive(needs: dict[str, list[str]]) -> tuple[Path, Interpreter]:
        path = tmp_path / "python.tar.gz"
        with tarfile.open(path, "w:gz") as file:
            member = tarfile.TarInfo("python/bin/python3.10")
            content = elf(needs)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
        return path, Interpreter(path.name, "http://127.0.0.1:9/", hashlib.sha256(path.read_bytes()).hexdigest())

    parts = store(tmp_path, NANO)
    path, pinned = archive({"libc.so.6": ["GLIBC_2.17"]})
    with pytest.raises(DeployError, match=r"sha256 is \w+…, cpython-3.10.18\S* has 072a6c78"):
        made(parts, tmp_path / "b.tar.xz", target=NANO, python=path)
    made(parts, tmp_path / "b.tar.xz", target=dataclasses.replace(NANO, interpreter=pinned), python=path)
    bundle = unpack(tmp_path / "b.tar.xz", tmp_path / "there")
    assert (tmp_path / "there" / "python" / path.name).read_bytes() == path.read_bytes()
    assert "ai-edge-litert" not in (tmp_path / "there" / "requirements.txt").read_text()
    assert bundle.python == "3.10"
    path, newer = archive({"libc.so.6": ["GLIBC_2.28"]})
    outcome = made(parts, tmp_path / "c.tar.xz", target=dataclasses.replace(NANO, interpreter=newer), python=path)
    assert outcome.breaches == ("python.tar.gz: python/bin/python3.10 needs GLIBC_2.28 of libc.so.6, jetson-nano has GLIBC_2.27",)
    with pytest.raises(EmotionEdgeError, match=r"127.0.0.1:9/: cannot be fetched .* give the file with --python"):
        made(parts, tmp_path / "d.tar.xz", target=dataclasses.replace(NANO, interpreter=pinned))
