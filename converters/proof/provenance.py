"""Where figures come from: which files, which pixels, which versions."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import edge
from converters.proof.report import FileFacts


def file_facts(path: Path) -> FileFacts:
    """Name, sha256 and size; of a folder, over its files' names and contents."""
    content_hash, size = hashlib.sha256(), 0
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    for file in files:
        content = file.read_bytes()
        if path.is_dir():
            content_hash.update(f"{file.relative_to(path)}\0{len(content)}\0".encode())
        content_hash.update(content)
        size += len(content)
    return FileFacts(path.name, content_hash.hexdigest(), size)


def digest(pixels: NDArray[np.uint8]) -> str:
    """sha256 of pixels as the network sees them."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def versions() -> dict[str, str]:
    """What a figure may depend on: this project, the interpreter, the machine and the packages that compute."""
    found = {"emotion-edge": edge.__version__, "python": platform.python_version(), "machine": platform.machine()}
    for package in (
        "tensorflow-cpu",
        "tensorflow",
        "keras",
        "ai-edge-litert",
        "tflite-runtime",
        "onnx",
        "tf2onnx",
        "onnxruntime",
        "numpy",
        "opencv-python-headless",
    ):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
