"""The page that a bundle carries, for whoever finds it on a board."""

from __future__ import annotations

from pathlib import Path

from converters.deploy.targets import Target
from edge.errors import DeployError


def readme(target: Target, version: str, model: str, checkout: Path) -> str:
    """What it is, what it is for, how it is installed, what nobody has seen run; then the project's own README.

    Raises:
        DeployError: the checkout has none.
    """
    try:
        project = (checkout / "README.md").read_text()
    except OSError as error:
        raise DeployError(f"{error.filename}: cannot be read ({error.strerror}); the checkout is not whole") from None
    lines = [
        f"# emotion-edge {version} for {target.board}",
        "",
        f"Model: {model}. Made for Python {target.python} and glibc {target.glibc}; nothing is downloaded on the board.",
        "",
    ]
    if target.apt:
        lines.append(f"    sudo apt-get install {' '.join(target.apt)}")
    lines += ["    sudo ./install.sh", ""]
    if target.unproven:
        lines += ["Not proven:", "", *(f"- {sentence}" for sentence in target.unproven), ""]
    return "\n".join(lines) + "\n" + project
