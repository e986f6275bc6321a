"""The boards that a bundle can be for, and what is fixed about each: its Python, its C and C++ libraries, its systemd."""

from __future__ import annotations

from dataclasses import dataclass

from converters.deploy.interpreter import PYTHON_310, Interpreter
from converters.deploy.units import Platform

MACHINE = "aarch64"
# Megabytes are millions of bytes, as cards are sold.
PI_LIMIT = 250_000_000

# Shared libraries of every one of these systems: glibc's own, and what apt and dpkg themselves are linked with.
SYSTEM_LIBRARIES = frozenset(
    {
        "ld-linux-aarch64.so.1",
        "libc.so.6",
        "libdl.so.2",
        "libgcc_s.so.1",
        "libm.so.6",
        "libpthread.so.0",
        "librt.so.1",
        "libstdc++.so.6",
        "libutil.so.1",
        "libz.so.1",
    }
)


@dataclass(frozen=True, slots=True)
class Target:
    """A board with its system.

    Attributes:
        name: of the target, as `--target` takes it.
        board: for people.
        platform: which of the rendered units it takes.
        python: of the board, such as `3.11`.
        glibc, glibcxx, cxxabi: the newest version of each that the board's libc.so.6 and libstdc++.so.6 define.
        systemd: major version.
        extras: of emotion-edge, installed there.
        without: packages that emotion-edge asks for and that cannot run there.
        apt: Debian packages that must be there before.
        int8: whether TensorRT there takes Q/DQ nodes.
        limit: bytes that the installation may take; None is no limit.
        interpreter: the Python that the bundle brings, where the board's own is too old.
        unproven: what nobody has seen run, one sentence each.
    """

    name: str
    board: str
    platform: Platform
    python: str
    glibc: str
    glibcxx: str
    cxxabi: str
    systemd: int
    extras: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    apt: tuple[str, ...] = ("python3-venv",)
    int8: bool = True
    limit: int | None = None
    interpreter: Interpreter | None = None
    unproven: tuple[str, ...] = ()

    @property
    def platforms(self) -> tuple[str, ...]:
        """Tags of the wheels that its glibc can load, the newest first (PEP 600; aarch64 begins at 2.17)."""
        newest = int(self.glibc.partition(".")[2])
        return (*(f"manylinux_2_{minor}_{MACHINE}" for minor in range(newest, 16, -1)), f"manylinux2014_{MACHINE}")

    @property
    def versions(self) -> dict[str, str]:
        """What its C and C++ libraries define at most, by the prefix of the version names."""
        return {"GLIBC": self.glibc, "GLIBCXX": self.glibcxx, "CXXABI": self.cxxabi}


_NO_BOARD = "no such board was at hand: packages, their libraries' needs and the units were checked, nothing was run on it"
_PYCUDA = "pycuda has no wheels and is built on the board, where TensorRT and CUDA are (docs/tensorrt.md)"

# glibc and systemd: of Debian 12 and 13 and Ubuntu 18.04, 22.04 and 24.04, which JetPack 4, 6 and 7 are. GLIBCXX and CXXABI: of
# GCC 12.2, 14.2, 8.4, 12.3 and 14.2, whose libstdc++ they ship (gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html).
TARGETS = {
    target.name: target
    for target in (
        Target(
            "pi-bookworm64",
            "Raspberry Pi OS bookworm, 64-bit (Raspberry Pi 3, 4, 5, Zero 2 W)",
            "pi",
            python="3.11",
            glibc="2.36",
            glibcxx="3.4.30",
            cxxabi="1.3.13",
            systemd=252,
            extras=("update",),
            limit=PI_LIMIT,
        ),
        Target(
            "pi-trixie64",
            "Raspberry Pi OS trixie, 64-bit (Raspberry Pi 3, 4, 5, Zero 2 W)",
            "pi",
            python="3.13",
            glibc="2.41",
            glibcxx="3.4.33",
            cxxabi="1.3.15",
            systemd=257,
            extras=("update",),
            limit=PI_LIMIT,
        ),
        Target(
            "orin-jp6",
            "Jetson Orin with JetPack 6",
            "jetson",
            python="3.10",
            glibc="2.35",
            glibcxx="3.4.30",
            cxxabi="1.3.13",
            systemd=249,
            extras=("onnx", "update"),
            unproven=(_NO_BOARD, _PYCUDA),
        ),
        Target(
            "orin-jp7",
            "Jetson Orin with JetPack 7",
            "jetson",
            python="3.12",
            glibc="2.39",
            glibcxx="3.4.33",
            cxxabi="1.3.15",
            systemd=255,
            extras=("onnx", "update"),
            unproven=(_NO_BOARD, _PYCUDA),
        ),
        Target(
            "jetson-nano",
            "the original Jetson Nano with JetPack 4.6",
            "jetson",
            python="3.10",
            glibc="2.27",
            glibcxx="3.4.25",
            cxxabi="1.3.11",
            systemd=237,
            extras=("tflite", "onnx", "update"),
            # Its libraries need glibc 2.34 on ARM; tflite-runtime stands in for it.
            without=("ai-edge-litert",),
            apt=(),
            int8=False,
            interpreter=PYTHON_310,
            unproven=(
                _NO_BOARD,
                "the Python 3.10 beside the board's own 3.6 is known by its sha256 alone, and was not started",
                _PYCUDA + "; there for the board's own Python 3.6, in which TensorRT's bindings are",
            ),
        ),
    )
}
