"""docs/CONFIG.md, written from the table of keys by ``python -m uniformer_video.config.document``."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from uniformer_video.config.defaults import KEYS
from uniformer_video.runtime.paths import atomic_write

HEADER = """# Configuration keys

Generated from `uniformer_video/config` by `make docs`; a test holds the two together.

A YAML file sets keys by section, a command line by full name: `tools/run_net.py --cfg FILE TRAIN.BATCH_SIZE 8`. A file
may begin with `_BASE_: other.yaml` (a path beside it, or a list of paths) and then says only what differs. Later wins:
defaults, bases, file, command line. Unknown keys, wrong types and keys that contradict each other stop the run at once.
"""


def config_markdown() -> str:
    """Return the text of docs/CONFIG.md: a table for each section with default, allowed values, unit and meaning."""
    lines = [HEADER.rstrip()]
    section = None
    for name, key in KEYS.items():
        here = name.split(".")[0] if "." in name else "The run"
        if here != section:
            section = here
            lines += ["", f"## {section}", "", "| key | default | allowed | unit | meaning |", "|---|---|---|---|---|"]
        default = yaml.safe_dump(key.default, default_flow_style=True).splitlines()[0]
        cells = (f"`{name}`", f"`{default}`", key.kind.describe(), key.unit, key.meaning)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Write docs/CONFIG.md of this checkout (or the path given as the only argument)."""
    default = Path(__file__).resolve().parents[2] / "docs" / "CONFIG.md"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    with atomic_write(path) as file:
        file.write(config_markdown())
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
