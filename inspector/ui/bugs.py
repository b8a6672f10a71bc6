"""What is done with an exception that nobody expected: it is said in one sentence, and its traceback is kept."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback

VARIABLE = "INSPECTOR_TRACEBACK"
"""Set in the environment, tracebacks are printed instead."""


class Bugs:
    """Keeps the tracebacks of a session in one file of the folder for temporary files, made with the first."""

    def __init__(self) -> None:
        self.path: str | None = None

    def tell(self, error: BaseException, doing: str) -> str:
        """One sentence for the user on ``error``, which came of ``doing`` (a command line)."""
        what = f"{type(error).__name__}: {error}".removesuffix(": ").replace("\n", " ")
        trace = "".join(traceback.format_exception(error))
        where = "its traceback is above"
        if os.environ.get(VARIABLE):
            sys.stderr.write(trace)
        else:
            try:
                where = f"its traceback is in {self._keep(doing, trace)}"
            except OSError:
                where = f"set {VARIABLE}=1 to see its traceback"
        return f"this is a bug in the inspector, which goes on: {what} ({where})"

    def _keep(self, doing: str, trace: str) -> str:
        if self.path is None:
            handle, self.path = tempfile.mkstemp(prefix="inspector-bug-", suffix=".txt")
            os.close(handle)
        with open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"# {doing}\n{trace}\n")
        return self.path
