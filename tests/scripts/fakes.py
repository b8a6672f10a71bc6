"""A PATH on which only what a test puts there is found."""

from __future__ import annotations

import shutil
from pathlib import Path


class Programs:
    """A folder of programs: real ones by name, and stand-ins as shell scripts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def path(self) -> str:
        """For PATH."""
        return str(self.folder)

    def real(self, *names: str) -> None:
        """The machine's own programs of these names."""
        for name in names:
            found = shutil.which(name)
            assert found is not None, name
            (self.folder / name).symlink_to(Path(found).resolve())

    def fake(self, name: str, script: str) -> None:
        """A program that is ``script``, for sh."""
        program = self.folder / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
