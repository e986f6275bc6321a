"""The import ladder: the next package is taken when one is missing or its libraries do not load on this board."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge.emotion.classify import DEFAULT_MODEL
from edge.errors import ModelError
from edge.runtime import open_runtime

LOAD = """
from edge.emotion.classify import DEFAULT_MODEL, open_classifier
print(open_classifier(DEFAULT_MODEL).runtime.name)
"""


def load_with(folder: Path, **modules: str) -> subprocess.CompletedProcess[str]:
    """Open the shipped model where other packages stand in the way of the installed ones."""
    for name, content in modules.items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(content)
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    return subprocess.run([sys.executable, "-c", LOAD], env=environment, capture_output=True, text=True, timeout=120)


# What a wheel whose tag promises too much says on an old board.
TOO_NEW = 'raise OSError("libc.so.6: version `GLIBC_2.34\' not found")'


def test_the_maintained_package_comes_first(tmp_path: Path) -> None:
    assert load_with(tmp_path).stdout.startswith("ai-edge-litert ")


def test_a_package_whose_libraries_do_not_load_is_passed_over(tmp_path: Path) -> None:
    done = load_with(tmp_path, ai_edge_litert=TOO_NEW)
    # The last rung is TensorFlow's own interpreter: the golden scores hold there, to the bit.
    assert done.stdout.startswith("tensorflow"), done.stderr[-400:]


def test_without_any_runtime_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    done = load_with(tmp_path, ai_edge_litert=TOO_NEW, tflite_runtime=TOO_NEW, tensorflow=TOO_NEW)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("edge.errors.RuntimeMissingError: no TFLite runtime can be imported; pip install ai-edge-litert")
    assert "GLIBC_2.34" in last


def test_real_values_go_in_and_come_out() -> None:
    runtime = open_runtime(DEFAULT_MODEL.read_bytes(), ".tflite")
    assert (runtime.input_shape, runtime.output_shapes) == ((1, 48, 48, 1), ((1, 7),))
    (scores,) = runtime.run(np.zeros((1, 48, 48, 1), np.float32))
    assert scores.dtype == np.float32
    assert scores.sum() == pytest.approx(1, abs=7 / 256)
    # Beyond the quantized range values are clipped, they do not wrap around.
    low, lower = (runtime.run(np.full((1, 48, 48, 1), value, np.float32))[0] for value in (-1.0, -9.0))
    np.testing.assert_array_equal(low, lower)


def test_threads_change_nothing_but_the_time() -> None:
    tensor = np.random.default_rng(0).uniform(-1, 1, (1, 48, 48, 1)).astype(np.float32)
    one, two = (open_runtime(DEFAULT_MODEL.read_bytes(), ".tflite", threads).run(tensor)[0] for threads in (1, 2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("suffix", "part"), [(".pb", ".onnx files"), ("", "nameless"), (".tflite", "not a TFLite model")])
def test_what_is_no_model_is_refused(suffix: str, part: str) -> None:
    with pytest.raises(ModelError, match=part):
        open_runtime(b"no model", suffix)
