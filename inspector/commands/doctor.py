"""``doctor``: what is there, what is missing, which version, and what each gives."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.registry import Command, Example, Session, no_arguments
from inspector.doctor import Finding, examine


@dataclass(frozen=True, slots=True)
class Examined:
    """Everything that was looked for."""

    topic: ClassVar[str] = "doctor"
    findings: tuple[Finding, ...]

    @property
    def ok(self) -> bool:
        """Whether all that the inspector itself cannot do without is there."""
        return all(each.present for each in self.findings if each.needed)


def _doctor(_session: Session, _arguments: Namespace) -> Iterator[Examined]:
    yield Examined(tuple(examine()))


COMMANDS = (
    Command(
        "doctor",
        "what is there, what is missing, and the line that gets it",
        _doctor,
        no_arguments,
        (Example("doctor", "the exit status is 0 where nothing that is needed is missing"),),
    ),
)
