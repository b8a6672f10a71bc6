"""Make .venv and install the project into it: what scripts/run and scripts/test do the first time.

    python -P -m scripts.bootstrap ROOT STAMP [EXTRA]

Runs under the system's Python, so it uses the standard library only. The stamp is written last:
whatever is interrupted is done again. Two at once take turns."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from pathlib import Path

LIMIT = 1800.0
"""Seconds for pip: some tens of megabytes over a slow line."""


def main(words: list[str]) -> int:
    """Exit status: 0 it is installed, 3 it could not be."""
    root, stamp, extra = Path(words[0]), words[1], words[2] if len(words) > 2 else ""
    lock = root / ".cache" / "venv.lock"
    try:
        lock.parent.mkdir(exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            return install(root, stamp, extra)
    except OSError as error:
        return say(f".venv could not be made ({error}); make {root} writable, or clone the project to where it is")
    except subprocess.TimeoutExpired:
        return say(f"pip did not end within {LIMIT:g} s; see to the network and try again")


def install(root: Path, stamp: str, extra: str) -> int:
    """Bring ``root``/.venv to where ``stamp`` says it should be."""
    venv = root / ".venv"
    done = venv / ("installed" + (f"-{extra}" if extra else ""))
    if done.exists() and done.read_text().strip() == stamp:  # another was quicker
        return 0
    if not usable(venv, stamp):
        say(f"making {venv} (once)")
        shutil.rmtree(venv, ignore_errors=True)
        made = subprocess.run([sys.executable, "-m", "venv", str(venv)], timeout=LIMIT, check=False)
        if made.returncode:
            return say(f"{sys.executable} -m venv ended with status {made.returncode}; see what it said above")
    say("installing the project into it" + (f" with its {extra!r} extra" if extra else ""))
    target = f"{root}[{extra}]" if extra else str(root)
    pip = [str(venv / "bin/python"), "-m", "pip", "install", "-qq", "--no-input", "--disable-pip-version-check"]
    installed = subprocess.run([*pip, "--editable", target], stdin=subprocess.DEVNULL, timeout=LIMIT, check=False)
    if installed.returncode:
        return say("pip could not install the project; see what it said above, and try again where the network is")
    (venv / "installed").write_text(stamp + "\n")
    done.write_text(stamp + "\n")
    return 0


def usable(venv: Path, stamp: str) -> bool:
    """Whether ``venv`` was made in this very place, by a Python that still runs.

    The scripts of a venv hold its path, so one that was copied or moved is of no use."""
    try:
        before = (venv / "installed").read_text().rsplit(" ", 2)[0]
    except OSError:
        return False
    check = [str(venv / "bin/python"), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
    try:
        return before == stamp.rsplit(" ", 2)[0] and subprocess.run(check, timeout=60, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def say(text: str) -> int:
    """Tell the user, on standard error; the status is that of something missing."""
    print(text, file=sys.stderr, flush=True)
    return 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
