"""What one operation decided and did, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from inspector.kvm.decisions import DECISIONS


class Tlbie(NamedTuple):
    """One ``tlbie``: its RB, whose guest, and RIC (0: the translations, 1: the page-walk cache)."""

    rb: int
    lpid: int
    ric: int = 0


class Installed(NamedTuple):
    """A leaf that was written: for guest real address ``gpa``, of 2**``shift`` bytes, by its entry's address."""

    gpa: int
    raw: int
    shift: int
    address: int


class Table(NamedTuple):
    """A table that came or went: its real address, its level (0: of leaves, 3: the root)."""

    address: int
    level: int


@dataclass(slots=True)
class Trace:
    """The decisions of one operation as (slug, values that its sentence takes), and what it did besides."""

    path: list[tuple[str, tuple[int, ...]]] = field(default_factory=list)
    tlbie: list[Tlbie] = field(default_factory=list)
    installed: Installed | None = None
    taken: list[Table] = field(default_factory=list)
    freed: list[Table] = field(default_factory=list)

    def say(self, slug: str, *values: int) -> None:
        """One decision more."""
        self.path.append((slug, values))

    @property
    def slugs(self) -> list[str]:
        """The decisions in order, by slug."""
        return [slug for slug, _ in self.path]

    @property
    def sentences(self) -> list[str]:
        """The same in words."""
        return [DECISIONS[slug].format(*values) for slug, values in self.path]
