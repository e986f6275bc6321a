"""edge-engine: build, list and verify, with an exit status that a script can go by."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from jetson import NANO, Jetson
from onnx_models import SHAPE, conv_net, qdq_net, write_model

from edge.cli.engine import main
from edge.runtime.engines import Engines


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jetson:
    return Jetson(tmp_path, monkeypatch)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "net.onnx", conv_net())


class Told:
    """What a command printed."""

    def __init__(self, jetson: Jetson, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        self.status = main([*map(str, arguments), "--cache", str(jetson.folder), "--python", sys.executable])
        self.out, self.err = capsys.readouterr()


def test_build_list_and_verify(jetson: Jetson, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(jetson, capsys, "build", model)
    assert (told.status, told.err) == (0, "")
    assert "fp16 (FLOAT in the model), TensorRT 10.3.0, Fake Orin" in told.out
    assert "3 golden scores as in net.onnx.json" in told.out
    assert "is there already" in Told(jetson, capsys, "build", model).out
    listed = Told(jetson, capsys, "list").out
    assert str(model) in listed
    assert "sm 8.7" in listed
    (entry,) = json.loads(Told(jetson, capsys, "list", "--json").out)
    assert (entry["precision"], Path(entry["file"]).is_file()) == ("fp16", True)
    told = Told(jetson, capsys, "verify")
    assert (told.status, told.out) == (0, f"good: {entry['file']}: 3 golden scores as in net.onnx.json\n")


def test_force_builds_again(jetson: Jetson, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Told(jetson, capsys, "build", model)
    (engine,) = jetson.folder.glob("*.engine")
    before = engine.stat().st_mtime_ns
    assert Told(jetson, capsys, "build", model, "--force").status == 0
    assert engine.stat().st_mtime_ns != before


def damage(engine: Path, model: Path, jetson: Jetson) -> None:
    engine.write_bytes(engine.read_bytes()[:-1])


def update_tensorrt(engine: Path, model: Path, jetson: Jetson) -> None:
    jetson.become("11")


def break_the_gpu(engine: Path, model: Path, jetson: Jetson) -> None:
    jetson.become("10", wrong=True)


def replace_the_model(engine: Path, model: Path, jetson: Jetson) -> None:
    write_model(model, conv_net(seed=1))


def lose_the_manifest(engine: Path, model: Path, jetson: Jetson) -> None:
    model.with_name("net.onnx.json").unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage, "damaged"),
        (update_tensorrt, "cannot load the engine"),
        (break_the_gpu, "computes other scores here"),
        (replace_the_model, "is another model by now"),
        (lose_the_manifest, "manifest cannot be read"),
    ],
)
def test_verify_fails_when_one_engine_does(
    jetson: Jetson, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: object, said: str
) -> None:
    Told(jetson, capsys, "build", write_model(tmp_path / "net.qdq.onnx", qdq_net(), "int8-qdq"))
    (good,) = jetson.folder.glob("*.engine")
    Told(jetson, capsys, "build", model)
    (engine,) = set(jetson.folder.glob("*.engine")) - {good}
    harm(engine, model, jetson)
    told = Told(jetson, capsys, "verify", "--json")
    found = {entry["file"]: entry for entry in json.loads(told.out)}
    assert told.status == 1
    assert not found[str(engine)]["good"]
    assert said in found[str(engine)]["finding"]
    assert found[str(good)]["good"] == (harm not in (update_tensorrt, break_the_gpu))


def test_an_engine_that_fails_its_proof_is_not_kept(jetson: Jetson, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jetson.become("10", wrong=True)
    told = Told(jetson, capsys, "build", model)
    assert told.status == 1
    assert "computes other scores here" in told.err
    assert told.err.count("\n") == 1
    assert not Engines(jetson.folder).records()


def test_pictures_calibrate_and_other_pictures_calibrate_again(
    jetson: Jetson, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.npy"
    arguments = ("build", model, "--precision", "int8", "--calibration", data)
    for seed in (0, 1):
        np.save(data, np.random.default_rng(seed).normal(0, 1, (4, *SHAPE[1:])).astype(np.float32))
        assert "int8" in Told(jetson, capsys, *arguments).out
        assert "is there already" in Told(jetson, capsys, *arguments).out
    assert len(Engines(jetson.folder).records()) == 1


@pytest.mark.parametrize(
    ("arguments", "gpu", "said"),
    [
        (["build"], {}, "build needs a MODEL.onnx"),
        (["list", "net.onnx"], {}, "list takes no model"),
        (["build", "none.onnx"], {}, "no .onnx file; edge-convert --onnx makes one"),
        (["build", "bad.onnx"], {}, "cannot read the model"),
        (["build", "net.onnx", "--precision", "int8"], NANO, "NVIDIA Tegra X1 has no fast INT8"),
        (["build", "net.onnx", "--precision", "int8"], {}, "needs pictures to calibrate with"),
        (["build", "net.onnx", "--precision", "int8", "--calibration", "bad.onnx"], {}, "not an .npy file"),
        (["build", "net.onnx", "--precision", "int8", "--calibration", "int.npy"], {}, "float32 (N, *input) is expected"),
        (["build", "net.onnx", "--precison", "fp16"], {}, "did you mean --precision?"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(
    jetson: Jetson,
    tmp_path: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    gpu: dict[str, object],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    jetson.become("10", **gpu)
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    np.save(tmp_path / "int.npy", np.zeros((2, *SHAPE[1:]), np.uint8))
    told = Told(jetson, capsys, *arguments)
    assert told.status == 2
    assert said in told.err
    assert told.err.count("\n") == 1


def test_without_tensorrt_it_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--cache", str(tmp_path)]) == 2
    assert "no Python here can import both tensorrt and pycuda" in capsys.readouterr().err
    assert main(["verify", "--cache", str(tmp_path), "--python", "/no/python"]) == 0
    assert main(["list", "--cache", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("tensorrt", "name", "engines", "said"),
    [
        ("", "net.onnx", 1, "fp16"),
        ('precision = "fp32"', "net.onnx", 1, "fp32"),
        ('use = "off"', "net.onnx", 0, "nothing to build"),
        ("", "net.tflite", 0, "nothing to build"),
    ],
)
def test_the_models_of_the_settings_are_built_as_the_service_would(
    jetson: Jetson,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tensorrt: str,
    name: str,
    engines: int,
    said: str,
) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[model]\npath = "{tmp_path / name}"\n[tensorrt]\ncache = "{jetson.folder}"\npython = "{sys.executable}"\n{tensorrt}\n'
    )
    assert main(["build", "--config", str(config)]) == 0
    assert said in capsys.readouterr().out
    assert len(list(jetson.folder.glob("*.engine"))) == engines


@pytest.mark.parametrize("arguments", [["build"], ["build", "net.onnx", "--config", "c.toml"], ["list", "--config", "c.toml"]])
def test_a_model_comes_from_one_place(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1
