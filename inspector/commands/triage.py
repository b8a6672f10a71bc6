"""``triage``: from a guest that hangs to what keeps it there, in one command."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Note
from inspector.commands.registry import Command, Example, Result, Session
from inspector.commands.seconds import seconds_argument, seconds_of

if TYPE_CHECKING:
    from inspector.guest import Guest
    from inspector.triage.found import Finding


@dataclass(frozen=True, slots=True)
class Triaged:
    """One finding."""

    topic: ClassVar[str] = "triage"
    finding: Finding

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.finding.ok


def triage(guest: Guest, seconds: float | None = None) -> tuple[tuple[Finding, ...], float | None, int]:
    """What is the matter with a guest, the most likely first; for how many seconds it stood still for it (None of a
    recorded one), and how many samples were taken. ``seconds`` is as :func:`inspector.triage.samples.taken` has it."""
    from inspector.triage.catalogue import diagnosed
    from inspector.triage.devices import Watch
    from inspector.triage.evidence import gathered
    from inspector.triage.samples import standing, taken

    watch = Watch(guest)
    with standing(guest):
        sampling = taken(guest, seconds, watch.marks)
        begun = time.monotonic()
        found = diagnosed(gathered(guest, sampling, watch))
        stood = None if sampling.stood is None else sampling.stood + time.monotonic() - begun
    return found, stood, len(sampling.samples)


def _triage(session: Session, arguments: Namespace) -> Iterator[Result]:
    found, stood, samples = triage(session.at, seconds_of(arguments.seconds))
    yield from map(Triaged, found)
    if stood is not None:
        times = "a sample" if samples == 1 else f"{samples} samples"
        yield Note(f"for {times} and what follows from them the guest stood still for {stood * 1000:.0f} ms")


COMMANDS = (
    Command(
        "triage",
        "why does this guest hang",
        _triage,
        seconds_argument,
        (
            Example("triage", "what is the matter, the most likely first"),
            Example("triage --seconds 0", "by one sample: it is not let run"),
        ),
        "Samples the registers of every vCPU, holds the accesses that faulted last to the tables, by the hardware's "
        "walk and by KVM's, and looks for the causes that it knows. Each is told with how sure it is, what it rests "
        "on, and what to do. The guest is let run between samples only if it ran when it was found, and how long it "
        "stood still is told. Of a snapshot there is one sample. Exit status 1: something is wrong.",
    ),
)
