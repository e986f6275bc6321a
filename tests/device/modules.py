"""Of the kernel's modules those that the emulated board has hardware for, and the smallest initrd that finds its disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

# Loaded before there is a root file system.
DISK = ("virtio_pci", "virtio_blk", "ext4", "crc32c_generic")
# Found by udev, or asked for by name: network, the line to the test, randomness, and vivid, a V4L2 camera without hardware.
REST = ("virtio_net", "virtio_console", "virtio_rng", "vivid", "fuse", "autofs4", "configfs", "efi_pstore", "dm_mod", "loop")
INIT = """#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in $(/bin/busybox cat /order); do /bin/busybox insmod "/modules/$module"; done
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox umount /dev
exec /bin/busybox switch_root /root /sbin/init
"""


def needed(tree: Path, names: tuple[str, ...]) -> list[Path]:
    """Modules and all that they rest on, in the order in which they can be loaded; what is built in needs no file.

    Args:
        tree: lib/modules/VERSION, with what depmod has written.
    """
    needs: dict[str, tuple[Path, list[str]]] = {}
    for line in (tree / "modules.dep").read_text().splitlines():
        file, _, others = line.partition(":")
        needs[_name(file)] = tree / file, [_name(other) for other in others.split()]
    order: dict[str, Path] = {}

    def visit(name: str) -> None:
        if name in needs and name not in order:
            for other in reversed(needs[name][1]):
                visit(other)
            order[name] = needs[name][0]

    for name in names:
        visit(name)
    return list(order.values())


def _name(file: str) -> str:
    return Path(file).name.partition(".ko")[0].replace("-", "_")


def version_tree(kernel: Path) -> Path:
    """lib/modules/VERSION of `debian.kernel`."""
    return next(path for path in (kernel / "lib/modules").iterdir() if path.is_dir())


def lay_modules(kernel: Path, root: Path) -> None:
    """Put what the board needs into its root file system."""
    tree = version_tree(kernel)
    place = root / "usr/lib/modules" / tree.name
    for file in needed(tree, DISK + REST):
        target = place / file.relative_to(tree)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    for name in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        if (tree / name).exists():
            shutil.copy(tree / name, place)
    subprocess.run(["depmod", "-b", root, tree.name], check=True, capture_output=True)


def make_initrd(kernel: Path, folder: Path, path: Path) -> None:
    """An initrd that mounts /dev/vda and hands over to it.

    Args:
        folder: empty, for its content.
    """
    for name in ("bin", "dev", "root", "modules"):
        (folder / name).mkdir()
    shutil.copy(kernel / "bin/busybox", folder / "bin")
    files = needed(version_tree(kernel), DISK)
    for file in files:
        shutil.copy(file, folder / "modules")
    (folder / "order").write_text("\n".join(file.name for file in files) + "\n")
    (folder / "init").write_text(INIT)
    (folder / "init").chmod(0o755)
    names = "\n".join(str(entry.relative_to(folder)) for entry in sorted(folder.rglob("*")))
    with path.open("wb") as file:
        command = ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"]
        subprocess.run(command, cwd=folder, input=names.encode(), stdout=file, check=True)
