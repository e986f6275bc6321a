"""TensorRT in its worker process: the same scores as ONNX Runtime in every generation, and the CPU where it fails."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from jetson import NANO, TESTS, Jetson, alive, eventually
from onnx_models import SHAPE, conv_net, qdq_net, write_model

from edge.config import TensorRtSettings
from edge.emotion.classify import open_classifier
from edge.errors import EngineError
from edge.runtime import open_runtime
from edge.runtime.engines import Engines, Machine, choose_precision, describe, engine_key
from edge.runtime.tensorrt import TensorRtRuntime
from edge.runtime.trt_process import SYSTEM_PYTHON, WORKER, Worker, find_python
from edge.runtime.trt_worker import l4t

PICTURE = np.random.default_rng(1).normal(0, 1, SHAPE).astype(np.float32)
MODELS = {"float": conv_net(), "half": conv_net(half=True), "qdq": qdq_net()}


@pytest.fixture
def jetson(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jetson:
    return Jetson(tmp_path, monkeypatch)


def assert_close(scores: list[np.ndarray], model: bytes, allowed: float) -> None:
    for ours, theirs in zip(scores, open_runtime(model, ".onnx").run(PICTURE), strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, np.float32)
        assert np.abs(ours - theirs).max() <= allowed


@pytest.mark.parametrize(
    ("generation", "model", "asked", "precision", "allowed"),
    [
        ("8.2", "float", "auto", "fp16", 2e-3),
        ("8.2", "float", "fp32", "fp32", 1e-6),
        ("8.2", "qdq", "auto", "int8", 2e-3),
        ("8.6", "float", "auto", "fp16", 2e-3),
        ("8.6", "qdq", "auto", "int8", 2e-3),
        ("10", "float", "auto", "fp16", 2e-3),
        ("10", "half", "fp16", "fp16", 1e-6),
        ("10", "qdq", "auto", "int8", 2e-3),
        ("11", "float", "auto", "typed", 1e-6),
        ("11", "float", "fp32", "fp32", 1e-6),
        ("11", "half", "fp16", "fp16", 1e-6),
        ("11", "qdq", "auto", "int8", 1e-6),
    ],
)
def test_every_generation_gives_the_scores_of_onnx_runtime(
    jetson: Jetson, generation: str, model: str, asked: str, precision: str, allowed: float
) -> None:
    jetson.become(generation)
    runtime = open_runtime(MODELS[model], ".onnx", tensorrt=jetson.settings(precision=asked))
    assert runtime.name.split()[0::2] == ["tensorrt", precision]
    assert (runtime.input_shape, runtime.output_shapes) == (SHAPE, ((1, 7), (1, 16)))
    assert_close(runtime.run(PICTURE), MODELS[model], allowed)
    # What was on the device before does not shine through.
    runtime.run(np.zeros_like(PICTURE))
    assert_close(runtime.run(PICTURE), MODELS[model], allowed)


def test_fp16_is_really_asked_of_the_builder(jetson: Jetson) -> None:
    full, half = (
        open_runtime(MODELS["float"], ".onnx", tensorrt=jetson.settings(precision=p)).run(PICTURE) for p in ("fp32", "fp16")
    )
    assert 0 < np.abs(full[1] - half[1]).max() < 1e-2


@pytest.mark.parametrize(
    ("generation", "gpu", "model", "asked", "said"),
    [
        ("8.2", NANO, "qdq", "auto", "NVIDIA Tegra X1 has no fast INT8; take the float .onnx"),
        ("8.2", NANO, "float", "int8", "has no fast INT8"),
        ("10", {"fast_fp16": False}, "float", "fp16", "has no fast FP16; ask for fp32"),
        ("10", {}, "qdq", "fp16", "has Q/DQ nodes, so it is INT8"),
        ("10", {}, "half", "fp32", "FP16 tensors need the FP16 flag"),
        ("10", {}, "float", "int8", "INT8 needs pictures to calibrate with"),
        ("11", {}, "float", "fp16", "the model is float32; convert it to float16"),
        ("11", {}, "float", "int8", "take its .qdq.onnx"),
        ("11", {}, "half", "fp32", "the model is float16"),
        ("10", {"name": None}, "float", "auto", "no CUDA-capable device is detected"),
    ],
)
def test_what_the_gpu_cannot_do_well_is_said_and_the_cpu_does_it(
    jetson: Jetson, caplog: pytest.LogCaptureFixture, generation: str, gpu: dict[str, object], model: str, asked: str, said: str
) -> None:
    jetson.become(generation, **gpu)
    runtime = open_runtime(MODELS[model], ".onnx", tensorrt=jetson.settings(precision=asked), model=Path("m.onnx"))
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.startswith("m.onnx runs on the CPU, not on TensorRT: ")
    assert said in warning
    assert runtime.name.startswith("onnxruntime ")
    assert_close(runtime.run(PICTURE), MODELS[model], 0)


def test_auto_says_so_when_fp16_would_not_be_fast(jetson: Jetson, caplog: pytest.LogCaptureFixture) -> None:
    jetson.become("10", fast_fp16=False)
    assert open_runtime(MODELS["float"], ".onnx", tensorrt=jetson.settings()).name == "tensorrt 10.3.0 fp32"
    assert "has no fast FP16: the engine is FP32" in caplog.text


@pytest.mark.parametrize(("model", "said"), [(b"no model", "cannot read the model"), (conv_net(batch="n"), "dimension")])
def test_a_model_that_cannot_be_built_is_refused_with_the_reason(jetson: Jetson, model: bytes, said: str) -> None:
    worker = Worker(sys.executable)
    with pytest.raises(EngineError, match=said):
        Engines(jetson.folder).build(worker, describe(worker), model, "fp32")
    worker.close()
    assert sorted(path.suffix for path in jetson.folder.iterdir()) == [""]


@pytest.mark.parametrize("kind", ["hang", "die", "fail"])
def test_a_worker_that_fails_in_a_call_is_replaced_and_asked_again(
    jetson: Jetson, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    runtime = open_runtime(MODELS["float"], ".onnx", tensorrt=jetson.settings(timeout=1.0, precision="fp32"))
    assert isinstance(runtime, TensorRtRuntime)
    before = runtime.pid
    jetson.trouble(f"{kind}-run")
    assert_close(runtime.run(PICTURE), MODELS["float"], 1e-6)
    assert runtime.name.startswith("tensorrt")
    assert "its process is started again" in caplog.text
    assert not alive(before)
    assert runtime.pid != before


@pytest.mark.parametrize("kind", ["hang", "die", "fail"])
def test_after_a_second_failure_the_cpu_takes_over_for_good(jetson: Jetson, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    runtime = open_runtime(MODELS["float"], ".onnx", tensorrt=jetson.settings(timeout=0.5))
    before = runtime.pid
    jetson.trouble(f"{kind}-run", 1)
    jetson.trouble("fail-load", 1)
    assert_close(runtime.run(PICTURE), MODELS["float"], 0)
    assert runtime.name.startswith("onnxruntime")
    assert "from now on the model runs on the CPU" in caplog.text
    assert runtime.pid is None
    assert not alive(before)
    assert_close(runtime.run(PICTURE), MODELS["float"], 0)


def test_a_worker_that_was_killed_from_outside_is_replaced(jetson: Jetson) -> None:
    runtime = open_runtime(MODELS["float"], ".onnx", tensorrt=jetson.settings(precision="fp32"))
    os.kill(runtime.pid, signal.SIGKILL)
    assert_close(runtime.run(PICTURE), MODELS["float"], 1e-6)
    os.kill(runtime.pid, signal.SIGSTOP)
    stopped = runtime.pid
    runtime.close()
    assert not alive(stopped)


def test_an_engine_that_computes_other_scores_gives_way_to_the_cpu(
    jetson: Jetson, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_model(tmp_path / "net.onnx", MODELS["float"])
    assert open_classifier(model, tensorrt=jetson.settings()).runtime.name == "tensorrt 10.3.0 fp16"
    jetson.become("10", wrong=True)
    assert open_classifier(model, tensorrt=jetson.settings()).runtime.name.startswith("onnxruntime")
    assert "computes other scores here than where it was converted" in caplog.text


def test_without_shared_memory_tensors_go_through_the_pipe(jetson: Jetson, tmp_path: Path) -> None:
    for memory in (str(tmp_path / "none"), "/dev/shm"):
        worker = Worker(sys.executable, memory)
        machine, engines = describe(worker), Engines(jetson.folder)
        record = engines.build(worker, machine, MODELS["float"], "fp32")
        runtime = TensorRtRuntime(worker, engines.path(record.key), record, 20)
        assert_close(runtime.run(PICTURE), MODELS["float"], 1e-6)
        # The memory file has no name, so nobody can leave it behind.
        shared = [line for line in Path(f"/proc/{runtime.pid}/maps").read_text().splitlines() if "/dev/shm/" in line]
        assert bool(shared) == (memory == "/dev/shm")
        assert all(line.endswith("(deleted)") for line in shared)
        runtime.close()


def test_dropping_a_runtime_ends_its_process(jetson: Jetson) -> None:
    runtime = open_runtime(MODELS["float"], ".onnx", tensorrt=jetson.settings())
    pid = runtime.pid
    assert alive(pid)
    del runtime
    gc.collect()
    assert not alive(pid)


OWNER = """
import sys
from edge.runtime.engines import Engines, describe
from edge.runtime.trt_process import Worker
from onnx_models import conv_net
from pathlib import Path
worker = Worker(sys.executable)
machine = describe(worker)
print(worker.pid, flush=True)
if sys.argv[2] == "busy":
    Engines(Path(sys.argv[1])).build(worker, machine, conv_net(), "fp32")
