"""What an audit looks at: the trees, and what lies around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from inspector.memory.physical import RamMap
from inspector.radix.columns import Columns, Root
from inspector.radix.reading import RunReader, Window
from inspector.radix.sweep import Sweep

Progress = Callable[[int, int], None]
"""Told how many of how many leaves were looked at."""


class TreeEntry(Protocol):
    """The entry that a tree hangs on, as :class:`inspector.trees.Tree` is: its real address, its two doublewords, and
    what the first of them says."""

    @property
    def address(self) -> int: ...
    @property
    def entry(self) -> int: ...
    @property
    def second(self) -> int: ...
    @property
    def meaning(self) -> str: ...


class Unread(Protocol):
    """What of the process table could not be read, as :class:`inspector.processes.Missed` is."""

    @property
    def length(self) -> int: ...
    @property
    def address(self) -> int: ...


class Subject(Protocol):
    """Address spaces, as :class:`inspector.spaces.Spaces` is: row i among ``roots`` is that of tree i."""

    @property
    def trees(self) -> Sequence[TreeEntry]: ...
    @property
    def roots(self) -> tuple[Root, ...]: ...
    @property
    def sweep(self) -> Sweep: ...
    @property
    def columns(self) -> Columns: ...
    @property
    def ram(self) -> RamMap: ...
    @property
    def table(self) -> tuple[int, int]: ...
    @property
    def missed(self) -> Unread: ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the trees themselves do not say, as far as it is known.

    ``text`` is (start, end) of the kernel's code, real addresses; ``partition_table`` (real address, size in bytes).
    ``read_runs`` and ``windows`` are to read tables again, which entries that are not valid are looked for in."""

    text: tuple[int, int] | None = None
    partition_table: tuple[int, int] | None = None
    read_runs: RunReader | None = None
    windows: Sequence[Window] = ()


NOTHING = Surroundings()
