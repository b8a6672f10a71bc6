"""scripts/run live: boot a guest, attach the inspector to it, and leave nothing behind.

python -P -m scripts.live [--guest KIND] [WORDS…]     WORDS go to the inspector, after its target"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from inspector.cli import LEAVING, split
from inspector.commands.line import parse_line
from inspector.commands.registry import parse
from inspector.errors import InspectorError, UsageError
from scripts.guestpackages import guest_files
from scripts.guests import Machine
from scripts.kinds import KINDS
from scripts.system import ensure, guest_tools

USAGE = """\
usage: scripts/run live [--guest KIND] [OPTIONS] [COMMAND WORDS…]

Boots a guest under QEMU, attaches to it, and stops it afterwards. No command: the REPL.
KIND is one of
"""
ENDING = (signal.SIGTERM, signal.SIGHUP)
PATIENCE = 10.0
"""Seconds that the inspector gets to end by itself once it was told to."""


def main(words: list[str]) -> int:
    """Exit status: the inspector's own; 2 the words were wrong; 3 no guest could be booted."""
    for number in ENDING:
        signal.signal(number, leave)
    try:
        kind, words = chosen(words)
        if asks_for_help(words):
            print(USAGE + "".join(f"  {each.name:<17} {each.what}\n" for each in KINDS.values()), end="")
            return 0
        ensure(guest_tools(), say)
        files = guest_files(say) if KINDS[kind].linux else None
        with Machine(kind, files=files) as machine:
            return attach(machine, words)
    except KeyboardInterrupt:
        say("stopped before the guest was ready")
        return 128 + signal.SIGINT
    except InspectorError as error:
        say(str(error))
        return error.exit_status


def chosen(words: list[str]) -> tuple[str, list[str]]:
    """The kind of guest that ``words`` ask for, and the words that remain."""
    if words[:1] != ["--guest"]:
        return "pseries-p9", words
    if len(words) < 2 or words[1] not in KINDS:
        raise UsageError(f"--guest wants the kind of guest to boot: {', '.join(KINDS)}")
    return words[1], words[2:]


def asks_for_help(words: list[str]) -> bool:
    """Whether they ask for help alone. Raises UsageError where a command in them is wrong: why boot for that?"""
    parsed = split(["gdb:guest", *words])
    if parsed.help:
        return True
    if parsed.command:
        parse(parsed.command)
    for kind, text in parsed.scripted:
        line = parse_line(text) if kind == "-c" else None
        if line is not None and line.words[0] not in LEAVING:
            parse(line.words)
    return False


def attach(machine: Machine, words: list[str]) -> int:
    """Wait for the guest and run the inspector on it; its exit status."""
    say(f"booting a guest ({machine.kind.name}: {machine.kind.what})")
    with Progress() as progress:
        machine.wait_ready(progress=progress)
    return look(machine, words)


def look(machine: Machine, words: list[str]) -> int:
    """Run the inspector on a guest that is ready; its exit status."""
    command = [str(Path(sys.executable).with_name("inspector")), machine.target, "--ram", str(machine.ram_file)]
    if machine.files is not None:  # firmware has no kernel image
        command += ["--vmlinux", str(machine.vmlinux)]
    # Ctrl-C is the inspector's: it reaches both of us, and a handler (unlike SIG_IGN) is not inherited.
    before = signal.signal(signal.SIGINT, lambda *_: None)
    # Who is told to end while it starts ends it as well: it is not known before Popen returns.
    told: list[int] = []
    ending = {number: signal.signal(number, lambda got, _: told.append(got)) for number in ENDING}
    child = subprocess.Popen([*command, *words])
    try:
        for number, handler in ending.items():
            signal.signal(number, handler)
        if told:
            leave(told[0], None)
        status = child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        signal.signal(signal.SIGINT, before)
    return status if status >= 0 else 128 - status


class Progress:
    """The seconds of a wait: counted in place on a terminal, a dot each elsewhere; the line ends with the wait."""

    def __init__(self) -> None:
        self.seconds = 0
        self.terminal = sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.seconds:
            print(file=sys.stderr, flush=True)

    def __call__(self, spent: float) -> None:
        if int(spent) > self.seconds:
            self.seconds = int(spent)
            print(f"\r  {self.seconds} s" if self.terminal else ".", end="", file=sys.stderr, flush=True)


def leave(number: int, _: FrameType | None) -> None:
    """Unwind, so that the guest is stopped and its folder removed."""
    raise SystemExit(128 + number)


def say(text: str) -> None:
    """Tell the user; standard output is the inspector's."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
