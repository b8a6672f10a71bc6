"""Whole trees, swept breadth first: level by level, all tables of all trees at once, decoded in bulk.

What is found is what :func:`inspector.radix.tree.walk_tree` finds table by table, its oddities and their words
included. A table that several places refer to, in one tree or in several, is read once a level and told as
``shared-table``; one reached again from below itself is a ``cycle`` and not entered; one that serves at two levels is
told as ``shared-levels``. Depth ends with the levels; tables, leaves and bytes with :class:`Limits`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from inspector.radix.columns import Columns, Findings, Limits, Places, Root, SweepOddity, Tables
from inspector.radix.descent import Descent, Progress
from inspector.radix.reading import GuestTableReader, RunReader, TableReader, Through, Window
from inspector.radix.sharing import tell_shared
from inspector.radix.slab import Slab

Kind = TypeVar("Kind", bound=np.generic)
STREAM_TABLES = 1 << 16
"""Last-level tables of a stream that are kept at a time."""


@dataclass
class Sweep:
    """What a sweep found: tables and places by level, from which columns are made. ``interrupted`` where Ctrl-C ended
    it early."""

    roots: tuple[Root, ...]
    slabs: list[Slab] = field(default_factory=list)
    findings: Findings = field(default_factory=lambda: Findings(0))
    interrupted: bool = False

    @property
    def oddities(self) -> list[SweepOddity]:
        """What is wrong with the trees, as far as it is told one by one; ``findings.counts`` counts all."""
        return self.findings.told

    @property
    def nbytes(self) -> int:
        """Bytes of tables and places that are kept."""
        return sum(slab.nbytes for slab in self.slabs)

    @property
    def leaf_count(self) -> int:
        """Leaves, a shared table's at each of its places."""
        return sum(slab.leaf_count for slab in self.slabs)

    def pieces(self) -> Iterator[Columns]:
        """The leaves in pieces, by level from the root down, then by tree and address."""
        for slab in self.slabs:
            yield from slab.pieces()

    def columns(self) -> Columns:
        """All leaves, in that order."""
        slabs = self.slabs
        places = Places(
            np.concatenate([np.zeros(0, np.uint32), *(slab.places.root for slab in slabs)]),
            np.concatenate([np.zeros(0, np.uint64), *(slab.places.offset for slab in slabs)]),
            np.concatenate([np.zeros(0, np.uint64), *(slab.places.address for slab in slabs)]),
        )
        count = self.leaf_count
        place, offset = np.empty(count, np.uint32), np.empty(count, np.uint64)
        entry, shift = np.empty(count, np.uint64), np.empty(count, np.uint8)
        at = ahead = 0
        for slab in slabs:
            for piece in slab.pieces():
                to = slice(at, at + len(piece))
                place[to] = piece.place + np.uint32(ahead)
                offset[to], entry[to], shift[to] = piece.offset, piece.entry, piece.shift
                at = to.stop
            ahead += len(slab.offset)
        return Columns(self.roots, places, place, offset, entry, shift)

    def tables(self) -> Tables:
        """The table pages, each once a level, from the root down."""
        slabs = self.slabs

        def column(of: Callable[[Slab], NDArray[Any]], kind: type[Kind]) -> NDArray[Kind]:
            return np.concatenate([np.zeros(0, kind), *(of(slab) for slab in slabs)]).astype(kind, copy=False)

        return Tables(
            self.roots,
            column(lambda slab: slab.address, np.uint64),
            column(lambda slab: np.full(len(slab.address), slab.level), np.uint8),
            column(lambda slab: np.full(len(slab.address), 8 << slab.bits), np.uint32),
            column(lambda slab: slab.fill, np.uint16),
            column(lambda slab: slab.fill - slab.directories, np.uint16),
            column(lambda slab: slab.references, np.uint32),
            column(lambda slab: slab.first_places[1], np.uint32),
            column(lambda slab: slab.first_places[2], np.uint64),
            column(lambda slab: slab.readable, np.bool_),
        )


def sweep(
    read_runs: RunReader,
    roots: Sequence[Root],
    limits: Limits | None = None,
    *,
    windows: Sequence[Window] = (),
    progress: Progress | None = None,
    keep_partial: bool = False,
    through: Through | None = None,
) -> Sweep:
    """Everything in these trees. ``windows`` are preferred to ``read_runs``, which is asked for tables outside them.

    ``through`` leads from the guest real addresses of process-scoped trees to the host real ones that are read; all
    addresses that are answered are then guest real.

    With ``keep_partial`` Ctrl-C gives what there is so far. What kind of errors ``read_runs`` may answer with, and
    raise, is said there; a table that cannot be read is an oddity."""
    reader = _reader(read_runs, windows, through)
    descent = Descent(tuple(roots), limits or Limits(), reader, progress, keep_partial)
    slabs: list[Slab] = []
    try:
        for slab in descent.slabs():
            slabs.append(slab)
    except KeyboardInterrupt:
        if not keep_partial:
            raise
        descent.interrupted = True
    try:
        tell_shared(descent.roots, slabs, descent.findings)
    except KeyboardInterrupt:
        if not keep_partial:
            raise
        descent.interrupted = True
    return Sweep(descent.roots, slabs, descent.findings, descent.interrupted)


def stream(
    read_runs: RunReader,
    roots: Sequence[Root],
    limits: Limits | None = None,
    *,
    windows: Sequence[Window] = (),
    progress: Progress | None = None,
    findings: Findings | None = None,
    keep_partial: bool = False,
    through: Through | None = None,
) -> Iterator[Columns]:
    """The leaves of these trees in pieces, last-level tables being let go of as soon as they are told: for trees that
    are larger than memory. About 40 bytes are kept for each table that is still to be read, and none for a leaf.

    Pieces are in the order of :class:`Columns`, but that last-level tables which several places refer to may come in
    order of their real addresses. Oddities go to ``findings``; shared tables are not told. With ``keep_partial`` Ctrl-C
    gives what was read until then, and KeyboardInterrupt is raised after it."""
    reader = _reader(read_runs, windows, through)
    descent = Descent(tuple(roots), limits or Limits(), reader, progress, keep_partial)
    if findings is not None:
        descent.findings = findings
    descent.stream_tables = STREAM_TABLES
    for slab in descent.slabs():
        yield from slab.pieces()
    if descent.interrupted:
        raise KeyboardInterrupt


def _reader(read_runs: RunReader, windows: Sequence[Window], through: Through | None) -> TableReader:
    """Of real addresses, or of guest real ones."""
    return TableReader(read_runs, windows) if through is None else GuestTableReader(through, read_runs, windows)
