"""Where mappings of the same real memory do not agree: writable by one and executable by another, and the like.

That a user's page is in the kernel's linear map too is how Linux works, so that much of this is as it should be: it
is told, and not judged. Attributes that differ are another thing: the ISA (3.0B, book III, 5.8) leaves it undefined
what an access does where one mapping of it is cached and another is not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inspector.mappings.rights import LETTERS
from inspector.mappings.select import Mapped
from inspector.radix.bits import ATT_NAMES, ATT_NORMAL, PTE_ATT
from inspector.radix.columns import U64, Bools

Kind = Literal["writable-executable", "user-privileged", "attributes"]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Conflict:
    """``size`` bytes of real memory, the first of which is at ``ra``, that two mappings have unlike each other.

    ``one`` and ``other`` are rows of what was looked at that map ``ra``, and what each has that the other need not:
    "writable" and "executable", "user" and "privileged", or names of attributes."""

    kind: Kind
    ra: int
    size: int
    one: int
    other: int
    words: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Layers:
    """Real memory cut where any mapping begins or ends: a row for each stretch, which may be mapped by none.

    Of each stretch how many mappings it has, and how many of them allow what."""

    start: U64
    end: U64
    mappings: Counts
    writable: Counts
    executable: Counts
    both: Counts
    user: Counts
    attributes: tuple[tuple[int, Counts], ...]
    """By attribute (ATT, in place), for each that occurs."""

    @property
    def size(self) -> U64:
        """Bytes of each."""
        return self.end - self.start

    @property
    def mapped(self) -> int:
        """Bytes that anything maps."""
        return int(self.size[self.mappings > 0].sum(dtype=np.uint64))


def layers(mapped: Mapped, start: int = 0, end: int = (1 << 64) - 1) -> Layers:
    """The real memory that these mappings reach, from ``start`` up to ``end``. It costs a sort of their ends."""
    low, high = np.uint64(max(start, 0)), np.uint64(min(end, (1 << 64) - 1))
    ra = mapped.ra
    at = np.concatenate([np.clip(ra, low, high), np.clip(ra + mapped.size, low, high)])
    order = np.argsort(at)
    at = at[order]
    edge = np.ones(len(at), np.bool_)
    edge[:-1] = at[1:] != at[:-1]
    edges = at[edge]
    flags = mapped.flags
    writable, executable = LETTERS["w"](flags), LETTERS["x"](flags)
    kinds: list[int] = np.unique(flags & np.uint64(PTE_ATT)).tolist()

    def counts(which: Bools | None) -> Counts:
        """How many of those mappings each stretch has."""
        steps = np.ones(len(ra), np.int8) if which is None else which.view(np.int8)
        return np.cumsum(np.concatenate([steps, -steps])[order], dtype=np.int64)[edge][:-1]

    return Layers(
        edges[:-1],
        edges[1:],
        counts(None),
        counts(writable),
        counts(executable),
        counts(writable & executable),
        counts(LETTERS["u"](flags)),
        tuple((kind, counts(flags & np.uint64(PTE_ATT) == np.uint64(kind))) for kind in kinds),
    )


def conflicts(mapped: Mapped, found: Layers | None = None) -> list[Conflict]:
    """Where these mappings do not agree, one conflict for each kind; ``found`` are their layers, those of all real
    memory where none are given."""
    return list(_conflicts(mapped, layers(mapped) if found is None else found))


def _conflicts(mapped: Mapped, found: Layers) -> Iterator[Conflict]:
    # One mapping that allows both is no conflict; one more that allows either is.
    several = found.writable + found.executable - found.both >= 2
    unlike = several & (found.writable > 0) & (found.executable > 0)
    flags = mapped.flags
    if unlike.any():
        write, execute = LETTERS["w"](flags), LETTERS["x"](flags)
        yield _conflict("writable-executable", mapped, found, unlike, (write, execute), ("writable", "executable"))
    unlike = (found.user > 0) & (found.user < found.mappings)
    if unlike.any():
        user = LETTERS["u"](flags)
        yield _conflict("user-privileged", mapped, found, unlike, (user, ~user), ("user", "privileged"))
    if len(found.attributes) < 2:
        return
    unlike = np.count_nonzero([counts > 0 for _, counts in found.attributes], axis=0) > 1
    if unlike.any():
        row = int(np.argmax(unlike))
        here = [kind for kind, counts in found.attributes if counts[row] > 0]
        here.sort(key=lambda kind: kind != ATT_NORMAL)
        one, other = here[0], here[-1]
        attribute = flags & np.uint64(PTE_ATT)
        which = attribute == np.uint64(one), attribute == np.uint64(other)
        yield _conflict("attributes", mapped, found, unlike, which, (ATT_NAMES[one], ATT_NAMES[other]))


def _conflict(
    kind: Kind, mapped: Mapped, found: Layers, where: Bools, which: tuple[Bools, Bools], words: tuple[str, str]
) -> Conflict:
    """The conflict of those stretches, with two mappings of the first as an example."""
    ra = int(found.start[np.argmax(where)])
    size = int(found.size[where].sum(dtype=np.uint64))
    here = (mapped.ra <= np.uint64(ra)) & (np.uint64(ra) - mapped.ra < mapped.size)
    ones, others = (np.flatnonzero(here & each).tolist() for each in which)
    # They are two mappings: one that allows both is taken for one side only.
    one = min(set(ones) - set(others), default=ones[0])
    other = min(set(others) - set(ones), default=next((row for row in others if row != one), others[0]))
    return Conflict(kind, ra, size, one, other, words)
