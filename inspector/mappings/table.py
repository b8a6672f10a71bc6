"""Mappings as named columns, in bulk: what is exported and what SQL is asked of.

A :class:`Batch` is a table of named columns, whoever it is of; :func:`tabulate` makes one of ranges or of leaves. Names
and meanings are those of the objects of ``maps --json``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from inspector.mappings.ranges import Ranges
from inspector.mappings.select import Span, covered
from inspector.radix.bits import (
    ATT_NAMES,
    PTE_ATT,
    PTE_C,
    PTE_EXEC,
    PTE_PRIVILEGED,
    PTE_R,
    PTE_READ,
    PTE_RPN,
    PTE_WRITE,
)
from inspector.radix.columns import NO_PID, U8, U64, Bools, Columns
from inspector.radix.formats import PTE

Kind = Literal["address", "number", "huge", "real", "truth", "word", "other"]
"""What is in a column: unsigned 64 bits that are shown in hex; an integer of 64 bits with sign; a larger one; one with
a fraction; true or false; text; anything else."""
ROWS = 1 << 16
"""Rows that are made into a table together."""


class Region(Protocol):
    """Effective addresses from ``start`` up to ``end``, called ``name``."""

    @property
    def name(self) -> str: ...
    @property
    def start(self) -> int: ...
    @property
    def end(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Field:
    """A column's name, and what is in it."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """A column of ``field``: ``values`` as integers or truths, or text in an array of objects; with ``words`` they are
    codes, each the index of its word, where None is for nothing. ``known`` is False where there is no value, None
    where there always is. ``few`` says that few different values are to be expected."""

    field: Field
    values: NDArray[Any]
    words: tuple[str | None, ...] = ()
    known: Bools | None = None
    few: bool = False

    def at(self, row: int) -> Any:
        """The value of one row as plain Python, None where there is none."""
        if self.known is not None and not self.known[row]:
            return None
        value = self.values[row]
        return self.words[int(value)] if self.words else value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Rows of columns of one length."""

    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.columns[0].values)

    @property
    def fields(self) -> tuple[Field, ...]:
        """What the columns are."""
        return tuple(column.field for column in self.columns)

    def column(self, name: str) -> Column:
        """The column of this name."""
        return next(each for each in self.columns if each.field.name == name)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Every row as plain Python values."""
        return (tuple(column.at(row) for column in self.columns) for row in range(len(self)))


@dataclass(frozen=True, slots=True)
class Rows:
    """The same of rows that are plain Python values already, as a query answers."""

    fields: tuple[Field, ...]
    values: Sequence[tuple[Any, ...]]

    def __len__(self) -> int:
        return len(self.values)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Every row."""
        return iter(self.values)


FIELDS = (
    Field("lpid", "number"),
    Field("pid", "number"),
    Field("ea", "address"),
    Field("size", "number"),
    Field("ra", "address"),
    Field("gra", "address"),
    Field("page_shift", "number"),
    Field("count", "number"),
    Field("read", "truth"),
    Field("write", "truth"),
    Field("execute", "truth"),
    Field("privileged", "truth"),
    Field("accessed", "truth"),
    Field("dirty", "truth"),
    Field("attribute", "word"),
    Field("raw_flags", "address"),
    Field("unknown_flags", "address"),
    Field("ra_is_ram", "truth"),
    Field("region", "word"),
)
"""The columns of ranges, in order."""
LEAF_FIELDS = (*FIELDS, Field("entry_address", "address"))
"""Those of leaves: the real address of the entry too."""
ATTRIBUTE_WORDS = tuple(ATT_NAMES[code << 4] for code in range(4))


def fields_of(mapped: Ranges | Columns) -> tuple[Field, ...]:
    """The columns that :func:`tabulate` makes of these."""
    return LEAF_FIELDS if isinstance(mapped, Columns) else FIELDS


