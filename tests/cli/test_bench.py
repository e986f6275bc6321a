"""edge-bench: nobody assumes which model is the fastest; the choice follows from figures, and edge-run takes what it prints."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from converters.proof.golden import find_golden
from edge.bench.candidates import Candidate, Metrics, Opened
from edge.bench.choose import Budget, choose
from edge.bench.machine import this_machine
from edge.bench.measure import ROUNDS, Measured, take_turns
from edge.bench.report import Chosen, config_lines
from edge.bench.words import why
from edge.cli.bench import main
from edge.config import read_settings
from edge.emotion.classify import DEFAULT_MODEL, Classifier, open_classifier
from edge.emotion.manifest import manifest_path, read_manifest
from edge.runtime import Runtime, open_runtime

Change = Callable[[dict[str, Any]], object]


def timed(kind: str, *rounds: float, threads: int = 1, delegate: str | None = "xnnpack", **metrics: Any) -> Measured:
    """A candidate with recorded times; one figure stands for steady rounds."""
    told: dict[str, Any] = {"verdict": "passed", "accuracy": 0.655, "float_accuracy": 0.656, "measured_on": "faces", **metrics}
    size = told.pop("bytes", 100_000)
    steady = rounds * ROUNDS if len(rounds) == 1 else rounds
    candidate = Candidate(f"m.{kind.replace(' ', '.')}", kind, "0" * 64, size, threads, delegate, Metrics(**told))
    return Measured(candidate, "ai-edge-litert 2.3.0", float(np.median(steady)), max(steady), steady, 100)


# One core, milliseconds, as measured: INT8 against float32 of one network, and a machine that is disturbed in every other round.
INT8, FLOAT = timed("int8 tflite", 0.103), timed("float32 tflite", 0.186, accuracy=0.656)
SLOW_INT8 = timed("int8 tflite", 0.225)
UNSTEADY = (0.10, 0.14) * (ROUNDS // 2)


@pytest.mark.parametrize(
    ("measured", "budget", "chosen", "said"),
    [
        pytest.param([FLOAT, INT8], Budget(), 1, "int8 is 1.8x faster than float32 here", id="faster"),
        pytest.param([FLOAT, SLOW_INT8], Budget(), 0, "int8 is slower than float32 here (0.8x)", id="slower"),
        pytest.param(
            [timed("int8 tflite", 0.103, threads=2), timed("int8 tflite", 0.105)], Budget(), 1, "fewer threads decided", id="3 %"
        ),
        pytest.param(
            [timed("int8 tflite", *UNSTEADY, threads=2), timed("int8 tflite", *([0.13] * ROUNDS))],
            Budget(),
            1,
            "fewer threads decided",
            id="noise",
        ),
        pytest.param([timed("int8 tflite", 0.095, threads=2), INT8], Budget(), 0, None, id="more threads that help"),
        pytest.param(
            # Every round is disturbed, but the same one is faster in each.
            [timed("int8 tflite", *UNSTEADY, threads=2), timed("int8 tflite", *(1.1 * time for time in UNSTEADY))],
            Budget(),
            0,
            None,
            id="faster in every unsteady round",
        ),
        pytest.param(
            [INT8, timed("float16 tflite", 0.104, accuracy=0.656)], Budget(), 1, "higher accuracy decided", id="accuracy"
        ),
        pytest.param(
            [INT8, timed("int8-dynamic tflite", 0.104, bytes=99_000)], Budget(), 1, "the smaller file decided", id="size"
        ),
        pytest.param(
            [timed("int8 tflite", 0.103, delegate="none"), timed("int8 tflite", 0.104)],
            Budget(),
            1,
            "1 more is as fast within the noise (int8, 1 thread, none): no delegate to set decided",
            id="delegate",
        ),
        pytest.param(
            [timed("int8 tflite", 0.1, threads=2), timed("int8 tflite", 0.101), timed("float16 tflite", 0.102, bytes=1)],
            Budget(),
            2,
            "fewer threads, then the smaller file decided",
            id="two ties",
        ),
        pytest.param(
            [FLOAT, timed("int8 tflite", 0.103, accuracy=0.644, float_accuracy=0.656)],
            Budget(),
            0,
            "int8 is 1.8x faster than float32 here; int8 may not be chosen: it lost 1.20 points of accuracy, allowed 1",
            id="over budget",
        ),
        pytest.param(
            [FLOAT, timed("int8 tflite", 0.103, accuracy=0.646, float_accuracy=0.656)], Budget(), 1, None, id="just the budget"
        ),
        pytest.param(
            [FLOAT, timed("int8 tflite", 0.103, accuracy=0.644, float_accuracy=0.656)], Budget(2.0), 1, None, id="--max-drop 2"
        ),
        pytest.param(
            [FLOAT, timed("int8 tflite", 0.103, verdict="failed")], Budget(unproven=True), 0, "failed edge-con", id="failed"
        ),
        pytest.param(
            [timed("int8 tflite", 0.103, verdict="failed")], Budget(unproven=True), None, "nothing can be", id="all failed"
        ),
        pytest.param(
            [FLOAT, timed("int8 tflite", 0.103, accuracy=None)],
            Budget(),
            0,
            "its accuracy is unproven (--unproven",
            id="unproven",
        ),
        pytest.param(
            [FLOAT, timed("int8 tflite", 0.103, accuracy=None)], Budget(unproven=True), 1, "beware: the accuracy", id="--unproven"
        ),
        pytest.param([timed("int8 tflite", 0.103, accuracy=None)], Budget(), 0, "nothing that is proven", id="nothing proven"),
        pytest.param(
            [FLOAT, timed("int8 tflite", 0.103, verdict="unproven")], Budget(), 0, "unproven", id="measured on too few rows"
        ),
        pytest.param([], Budget(), None, "no candidate runs here", id="nothing runs"),
        pytest.param(
            [timed("float32 tflite", 0.9, accuracy=0.7, float_accuracy=0.7), INT8],
            Budget(),
            1,
            "beware: float32 comes from a better network: 4.50 points more accurate (and 8.7x the time)",
            id="another network",
        ),
    ],
)
def test_the_fastest_within_the_budget_is_chosen_and_says_why(
    measured: list[Measured], budget: Budget, chosen: int | None, said: str | None
) -> None:
    choice = choose(measured, budget)
    assert choice.chosen is (None if chosen is None else measured[chosen])
    words = why(choice, measured, budget)
    if said is None:
        assert not any("noise" in sentence for sentence in words)
    else:
        assert any(said in sentence for sentence in words), words


def test_the_order_in_which_candidates_are_given_changes_nothing() -> None:
    draw = np.random.default_rng(3)
    measured = [
        timed(kind, *draw.uniform(0.1, 0.13, ROUNDS), threads=threads, bytes=size)
        for size, kind in enumerate(("int8 tflite", "float16 tflite", "float32 tflite"))
        for threads in (1, 2, 4)
    ]
    first = choose(measured, Budget()).chosen
    for _ in range(20):
        draw.shuffle(measured)
        assert choose(measured, Budget()).chosen is first


class Doctored:
    """A real runtime that keeps a diary, and breaks off after some calls like a stick that is pulled out."""

    def __init__(self, name: str, diary: list[str], breaks_after: int | None = None) -> None:
        self._real: Runtime = open_runtime(DEFAULT_MODEL.read_bytes(), ".tflite")
        self.name, self.input_shape, self.output_shapes = name, self._real.input_shape, self._real.output_shapes
        self._diary, self._left = diary, breaks_after

    def encode(self, values: NDArray[np.float32]) -> NDArray[Any]:
        return self._real.encode(values)

    def run(self, tensor: NDArray[Any]) -> list[NDArray[np.float32]]:
        if self._left == 0:
            raise RuntimeError("the device is gone\nand more of that")
        self._left = self._left and self._left - 1
        if not self._diary or self._diary[-1] != self.name:
            self._diary.append(self.name)
        return self._real.run(tensor)


def turns(seed: int, **breaks: int) -> tuple[list[str], list[Measured], list[str]]:
    manifest, diary = read_manifest(manifest_path(DEFAULT_MODEL)), []
    opened = [Opened(Candidate(name), Classifier(manifest, Doctored(name, diary, breaks.get(name)))) for name in "abcd"]
    shares: list[float] = []
    measured, left_out = take_turns(opened, 0.4, seed, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    return diary, measured, [one.reason for one in left_out]


def test_everyone_has_a_turn_in_each_round_in_an_order_that_the_seed_gives() -> None:
    diary, measured, left_out = turns(seed=1)
    assert left_out == []
    assert [one.candidate.model for one in measured] == [*"abcd"]
    rounds = {len(one.rounds_ms) for one in measured}
    assert len(rounds) == 1
    assert min(min(one.rounds_ms) for one in measured) > 0
    assert all(one.calls >= 3 * len(one.rounds_ms) and one.median_ms <= one.p95_ms for one in measured)
    shortest = min(len(diary), len(again := turns(seed=1)[0]))
    assert diary[:shortest] == again[:shortest]
    assert diary[:8] != [*"abcdabcd"]
    assert diary[:12] != turns(seed=2)[0][:12]


def test_who_fails_on_the_way_is_left_out_and_the_others_go_on() -> None:
    _, measured, left_out = turns(seed=1, b=10)
    assert [one.candidate.model for one in measured] == [*"acd"]
    assert left_out == ["failed while it was measured: the device is gone"]


def shelve(folder: Path, name: str, *changes: Change, content: bytes | None = None) -> Path:
    """The shipped model under another name, its manifest changed; `content` stands in for the model's own bytes."""
    model = folder / name
    shutil.copy(DEFAULT_MODEL, model)
    manifest = json.loads(manifest_path(DEFAULT_MODEL).read_text())
    manifest["file"] = name
    for change in changes:
        change(manifest)
    manifest_path(model).write_text(json.dumps(manifest))
    if content is not None:
        model.write_bytes(content)
    return model


