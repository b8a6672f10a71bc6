"""The lines typed before, kept between sessions where the user's state is kept, and readable by nobody else."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from prompt_toolkit.history import FileHistory, History, InMemoryHistory

FOLDER = "ppc64-inspector"


def history_path() -> Path | None:
    """Where it is kept: ``$XDG_STATE_HOME``, or else ``~/.local/state``. None where there is no home.

    The XDG base directory specification has a path that is not absolute ignored."""
    state = os.environ.get("XDG_STATE_HOME", "")
    if os.path.isabs(state):
        return Path(state) / FOLDER / "history"
    try:
        return Path.home() / ".local" / "state" / FOLDER / "history"
    except RuntimeError:
        return None


class KeptHistory(FileHistory):
    """A history in a file. A file that can no longer be read or written is one that is not kept, and no error."""

    def load_history_strings(self) -> Iterable[str]:
        """The lines, the newest first."""
        try:
            return super().load_history_strings()
        except OSError:
            return ()

    def store_string(self, string: str) -> None:
        """Add a line."""
        try:
            super().store_string(string)
        except OSError:
            return


def open_history() -> History:
    """The kept history, or one for this session alone where it cannot be kept."""
    path = history_path()
    if path is None:
        return InMemoryHistory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return InMemoryHistory()
            os.fchmod(handle, 0o600)
        finally:
            os.close(handle)
    except OSError:
        return InMemoryHistory()
    return KeptHistory(str(path))
