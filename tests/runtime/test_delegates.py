"""Who computes a .tflite: XNNPACK, TFLite's own kernels, or a library; and what a library that is no use says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge.emotion.classify import DEFAULT_MODEL, open_classifier
from edge.emotion.golden import golden_crop
from edge.errors import ModelError
from edge.runtime import NO_DELEGATE, XNNPACK, open_runtime

# The C side of an external delegate (tensorflow/lite/core/c/common.h, TfLiteDelegate). It takes no part of any graph.
SOURCE = """
#include <stddef.h>
#include <stdint.h>
typedef struct Delegate {
  void* data;
  int (*prepare)(void* context, struct Delegate* self);
  void* copy_from; void* copy_to; void* release;
  int64_t flags;
  void* opaque;
} Delegate;
static int prepare(void* context, Delegate* self) { (void)context; (void)self; return PREPARED; }
static Delegate only = {NULL, prepare, NULL, NULL, NULL, 0, NULL};
void* tflite_plugin_create_delegate(char** keys, char** values, size_t count, void (*report)(const char*)) {
  (void)keys; (void)values; (void)count;
  if (STARTS) return &only;
  report("no device is plugged in");
  return NULL;
}
void tflite_plugin_destroy_delegate(void* delegate) { (void)delegate; }
"""


def build(folder: Path, name: str, starts: bool, prepared: int) -> Path:
    """Compile a delegate; `prepared` is the status it gives a graph, 0 for good."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("a C compiler is not installed")
    library = folder / name
    (folder / "delegate.c").write_text(SOURCE)
    defines = [f"-DSTARTS={starts:d}", f"-DPREPARED={prepared}"]
    subprocess.run([compiler, "-shared", "-fPIC", *defines, "-o", library, folder / "delegate.c"], check=True, timeout=60)
    return library


def operators(delegate: str) -> set[str]:
    runtime = open_runtime(DEFAULT_MODEL.read_bytes(), ".tflite", delegate=delegate)
    return {operator["op_name"] for operator in runtime._interpreter._get_ops_details()}


def test_xnnpack_is_there_until_it_is_switched_off(tmp_path: Path) -> None:
    assert "DELEGATE" in operators(XNNPACK)
    assert "DELEGATE" not in operators(NO_DELEGATE)


def test_without_xnnpack_int8_rounds_otherwise_and_is_still_the_model() -> None:
    plain, fast = (open_classifier(DEFAULT_MODEL, 1, delegate) for delegate in (NO_DELEGATE, XNNPACK))
    spec = fast.manifest.input
    crops = [golden_crop(golden.rule, spec) for golden in fast.manifest.golden]
    for crop in crops:
        np.testing.assert_allclose(plain.scores(crop), fast.scores(crop), atol=0.02)


def test_a_delegate_of_ones_own_is_loaded_and_computes_the_same(tmp_path: Path) -> None:
    library = build(tmp_path, "libidle.so", starts=True, prepared=0)
    tensor = np.random.default_rng(0).uniform(-1, 1, (1, 48, 48, 1)).astype(np.float32)
    content = DEFAULT_MODEL.read_bytes()
    mine, own = (open_runtime(content, ".tflite", delegate=delegate).run(tensor)[0] for delegate in (str(library), XNNPACK))
    np.testing.assert_allclose(mine, own, atol=0.02)
    open_classifier(DEFAULT_MODEL, 1, str(library))


@pytest.mark.parametrize(
    ("starts", "prepared", "told"), [(False, 0, "cannot start (no device is plugged in)"), (True, 1, "with the delegate")]
)
def test_a_delegate_that_refuses_says_why(tmp_path: Path, starts: bool, prepared: int, told: str) -> None:
    library = build(tmp_path, "libsulky.so", starts, prepared)
    with pytest.raises(ModelError) as caught:
        open_runtime(DEFAULT_MODEL.read_bytes(), ".tflite", delegate=str(library))
    assert told in str(caught.value)
    assert "libsulky.so" in str(caught.value)


@pytest.mark.parametrize(
    ("library", "told"),
    [("libnone-such.so.1", "cannot be loaded"), ("/no/where.so", "cannot be loaded"), ("libc.so.6", "not a TFLite delegate")],
)
def test_what_is_no_delegate_is_one_sentence(library: str, told: str) -> None:
    with pytest.raises(ModelError, match=told) as caught:
        open_runtime(DEFAULT_MODEL.read_bytes(), ".tflite", delegate=library)
    assert "\n" not in str(caught.value)


def test_a_delegate_for_anything_but_tflite_is_refused() -> None:
    with pytest.raises(ModelError, match=r"for \.tflite files, not for \.onnx ones"):
        open_runtime(b"", ".onnx", delegate="libedgetpu.so.1")
