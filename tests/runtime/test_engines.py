"""The engine cache: a hit only where everything is the same, whole files or none, one rebuild of what does not load."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from jetson import Jetson
from onnx_models import SHAPE, conv_net, qdq_net

from edge.errors import EngineError
from edge.places import SYSTEM_CACHE
from edge.runtime import open_runtime
from edge.runtime.engines import Engines, Machine, describe, engine_folder, engine_key, sha256
from edge.runtime.trt_process import Worker

MODEL = conv_net()
ORIN = Machine("10.3.0", "Orin", "8.7", "36.4.3", flags=True, fast_fp16=True, fast_int8=True)


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jetson:
    return Jetson(tmp_path, monkeypatch)


def test_every_part_of_the_key_makes_another_engine() -> None:
    keys = [
        engine_key(MODEL, ORIN, "fp16"),
        engine_key(conv_net(seed=1), ORIN, "fp16"),
        engine_key(MODEL, msgspec.structs.replace(ORIN, tensorrt="10.16.1"), "fp16"),
        engine_key(MODEL, msgspec.structs.replace(ORIN, compute_capability="7.2"), "fp16"),
        engine_key(MODEL, msgspec.structs.replace(ORIN, l4t="36.4.4"), "fp16"),
        engine_key(MODEL, ORIN, "fp32"),
    ]
    assert len(set(keys)) == len(keys)
    assert engine_key(MODEL, msgspec.structs.replace(ORIN, device="another name"), "fp16") == keys[0]


def test_the_same_is_built_once_and_anything_else_again(jetson: Jetson) -> None:
    def engines() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in jetson.folder.glob("*.engine")}

    def start(model: bytes = MODEL, **changes: str) -> dict[str, int]:
        assert open_runtime(model, ".onnx", tensorrt=jetson.settings(**changes)).name.startswith("tensorrt")
        return engines()

    first = start()
    assert start() == first
    for count, change in enumerate((lambda: jetson.become("11"), lambda: jetson.become("10", compute_capability=[7, 2])), 2):
        change()
        assert len(start()) == count
    jetson.become("10")
    assert len(start(precision="fp32")) == 4
    assert len(start(conv_net(seed=1))) == 5
    assert first.items() < engines().items()


def test_a_record_says_what_was_built(jetson: Jetson, tmp_path: Path) -> None:
    open_runtime(MODEL, ".onnx", tensorrt=jetson.settings(), model=tmp_path / "net.onnx")
    engines = Engines(jetson.folder)
    (record,) = engines.records()
    content = engines.path(record.key).read_bytes()
    assert (record.sha256, record.bytes, record.onnx) == (sha256(content), len(content), sha256(MODEL))
    assert (record.tensorrt, record.compute_capability, record.precision) == ("10.3.0", "8.7", "fp16")
    assert (record.model, record.outputs, record.types) == (str(tmp_path / "net.onnx"), ("scores", "c"), ("FLOAT",))
    left = sorted(path.suffix for path in jetson.folder.iterdir())
    assert left == ["", ".engine", ".json", ".timing"]


def damage_a_bit(engines: Engines, key: str) -> None:
    content = bytearray(engines.path(key).read_bytes())
    content[len(content) // 2] ^= 1
    engines.path(key).write_bytes(content)


def cut(engines: Engines, key: str) -> None:
    engines.path(key).write_bytes(engines.path(key).read_bytes()[:100])


def lose_the_engine(engines: Engines, key: str) -> None:
    engines.path(key).unlink()


def lose_the_record(engines: Engines, key: str) -> None:
    (engines.folder / f"{key}.json").unlink()


def garble_the_record(engines: Engines, key: str) -> None:
    (engines.folder / f"{key}.json").write_bytes(b"\xff{")


def put_what_tensorrt_refuses(engines: Engines, key: str) -> None:
    """Whole by its record, as after an update that left the version as it was."""
    record = engines.find(key)
    engines.path(key).write_bytes(b"of another time")
    changed = msgspec.structs.replace(record, sha256=sha256(b"of another time"))
    (engines.folder / f"{key}.json").write_bytes(msgspec.json.encode(changed))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        # TensorRT never parses a byte of what is not as it was built.
        (damage_a_bit, "is damaged; it is built again"),
        (cut, "is damaged; it is built again"),
        (lose_the_engine, "is damaged; it is built again"),
        (lose_the_record, "is damaged; it is built again"),
        (garble_the_record, "is damaged; it is built again"),
        (put_what_tensorrt_refuses, "does not load (TensorRT cannot load the engine"),
    ],
)
def test_what_is_damaged_is_built_again(jetson: Jetson, caplog: pytest.LogCaptureFixture, harm: object, said: str) -> None:
    expected = open_runtime(MODEL, ".onnx", tensorrt=jetson.settings()).run(np.ones(SHAPE, np.float32))
    engines = Engines(jetson.folder)
    (record,) = engines.records()
    harm(engines, record.key)
    again = open_runtime(MODEL, ".onnx", tensorrt=jetson.settings())
    assert again.name.startswith("tensorrt")
    assert said in caplog.text
    np.testing.assert_array_equal(again.run(np.ones(SHAPE, np.float32))[0], expected[0])
    assert engines.whole(engines.find(record.key))


@pytest.mark.parametrize("kind", ["fail", "die"])
def test_what_does_not_load_is_built_again_once_and_then_the_cpu_runs(
    jetson: Jetson, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    open_runtime(MODEL, ".onnx", tensorrt=jetson.settings())
    jetson.trouble(f"{kind}-load")
    assert open_runtime(MODEL, ".onnx", tensorrt=jetson.settings()).name.startswith("tensorrt")
    caplog.clear()
    jetson.trouble(f"{kind}-load", times=2)
    assert open_runtime(MODEL, ".onnx", tensorrt=jetson.settings()).name.startswith("onnxruntime")
    first, second = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert "does not load" in first
    assert "runs on the CPU, not on TensorRT" in second
    # An engine that does not load is not kept for the next start.
    assert not list(jetson.folder.glob("*.engine"))


def test_a_build_that_dies_leaves_no_engine_and_the_next_one_succeeds(jetson: Jetson) -> None:
    jetson.trouble("die-build")
    assert open_runtime(MODEL, ".onnx", tensorrt=jetson.settings()).name.startswith("onnxruntime")
    assert not list(jetson.folder.glob("*.engine"))
    assert open_runtime(MODEL, ".onnx", tensorrt=jetson.settings()).name.startswith("tensorrt")


def test_timing_caches_are_kept_and_a_spoiled_one_is_replaced(jetson: Jetson) -> None:
    open_runtime(MODEL, ".onnx", tensorrt=jetson.settings())
    (timing,) = jetson.folder.glob("*.timing")
    good = timing.read_bytes()
    assert json.loads(good)["layers"] > 0
    for spoiled in (b"no cache", good.replace(b"10.3.0", b"10.4.0")):
        timing.write_bytes(spoiled)
        open_runtime(conv_net(seed=len(spoiled)), ".onnx", tensorrt=jetson.settings())
        assert timing.read_bytes() == good


@pytest.mark.parametrize("generation", ["8.2", "10"])
def test_tensorrts_own_calibration_sees_every_picture_and_its_ranges_are_kept(jetson: Jetson, generation: str) -> None:
    jetson.become(generation)
    worker, engines = Worker(sys.executable), Engines(jetson.folder)
    machine = describe(worker)
    pictures = np.random.default_rng(0).normal(0, 1, (5, *SHAPE[1:])).astype(np.float32)
    record = engines.build(worker, machine, MODEL, "int8", calibration=pictures)
    assert record.calibration == sha256(pictures.tobytes())
    (ranges,) = jetson.folder.glob("*.ranges")
    seen = json.loads(ranges.read_bytes())
    assert seen["ranges"] == [[float(picture.min()), float(picture.max())] for picture in pictures]
    # The service has no pictures: it builds again from the ranges.
    engines.remove(record.key)
    runtime = open_runtime(MODEL, ".onnx", tensorrt=jetson.settings(precision="int8"))
    assert runtime.name.endswith("int8")
    exact, rounded = (each.run(pictures[:1])[1] for each in (open_runtime(MODEL, ".onnx"), runtime))
    assert 0 < np.abs(exact - rounded).max() < 0.05
    assert not list(jetson.folder.glob("*.pictures"))
    with pytest.raises(EngineError, match="as many numbers each"):
        engines.build(worker, machine, MODEL, "int8", calibration=pictures[:, :, 1:])
    worker.close()


def test_a_model_with_its_own_ranges_is_not_calibrated(jetson: Jetson) -> None:
    assert open_runtime(qdq_net(), ".onnx", tensorrt=jetson.settings()).name.endswith("int8")
    assert not list(jetson.folder.glob("*.ranges"))


def test_a_folder_that_cannot_be_written_is_one_plain_line(jetson: Jetson, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    worker = Worker(sys.executable)
    with pytest.raises(EngineError, match="cannot be written"):
        Engines(tmp_path / "file" / "engines").build(worker, describe(worker), MODEL, "fp32")
    worker.close()


def test_engines_lie_where_the_service_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert engine_folder("~/mine") == Path.home() / "mine"
    assert engine_folder() in (tmp_path / "emotion-edge" / "engines", SYSTEM_CACHE / "engines")
