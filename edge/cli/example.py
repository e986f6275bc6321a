"""The example configuration: every key with its default and what it means, all commented out."""

from __future__ import annotations

import inspect
import json
import textwrap

from edge.cli.flags import describe
from edge.config import Settings, keys

HEAD = """\
# emotion-edge settings. Every key is commented out and shows its default; `edge-run --help` has them as flags.
# Check a file with: edge-run --config config.toml --check
"""


def example_config() -> str:
    """The text of `systemd/config.toml`."""
    lines, last = [HEAD], ""
    for section, key, _ in keys():
        settings = getattr(Settings(), section)
        if section != last:
            title = (inspect.getdoc(type(settings)) or "").splitlines()[0]
            lines.append(f"\n# {title}\n[{section}]\n")
            last = section
        default = getattr(settings, key)
        lines += [f"# {line}\n" for line in textwrap.wrap(describe(type(settings), key), 110)]
        lines.append(f"#{key} = {json.dumps('...' if default is None else default)}\n")
    return "".join(lines)
