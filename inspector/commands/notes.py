"""What any command may have to say besides its answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from inspector.guest import Guest

CHANGING = "the guest is running: what this shows may be changing"


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence that should be known beside the answers."""

    topic: ClassVar[str] = "note"
    text: str

    @property
    def ok(self) -> bool:
        """It is no finding."""
        return True


def if_changing(guest: Guest) -> Iterator[Note]:
    """The note that what is shown may not belong together, where the guest runs."""
    if guest.memory.changing:
        yield Note(CHANGING)
