"""What any command may have to say besides its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.registry import Answered, Result
from inspector.guest import CHANGING, Guest


@dataclass(frozen=True, slots=True)
class Note(Answered):
    """A sentence that should be known beside the answers."""

    topic: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True, slots=True)
class Aside:
    """What is said beside answers whose lines are taken as they are: it goes to standard error."""

    topic: ClassVar[str] = "aside"
    said: Result

    @property
    def ok(self) -> bool:
        """As what is said."""
        return self.said.ok


def limited(told: int, there: int, what: str) -> Note:
    """That only the first are told, and how to be told more; ``what`` they are, in the plural."""
    return Note(f"{told:,} of {there:,} {what} told here; --limit N tells more")


def if_changing(guest: Guest) -> Iterator[Note]:
    """The note that what is shown may not belong together, where the guest runs."""
    if guest.memory.changing:
        yield Note(CHANGING)
