"""What scripts/test runs once .venv is there: packages, lint, fast tests, live tests, and where the time went.

python -m scripts.suite [--fast] [WORDS…]     WORDS go to pytest"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from inspector.errors import InspectorError
from scripts.guestpackages import guest_files
from scripts.system import ensure, suite_tools

NO_TESTS = 5
"""pytest's exit status where nothing was collected: the words chose tests of the other kind."""


@dataclass
class Timed:
    """The steps that were run: name, exit status, seconds."""

    steps: list[tuple[str, int, float]] = field(default_factory=list)

    def run(self, name: str, step: Callable[[], int]) -> int:
        """Run ``step`` and note what came of it; its exit status."""
        say(f"== {name}")
        began = time.monotonic()
        status = step()
        self.steps.append((name, status, time.monotonic() - began))
        return status

    def program(self, name: str, *words: str) -> int:
        """Run the Python program ``words`` as a step."""
        command = [sys.executable, "-m", *words]
        return self.run(name, lambda: subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode)

    def table(self) -> str:
        """Where the time went, a line a step."""
        lines = [f"{seconds:8.1f} s  {said(status):8} {name}" for name, status, seconds in self.steps]
        return "\n".join([*lines, f"{sum(seconds for _, _, seconds in self.steps):8.1f} s  in all"])


def said(status: int) -> str:
    """An exit status in a word."""
    return {0: "good", NO_TESTS: "no tests"}.get(status, f"status {status}")


def main(words: list[str]) -> int:
    """Exit status: 0 all is well, 1 something failed, 3 something is missing that could not be installed."""
    fast = "--fast" in words
    words = [word for word in words if word != "--fast"]
    timed = Timed()
    if not fast:
        try:
            timed.run("system packages", system_packages)
            timed.run("guests' packages", guests_packages)
        except InspectorError as error:
            say(f"{error} (scripts/test --fast runs the tests that need none)")
            return 3
    lint = [
        timed.program("ruff check", "ruff", "check", "."),
        timed.program("ruff format", "ruff", "format", "--check", "."),
        timed.program("mypy", "mypy"),
    ]
    tests = [timed.program("fast tests", "pytest", "-q", "-n", "2", "-m", "not live", *words)]
    if not fast:
        live = ("pytest", "-v", "-m", "live", "--durations=15", *words)
        tests.append(timed.program("live tests", *live))
    say(timed.table())
    ran = [status for status in tests if status != NO_TESTS]
    return 0 if ran and not any(lint) and not any(ran) else 1


def system_packages() -> int:
    """A step: raises where it fails."""
    ensure(suite_tools(), say)
    return 0


def guests_packages() -> int:
    """A step: raises where it fails."""
    guest_files(say)
    return 0


def say(text: str) -> None:
    """Tell whoever reads the log, in order with what the steps print."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