def tabulate(mapped: Ranges | Columns, ram: Sequence[Span], regions: Sequence[Region]) -> Batch:
    """The columns of ranges (FIELDS) or of leaves (LEAF_FIELDS), a row for each. ``ram`` is what is RAM, in order and
    disjoint, as RamMap.spans gives it, and so are ``regions``, as :data:`inspector.linux.regions.REGIONS`. A
    partition-scoped tree has neither a PID nor a region."""
    ea, ra, flags, shift = mapped.ea, mapped.ra, mapped.flags, mapped.shift
    size = _alike(mapped.size)
    pids = np.array([NO_PID if each.pid is None else each.pid for each in mapped.roots], np.int32)
    lpids = np.array([each.lpid for each in mapped.roots], np.int32)
    root = mapped.root
    pid = _of_roots(pids, root)
    owned: Bools | None = None if bool((pids != NO_PID).all()) else pid != NO_PID
    count = mapped.count if isinstance(mapped, Ranges) else np.broadcast_to(np.uint64(1), len(mapped))
    region = _regions(ea, regions)
    values: list[NDArray[Any]] = [
        _of_roots(lpids, root),
        pid,
        ea,
        size,
        ra,
        np.broadcast_to(np.uint64(0), len(mapped)) if mapped.gra is None else mapped.gra,
        shift,
        count,
        _any(flags, PTE_READ | PTE_WRITE),
        _any(flags, PTE_WRITE),
        _any(flags, PTE_EXEC),
        _any(flags, PTE_PRIVILEGED),
        _any(flags, PTE_R),
        _any(flags, PTE_C),
        ((flags & np.uint64(PTE_ATT)) >> np.uint64(4)).astype(np.uint8),
        flags,
        _alike(flags & np.uint64((1 << 64) - 1 & ~PTE.mask | PTE_RPN)),
        covered(ra, size, ram),
        region if owned is None else np.where(owned, region, np.uint8(0)),
    ]
    if isinstance(mapped, Columns):
        values.append(mapped.address)
    words = {"attribute": ATTRIBUTE_WORDS, "region": (None, *(each.name for each in regions))}
    many = ("ea", "size", "ra", "gra", "count", "entry_address")
    known = {"pid": owned, "gra": np.zeros(len(mapped), np.bool_) if mapped.gra is None else None}
    return Batch(
        tuple(
            Column(each, column, words.get(each.name, ()), known.get(each.name), each.name not in many)
            for each, column in zip(fields_of(mapped), values, strict=True)
        )
    )


def in_batches(
    mapped: Ranges | Columns, ram: Sequence[Span], regions: Sequence[Region], rows: int = ROWS
) -> Iterator[Batch]:
    """The same, ``rows`` at a time, so that no more than those are held beside what is there."""
    for at in range(0, len(mapped), rows):
        yield tabulate(mapped.take(slice(at, at + rows)), ram, regions)


def words_of(field: Field, texts: Sequence[str | None]) -> Column:
    """A column of text, which may be anything and mostly differs."""
    values = np.empty(len(texts), object)
    values[:] = texts
    known = np.array([text is not None for text in texts], np.bool_)
    return Column(field, values, known=None if known.all() else known)


def numbers_of(field: Field, numbers: Sequence[int | None]) -> Column:
    """A column of numbers or addresses, some of which may be missing."""
    known = np.array([number is not None for number in numbers], np.bool_)
    values = np.array([number or 0 for number in numbers], np.uint64 if field.kind == "address" else np.int64)
    return Column(field, values, known=None if known.all() else known)


def _any(flags: U64, mask: int) -> Bools:
    found: Bools = flags & np.uint64(mask) != 0
    return found


def _of_roots(values: NDArray[np.int32], root: NDArray[np.uint32]) -> NDArray[np.int32]:
    """A value of each row's tree; where all trees have the same, it is kept once."""
    if len(values) and (values == values[0]).all():
        return np.broadcast_to(values[0], root.shape)
    return values[root]


def _alike(values: U64) -> U64:
    """The same values, kept once where they do not differ."""
    if len(values) and bool((values == values[0]).all()):
        return np.broadcast_to(values[0], values.shape)
    return values


def _regions(ea: U64, regions: Sequence[Region]) -> U8:
    """Which of ``regions`` each effective address lies in, counted from 1; 0 is none."""
    at = np.searchsorted(np.array([region.start for region in regions], np.uint64), ea, side="right")
    ends = np.array([0, *(region.end for region in regions)], np.uint64)
    return np.where(ea < ends[at], at, 0).astype(np.uint8)
