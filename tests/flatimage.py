"""The small pseries guest as files that the command line opens."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes import CHUNK, RAM_BYTES, REGISTERED, linux_target


def flat_image(folder: Path) -> list[str]:
    """The words of a target: the small pseries guest as a flat image with its registers."""
    target = linux_target()
    with (folder / "ram").open("wb") as file:
        file.truncate(RAM_BYTES)
        for number, chunk in target.source.chunks.items():
            file.seek(number * CHUNK)
            file.write(chunk)
    cpus = [{name: f"{value:#x}" for name, value in known.values.items()} for known in target.files.values()]
    (folder / "regs.json").write_text(json.dumps({"cpus": cpus}))
    return [f"raw:{folder}/ram", "--regs", f"{folder}/regs.json", "--process-table", f"{REGISTERED:#x}"]
