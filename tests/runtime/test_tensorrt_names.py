"""Every name of TensorRT and pycuda that the worker touches is there, in each generation: the real bindings say so.

The bindings of 8.6, 10 and 11 come from the package index, without TensorRT itself: over empty libraries of the right names they
import, and their classes can be asked. For 8.2, which has no wheel, and pycuda, a table was written from the documentation.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import fake_tensorrt
import msgspec
import pytest
from jetson import Jetson

from edge.runtime.trt_process import WORKER

TABLE = Path(__file__).with_name("tensorrt_8_2.toml")
# Between the two APIs, JetPack 6, JetPack 7.2, and the newest; each about a megabyte.
WHEELS = {
    "8.6": "tensorrt-bindings==8.6.1",
    "10.3": "tensorrt-cu12-bindings==10.3.0",
    "10.16": "tensorrt-cu12-bindings==10.16.1.11",
    "11": "tensorrt-cu13-bindings==11.4.0.106",
}
FAKES = {"8.2": "8.2", "8.6": "8.6", "10.3": "10", "10.16": "10", "11": "11"}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emotion-edge-tests"

# What the worker calls its objects -> their class.
ROLES = {
    "trt": "module",
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "problem": "ParserError",
    "config": "IBuilderConfig",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "layer": "ILayer",
    "tensor": "ITensor",
    "cuda": "pycuda.driver",
    "gpu": "pycuda.Device",
    "scope": "pycuda.Context",
    "stream": "pycuda.Stream",
}
GIVES = {"dtype": "DataType", "get_tensor_dtype": "DataType", "get_binding_dtype": "DataType"}
Names = dict[str, set[str]]


class Touched(ast.NodeVisitor):
    """What a program touches where hasattr answers as in one generation; branches that it would not take are left out."""

    def __init__(self, source: str, names: Names) -> None:
        self.names, self.touched, self.asked = names, set(), set()
        tree = ast.parse(source)
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        self._waiting: dict[str, list[ast.AST]] = {}
        for node in (node for node in functions if node.name != "__init__"):
            self._waiting.setdefault(node.name, []).append(node)
        for node in [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]:
            made = [part for part in node.body if getattr(part, "name", "") == "__init__"]
            self._waiting.setdefault(node.name, []).extend(made)
        self._reach("main")

    def _reach(self, name: str) -> None:
        for node in self._waiting.pop(name, []):
            self.generic_visit(node)

    def _class(self, node: ast.AST) -> str | None:
        if isinstance(node, ast.Call):
            return self._class_of_call(node)
        if isinstance(node, ast.Name):
            return ROLES.get(node.id)
        if not isinstance(node, ast.Attribute):
            return None
        owner = self._class(node.value)
        if owner is None:
            return ROLES.get(node.attr)
        if owner == "module" and node.attr[:1].isupper():
            return node.attr
        return GIVES.get(node.attr)

    def _class_of_call(self, node: ast.Call) -> str | None:
        return GIVES.get(node.func.attr) if isinstance(node.func, ast.Attribute) and self._class(node.func.value) else None

    def _holds(self, test: ast.AST) -> bool | None:
        if isinstance(test, ast.Call) and getattr(test.func, "id", "") == "hasattr":
            owner, name = self._class(test.args[0]), ast.literal_eval(test.args[1])
            assert owner is not None, f"hasattr of {ast.unparse(test.args[0])}, which is not among the roles"
            self.asked.add((owner, name))
            return name in self.names[owner]
        return None

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        self.visit(node.test)
        holds = self._holds(node.test)
        for part, taken in ((node.body, holds is not False), (node.orelse, holds is not True)):
            for each in (part if isinstance(part, list) else [part]) if taken else []:
                self.visit(each)

    visit_IfExp = visit_If  # noqa: N815  ast's own name

    def visit_Attribute(self, node: ast.Attribute) -> None:
        owner = self._class(node.value)
        if owner is not None:
            self.touched.add((owner, node.attr))
        self.generic_visit(node)
        self._reach(node.attr)

    def visit_Name(self, node: ast.Name) -> None:
        self._reach(node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A method is looked at when it is reached; one of a class inside a function, when TensorRT may call it."""
        if any(argument.arg == "self" for argument in node.args.args):
            self.generic_visit(node)

    def missing(self) -> set[tuple[str, str]]:
        """What is touched and not there; every class can be made."""
        known = self.touched - {(owner, "__init__") for owner, _ in self.touched}
        return {(owner, name) for owner, name in known if name not in self.names.get(owner, ())}


LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import tensorrt_bindings as trt
names = {name: sorted(dir(each)) for name, each in vars(trt).items() if isinstance(each, type)}
print(json.dumps({**names, "module": dir(trt)}))
"""
# The functions that the bindings want of TensorRT's libraries; nobody calls them while they are only looked at.
LIBRARIES = ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser", "libnvparsers")
FUNCTIONS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParser_INTERNAL", "createNvOnnxParserRefitter_INTERNAL", "getNvOnnxParserVersion"),
    *("getBuilderPluginRegistry", "getPluginRegistry", "initLibNvInferPlugins"),
    # The parsers of Caffe and UFF, which 8.6 still has.
    *("_ZN11nvuffparser15createUffParserEv", "_ZN11nvuffparser8FieldMapC1EPKcPKvNS_9FieldTypeEi"),
    *("_ZN14nvcaffeparser117createCaffeParserEv", "_ZN14nvcaffeparser123shutdownProtobufLibraryEv"),
)


def wheel(requirement: str) -> Path:
    """From the cache, or the package index once."""
    package, version = requirement.replace("-", "_").split("==")
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    found = list(CACHE.glob(f"{package}-{version}*-{tag}-*.whl"))
    if not found:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(CACHE), requirement]
        subprocess.run(command, capture_output=True, timeout=300)
        found = list(CACHE.glob(f"{package}-{version}*-{tag}-*.whl"))
    if not found:
        pytest.skip(f"{requirement} is not installed, and the package index does not give it to this machine")
    return found[0]


def real_names(requirement: str, folder: Path) -> Names:
    """The classes of real bindings."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("a C compiler is not installed, so the bindings have no libraries to be imported over")
    with zipfile.ZipFile(wheel(requirement)) as archive:
        archive.extractall(folder)
    source = folder / "empty.c"
    source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
    major = requirement.partition("==")[2].partition(".")[0]
    for library in LIBRARIES:
        subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / f"{library}.so.{major}", source], check=True)
    done = subprocess.run(
        [sys.executable, "-c", LOOK, str(folder)],
        env={**os.environ, "LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    return {name: set(found) for name, found in json.loads(done.stdout).items()}


def table() -> Names:
    content = msgspec.toml.decode(TABLE.read_bytes())
    names = {name: set(found) for name, found in content.items() if name != "pycuda"}
    return names | {f"pycuda.{name}": set(found) for name, found in content["pycuda"].items()}


@pytest.fixture(scope="module", params=["8.2", *WHEELS])
def names(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Names]:
    known = table()
    if request.param != "8.2":
        pycuda = {name: found for name, found in known.items() if name.startswith("pycuda.")}
        known = real_names(WHEELS[request.param], tmp_path_factory.mktemp("bindings")) | pycuda
    return request.param, known


# In which generations each of these is touched: what tells that the walk through the source sees anything at all.
EXAMPLES = {
    ("ICudaEngine", "get_binding_dtype"): {"8.2"},
    ("IExecutionContext", "execute_async_v2"): {"8.2"},
    ("IExecutionContext", "execute_async_v3"): {"8.6", "10.3", "10.16", "11"},
    ("module", "IInt8EntropyCalibrator2"): {"8.2", "8.6", "10.3", "10.16"},
    ("BuilderFlag", "INT8"): {"8.2", "8.6", "10.3", "10.16"},
    ("LayerType", "QUANTIZE"): {"8.2", "8.6", "10.3", "10.16", "11"},
    ("DataType", "name"): {"8.2", "8.6", "10.3", "10.16", "11"},
    ("ParserError", "desc"): {"8.2", "8.6", "10.3", "10.16", "11"},
    ("pycuda.Context", "detach"): {"8.2", "8.6", "10.3", "10.16", "11"},
}


def test_the_worker_touches_nothing_that_is_not_there(names: tuple[str, Names]) -> None:
    generation, known = names
    seen = Touched(WORKER.read_text(), known)
    assert seen.missing() == set()
    for example, generations in EXAMPLES.items():
        assert (example in seen.touched) == (generation in generations), example


# A probe taken away -> what is then found to be missing.
PROBES = {
    'hasattr(config, "set_memory_pool_limit")': ("8.2", ("IBuilderConfig", "set_memory_pool_limit")),
    'hasattr(engine, "num_io_tensors")': ("8.2", ("ICudaEngine", "num_io_tensors")),
    'hasattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH")': ("11", ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH")),
    'hasattr(trt.BuilderFlag, "FP16")': ("11", ("module", "IInt8EntropyCalibrator2")),
    'hasattr(builder, "platform_has_fast_int8")': ("11", ("Builder", "platform_has_fast_int8")),
}


@pytest.mark.parametrize("probe", PROBES)
def test_without_a_probe_the_missing_name_is_found(names: tuple[str, Names], probe: str) -> None:
    source, (generation, lost) = WORKER.read_text(), PROBES[probe]
    assert probe in source
    seen = Touched(source.replace(probe, "bool(1)"), names[1])
    assert (lost in seen.missing()) == (names[0] == generation)


def test_what_is_probed_for_exists_somewhere(names: tuple[str, Names]) -> None:
    """A name with a slip of the pen would be absent everywhere, and its branch never taken."""
    asked = Touched(WORKER.read_text(), names[1]).asked
    lacking = {owner: set(lost) for owner, lost in fake_tensorrt.LACKS[FAKES[names[0]]].items()}
    for owner, name in asked:
        assert name in names[1][owner] or name in lacking.get(owner, ()), (owner, name)


FAKE = """
import json, tensorrt
from fake_tensorrt import CLASSES, ENUMS
found = {each: [n for n in dir(getattr(tensorrt, each)) if n[0] != "_"] for each in [c.__name__ for c in CLASSES] + list(ENUMS)
         if hasattr(tensorrt, each)}
print(json.dumps(found))
"""
# Python's own: a fake is no pybind11 class.
OWN = set(dir(int)) | set(dir(bytes)) | {"value", "__members__"}


def test_the_fake_of_a_generation_has_and_lacks_what_the_real_one_does(
    names: tuple[str, Names], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generation = FAKES[names[0]]
    Jetson(tmp_path, monkeypatch).become(generation)
    done = subprocess.run([sys.executable, "-c", FAKE], capture_output=True, text=True, check=True)
    for owner, members in json.loads(done.stdout).items():
        assert set(members) - OWN <= names[1][owner], owner
    for owner, lost in fake_tensorrt.LACKS[generation].items():
        assert not set(lost) & names[1][owner or "module"], owner