def says(**keys: Any) -> Change:
    return lambda manifest: manifest.update(keys)


def measures(**keys: Any) -> Change:
    return lambda manifest: manifest["metrics"].update(keys)


def write_onnx(folder: Path) -> Path:
    """A small network as ONNX with a true manifest: one matrix over the pixels."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    weights = np.random.default_rng(0).normal(0, 0.02, (48 * 48, 7)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Flatten", ["image"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        onnx.helper.make_node("Softmax", ["logits"], ["scores"]),
    ]
    tensor = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "plain",
        [tensor("image", onnx.TensorProto.FLOAT, (1, 1, 48, 48))],
        [tensor("scores", onnx.TensorProto.FLOAT, (1, 7))],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    content = made.SerializeToString()
    model = shelve(folder, "plain.onnx", content=content)
    path = manifest_path(model)
    manifest = json.loads(path.read_text())
    manifest["input"]["layout"] = "NCHW"
    manifest |= {"quantization": "float32", "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path.write_text(json.dumps(manifest))
    golden = find_golden(Classifier(read_manifest(path), open_runtime(content, ".onnx")))
    manifest["golden"] = [{"rule": pair.rule, "scores": pair.scores} for pair in golden]
    path.write_text(json.dumps(manifest))
    open_classifier(model)
    return model


def bench(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return status, said.out, said.err


WHOLE = DEFAULT_MODEL.read_bytes()
BROKEN: dict[str, tuple[tuple[Change, ...], bytes | None, str]] = {
    "damaged.int8.tflite": ((), bytes([WHOLE[0] ^ 1]) + WHOLE[1:], "sha256 is"),
    "short.int8.tflite": ((), WHOLE[:1000], "1000 bytes, its manifest says"),
    "other.int8.tflite": ((lambda m: m["golden"][0].update(scores=m["golden"][1]["scores"]),), None, "computes other scores"),
    "aligned.int8.tflite": ((lambda m: m["input"].update(landmarks=[[0.3, 0.4]] * 5),), None, "was trained on aligned faces"),
    "odd.int8.tflite": ((measures(accuracy=65.4),), None, "its manifest's metrics cannot be used"),
    "old.int8.tflite": ((says(format=2),), None, "manifest format 2"),
}


def test_a_whole_run_chooses_what_edge_run_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [
        shelve(tmp_path, "micro.int8.tflite"),
        shelve(tmp_path, "micro.fp32.tflite", says(quantization="float32"), measures(accuracy=0.656, float_accuracy=0.656)),
        shelve(tmp_path, "failed.int8.tflite", measures(verdict="failed")),
        *(shelve(tmp_path, name, *changes, content=content) for name, (changes, content, _) in BROKEN.items()),
    ]
    status, out, err = bench(capsys, *models, "--threads", "2,1", "--seconds", "0.5", "--json", "--seed", "7")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert found["machine"]["cores"] >= 1
    assert any(name in found["versions"] for name in ("ai-edge-litert", "tflite-runtime"))
    measured = [row for row in found["candidates"] if row["left_out"] is None]
    # Three files that run, each with 1 and 2 threads, with XNNPACK and without.
    assert len(measured) == 12
    assert {(Path(row["model"]).name, row["threads"], row["delegate"]) for row in measured} == {
        (name, threads, delegate)
        for name in ("micro.int8.tflite", "micro.fp32.tflite", "failed.int8.tflite")
        for threads in (1, 2)
        for delegate in ("xnnpack", "none")
    }
    assert [row["median_ms"] for row in measured] == sorted(row["median_ms"] for row in measured)
    assert {row["standing"] for row in measured} == {"proven", "failed"}
    left_out = {Path(row["model"]).name: row["left_out"] for row in found["candidates"] if row["left_out"]}
    for name, (_, _, reason) in BROKEN.items():
        assert reason in left_out.pop(name)
    assert left_out == {}
    (chosen,) = [row for row in measured if row["chosen"]]
    assert chosen["standing"] == "proven"
    assert found["choice"] == {"path": chosen["model"], "threads": chosen["threads"], "delegate": chosen["delegate"]}


def test_the_table_ends_with_lines_that_edge_run_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = shelve(tmp_path, 'a "quoted" näme.int8.tflite')
    status, out, _ = bench(capsys, model, "--threads", "2", "--seconds", "0.2", "--delegate", "libnone-such.so.1")
    assert status == 0
    assert "median ms" in out
    assert out.count("\n*  ") == 1
    assert 'left out: a "quoted" näme.int8.tflite (libnone-such.so.1): libnone-such.so.1: this delegate cannot be loaded' in out
    lines = out[out.index("[model]") :]
    config = tmp_path / "config.toml"
    config.write_text(lines)
    settings = read_settings(config, {}).model
    assert (settings.path, settings.threads) == (str(model), 2)
    done = subprocess.run(
        [sys.executable, "-m", "edge.cli.run", "--config", config, "--check", "--detector", "haar"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "ready: micro" in done.stdout


def test_only_what_is_not_the_default_stands_in_the_configuration() -> None:
    assert msgspec.toml.decode(config_lines(Chosen("/m.tflite", 1, "xnnpack"))) == {"model": {"path": "/m.tflite", "threads": 1}}
    delegated = msgspec.toml.decode(config_lines(Chosen("/m.tflite", 2, "/opt/libx.so")))
    assert delegated == {"model": {"path": "/m.tflite", "threads": 2, "delegate": "/opt/libx.so"}}


def test_onnx_and_tflite_are_measured_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [write_onnx(tmp_path), shelve(tmp_path, "micro.int8.tflite")]
    status, out, _ = bench(capsys, *models, "--threads", "1", "--seconds", "0.3", "--json")
    assert status == 0
    found = json.loads(out)
    runtimes = {row["runtime"].split(" ")[0]: row["delegate"] for row in found["candidates"]}
    assert runtimes["onnxruntime"] is None
    assert len(runtimes) == 2
    assert {"onnxruntime", "numpy"} < set(found["versions"])
    assert [row["ratio"] for row in found["candidates"] if row["format"] == "float32 onnx"] == [1.0]


def test_a_missing_runtime_leaves_its_models_out(tmp_path: Path) -> None:
    shelf = tmp_path / "models"
    shelf.mkdir()
    model, shipped = shelve(shelf, "plain.onnx", says(quantization="float32")), shelve(shelf, "micro.int8.tflite")
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no wheel for this board')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))}
    for models, status, choice in (([model, shipped], 0, "micro.int8.tflite"), ([model], 1, None)):
        done = subprocess.run(
            [sys.executable, "-m", "edge.cli.bench", *models, "--seconds", "0.2", "--json"],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
        )
        assert done.returncode == status, done.stderr
        found = json.loads(done.stdout)
        (reason,) = [row["left_out"] for row in found["candidates"] if row["model"] == str(model)]
        assert reason == ".onnx files need onnxruntime: pip install 'emotion-edge[onnx]' (no wheel for this board)"
        assert (found["choice"] and Path(found["choice"]["path"]).name) == choice


def test_when_none_may_be_chosen_it_says_so_and_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    failed = shelve(tmp_path, "bad.int8.tflite", measures(verdict="failed"))
    status, out, _ = bench(capsys, failed, "--threads", "1", "--seconds", "0.2")
    assert status == 1
    assert out.rstrip().splitlines()[-1] == "nothing can be chosen: bad.int8.tflite: it failed edge-convert's gate"
    assert "[model]" not in out


@pytest.mark.parametrize(
    "change", [lambda m: m["labels"].reverse(), lambda m: m["labels"].__setitem__(0, "bored")], ids=["order", "another"]
)
def test_other_labels_are_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Change) -> None:
    models = shelve(tmp_path, "a.int8.tflite"), shelve(tmp_path, "b.int8.tflite", change)
    status, out, err = bench(capsys, *models)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert "only models with the same labels in the same order" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none.int8.tflite"], "none.int8.tflite: no such file"),
        (["model.h5"], "model.h5: edge runs .tflite and .onnx files"),
        (["x.onnx", "--threads", "0"], "'0' is not whole numbers from 1 to 64"),
        (["x.onnx", "--threads", "1,,2"], "'1,,2' is not whole numbers"),
        (["x.onnx", "--max-drop", "nan"], "'nan' is not a number from 0 on"),
        (["x.onnx", "--seconds", "0"], "'0' is not a number of seconds"),
        (["x.onnx", "--sceonds", "1"], "did you mean --seconds?"),
        ([], "the following arguments are required: MODEL"),
    ],
)
def test_unusable_arguments_are_one_line_and_2(capsys: pytest.CaptureFixture[str], arguments: list[str], told: str) -> None:
    status, out, err = bench(capsys, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_a_raspberry_pi_knows_its_name(tmp_path: Path) -> None:
    for path, text in {
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/cpuinfo": "processor\t: 0\nCPU part\t: 0xd08\n\nprocessor\t: 1\nCPU part\t: 0xd08\n",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    machine = this_machine(tmp_path)
    assert (machine.board, machine.cpu, machine.governor) == ("Raspberry Pi 4 Model B Rev 1.4", "Cortex-A72", "ondemand")
    assert this_machine(tmp_path / "nothing").cpu is None