sys.stdin.read()
"""


@pytest.mark.parametrize("doing", ["idle", "busy"])
def test_the_worker_ends_when_its_owner_is_killed(jetson: Jetson, doing: str) -> None:
    jetson.trouble("hang-build")
    root = WORKER.parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{os.environ['PYTHONPATH']}{os.pathsep}{TESTS}{os.pathsep}{root}"}
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(jetson.folder), doing], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    with owner:
        worker = int(owner.stdout.readline())
        if doing == "busy":
            assert eventually(lambda: not (jetson.folder.parent / "trouble" / "hang-build").exists())
        assert alive(worker)
        owner.kill()
    assert eventually(lambda: not alive(worker))


def test_a_start_that_builds_tells_the_service_manager(jetson: Jetson, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        jetson.trouble("slow-build")
        open_runtime(MODELS["float"], ".onnx", tensorrt=jetson.settings())
        said = manager.recv(4096).decode()
    assert "EXTEND_TIMEOUT_USEC=" in said
    assert "STATUS=building a TensorRT engine" in said


def test_switched_off_or_without_its_python_onnx_runs_on_the_cpu(jetson: Jetson, caplog: pytest.LogCaptureFixture) -> None:
    expected = open_runtime(MODELS["float"], ".onnx").name
    assert expected.startswith("onnxruntime")
    assert open_runtime(MODELS["float"], ".onnx", tensorrt=jetson.settings(use="off")).name == expected
    assert not caplog.records
    assert open_runtime(MODELS["float"], ".onnx", tensorrt=jetson.settings(python="/no/python")).name == expected
    assert "/no/python cannot be started for TensorRT" in caplog.text


def test_a_machine_without_tensorrt_is_not_told_about_it(caplog: pytest.LogCaptureFixture) -> None:
    if find_python(None) is None:
        assert open_runtime(MODELS["float"], ".onnx", tensorrt=TensorRtSettings()).name.startswith("onnxruntime")
        assert not caplog.records


FIND = "from edge.runtime.trt_process import find_python; print(find_python(None))"


def test_the_python_that_has_both_packages_is_found(jetson: Jetson) -> None:
    def found(packages: str) -> str:
        environment = {**os.environ, "PYTHONPATH": f"{packages}{os.pathsep}{WORKER.parents[2]}"}
        return subprocess.run(
            [sys.executable, "-c", FIND], env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert found(os.environ["PYTHONPATH"]) == sys.executable
    if importlib.util.find_spec("tensorrt") is None:
        assert found("") in ("None", SYSTEM_PYTHON)
    assert find_python("/opt/python") == "/opt/python"


@pytest.mark.parametrize("model", ["float", "qdq"])
def test_on_a_real_gpu_the_scores_are_those_of_onnx_runtime(tmp_path: Path, model: str) -> None:
    python = find_python(None)
    if python is None:
        pytest.skip("TensorRT with pycuda is not installed")
    path = write_model(tmp_path / "net.onnx", MODELS[model])
    settings = TensorRtSettings(python=python, cache=str(tmp_path))
    assert open_classifier(path, tensorrt=settings).runtime.name.startswith("tensorrt")


def test_jetpack_is_read_from_its_release_file() -> None:
    assert l4t("# R32 (release), REVISION: 7.4, GCID: 33514132, BOARD: t210ref, EABI: aarch64") == "32.7.4"
    assert l4t("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic") == "36.4.3"
    assert l4t("something else") == ""


ORIN = Machine("10.3.0", "Orin", "8.7", "36.4.3", flags=True, fast_fp16=True, fast_int8=True)


def test_precision_follows_model_and_machine() -> None:
    assert choose_precision("auto", MODELS["float"], ORIN) == "fp16"
    assert choose_precision("auto", MODELS["qdq"], ORIN) == "int8"
    assert len(engine_key(MODELS["qdq"], ORIN, "int8")) == 32


def test_the_worker_is_python_3_6(tmp_path: Path) -> None:
    def vermin(path: Path) -> int:
        command = [Path(sys.executable).parent / "vermin", "--quiet", "--target=3.6-", "--violations", str(path)]
        return subprocess.run(command, capture_output=True).returncode

    assert vermin(WORKER) == 0
    newer = tmp_path / "newer.py"
    newer.write_text("if (later := 1):\n    pass\n")
    assert vermin(newer) != 0
