"""The seam through which whole trees are read: many runs of bytes at once, or windows that are read in place.

A reader of runs is asked once for all tables of a level (or of as many as fit a batch), so that a source with a long
way to the guest can ask for them together. A source that has RAM in its own address space gives windows besides, from
which tables are gathered without a word of Python for each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from inspector.errors import MemoryReadError, Unreadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Words = NDArray[np.uint64]

Run = tuple[int, int]
"""(real address, length in bytes)."""
Buffer = bytes | bytearray | memoryview
Window = tuple[int, Buffer]
"""RAM that lies in this process: (real address of its first byte, a multiple of 4096; the bytes)."""

BATCH_BYTES = 8 << 20
"""At most so many bytes of tables are asked for at once."""
CHUNK_BYTES = 512 << 10
"""Tables are decoded in pieces of this many bytes, so that a piece stays in the processor's cache from read to use."""


RUN_WORDS = 2048
"""Where runs of tables have so many entries on average, a call for each is worth it."""


class RunReader(Protocol):
    """Reads runs of RAM."""

    def __call__(self, runs: Sequence[Run], /) -> Sequence[Buffer | MemoryReadError]:
        """For each run its very bytes, or the error that reading it alone would raise; TargetError is raised."""


Gather = Callable[[int, int, "Words"], dict[int, MemoryReadError]]
"""Fills an array (tables x entries, native order) with the tables numbered from the first number to the second. Those
that cannot be read are zeroed and answered with their errors, by their number in the array."""


class TableReader:
    """Gathers tables of one size from windows and from a reader of runs.

    Tables that touch make one run; whether near ones are better read together too is for the reader to say, which
    knows where RAM ends and what a source's way costs."""

    def __init__(self, read_runs: RunReader, windows: Sequence[Window] = ()) -> None:
        self.read_runs = read_runs
        self.windows = windows

    @property
    def batch_bytes(self) -> int:
        """Bytes of tables best asked for in one :meth:`gather`."""
        return CHUNK_BYTES if self.windows else BATCH_BYTES

    def gather(self, addresses: Words, entries: int) -> Gather:
        """How to fetch the tables of so many entries at these addresses, multiples of their size."""
        import numpy as np

        length = 8 * entries
        left: NDArray[np.bool_] | None = None
        parts: list[_FromWindow] = []
        for address, data in self.windows:
            first = -(-address // length) * length
            count = (address + len(data) - first) // length
            if count <= 0:
                continue
            rows = np.frombuffer(data, np.uint64, count * entries, first - address).reshape(count, entries)
            # What lies below the window wraps round and is beyond it too.
            at = (addresses - np.uint64(first)) >> np.uint64(length.bit_length() - 1)
            inside = at < np.uint64(count)
            if left is None and inside.all():
                return _FromWindow(rows, at.view(np.int64)).fill
            where = np.flatnonzero(inside)
            parts.append(_FromWindow(rows, at[where].view(np.int64), where))
            left = ~inside if left is None else left & ~inside
        rest = np.arange(len(addresses)) if left is None else np.flatnonzero(left)

        def fill(first: int, last: int, out: Words) -> dict[int, MemoryReadError]:
            for part in parts:
                part.fill(first, last, out)
            mine = rest[slice(*np.searchsorted(rest, (first, last)))]
            if len(mine) == last - first:
                return self._from_runs(addresses[first:last], out)
            if not len(mine):
                return {}
            some = np.empty((len(mine), entries), np.uint64)
            errors = self._from_runs(addresses[mine], some)
            out[mine - first] = some
            return {int(mine[row]) - first: error for row, error in errors.items()}

        return fill

    def _from_runs(self, addresses: Words, out: Words) -> dict[int, MemoryReadError]:
        """The same by runs: touching tables in one run, and each alone where a run of several cannot be read."""
        import numpy as np

        length = out.shape[1] * 8
        order = np.argsort(addresses, kind="stable")
        ordered = addresses[order]
        apart = np.ones(len(ordered), np.bool_)
        apart[1:] = ordered[1:] - ordered[:-1] > np.uint64(length)
        begin = np.flatnonzero(apart)
        last = np.append(begin[1:], len(ordered)) - 1
        starts = ordered[begin]
        sizes = ordered[last] - starts + np.uint64(length)
        found = self._ask(list(zip(starts.tolist(), sizes.tolist(), strict=True)))
        errors: dict[int, MemoryReadError] = {}
        failed = [at for at, each in enumerate(found) if isinstance(each, MemoryReadError)]
        if failed:
            run = np.cumsum(apart) - 1
            alone = np.flatnonzero(np.isin(run, failed))
            good = np.flatnonzero(~np.isin(run, failed))
            if len(good):
                inner = np.empty((len(good), out.shape[1]), np.uint64)
                kept = [each for each in found if not isinstance(each, MemoryReadError)]
                lengths = np.delete(sizes, failed)
                self._place(kept, np.delete(starts, failed), lengths, ordered[good], inner)
                out[order[good]] = inner
            singles = self._ask([(int(address), length) for address in ordered[alone]])
            for row, each in zip(order[alone].tolist(), singles, strict=True):
                if isinstance(each, MemoryReadError):
                    out[row] = 0
                    errors[row] = each
                else:
                    out[row] = np.frombuffer(each, ">u8")
            return errors
        whole = np.empty_like(out)
        self._place([each for each in found if not isinstance(each, MemoryReadError)], starts, sizes, ordered, whole)
        out[order] = whole
        return errors

    def _place(self, found: list[Buffer], starts: Words, sizes: Words, addresses: Words, out: Words) -> None:
        """Fill ``out`` with the tables at ``addresses`` (ascending), each of which lies in one of the runs."""
        import numpy as np

        joined = found[0] if len(found) == 1 else b"".join(found)
        rows = np.frombuffer(joined, np.uint64).reshape(-1, out.shape[1])
        run = np.searchsorted(starts, addresses, side="right") - 1
        ahead = np.cumsum(sizes) - sizes
        at = (ahead[run] + addresses - starts[run]) // np.uint64(out.shape[1] * 8)
        _FromWindow(rows, at.view(np.int64)).fill(0, len(out), out)

    def _ask(self, runs: list[Run]) -> list[Buffer | MemoryReadError]:
        """What the reader gives; a run of another length than was asked for is as good as none."""
        found = self.read_runs(runs)
        if len(found) != len(runs):
            raise ValueError(f"a reader of runs gave {len(found)} answers to {len(runs)} runs")
        return [
            each
            if isinstance(each, MemoryReadError) or len(each) == length
            else Unreadable(address, length, f"the source gave {len(each):#x} bytes instead; ask again")
            for (address, length), each in zip(runs, found, strict=True)
        ]


class Through(Protocol):
    """What lies behind guest real addresses, asked in bulk; ``page`` is log2 of the smallest page there is."""

    @property
    def page(self) -> int: ...

    def translate(self, addresses: Words, /) -> tuple[Words, NDArray[np.bool_]]:
        """The host real address behind each, and whether there is any."""

    def lacking(self, address: int, length: int, /) -> MemoryReadError:
        """Why there is none behind one."""


class GuestTableReader(TableReader):
    """Gathers tables that lie at guest real addresses, wherever the host has put them.

    A table that is larger than the host's pages is gathered page by page: one of which some pages have nothing behind
    them is told as one that cannot be read, and yet the entries of the others are there, as the hardware has them."""

    def __init__(self, through: Through, read_runs: RunReader, windows: Sequence[Window] = ()) -> None:
        super().__init__(read_runs, windows)
        self.through = through

    def gather(self, addresses: Words, entries: int) -> Gather:
        """As TableReader, with guest real addresses."""
        import numpy as np

        parts = max((8 * entries) >> self.through.page, 1)
        each = entries // parts
        pages = addresses if parts == 1 else _split(addresses, parts, 8 * each)
        host, there = self.through.translate(pages)
        inner = super().gather(host, each)
        if there.all() and parts == 1:
            return inner

        def fill(first: int, last: int, out: Words) -> dict[int, MemoryReadError]:
            rows = out.reshape(-1, each)
            errors: dict[int, MemoryReadError] = {}
            found = there[first * parts : last * parts]
            if found.all():
                failed = inner(first * parts, last * parts, rows)
            else:
                where = np.flatnonzero(found)
                rows[~found] = 0
                failed = self._some(host[first * parts : last * parts], where, rows) if len(where) else {}
                for row in np.flatnonzero(~found).tolist():
                    errors.setdefault(row // parts, self.through.lacking(int(pages[first * parts + row]), 8 * each))
            for row, error in failed.items():
                errors.setdefault(row // parts, error)
            return errors

        return fill

    def _some(self, host: Words, where: NDArray[np.intp], out: Words) -> dict[int, MemoryReadError]:
        """Fill these rows of ``out`` from these of ``host``; errors by row."""
        import numpy as np

        some = np.empty((len(where), out.shape[1]), np.uint64)
        failed = super().gather(host[where], out.shape[1])(0, len(where), some)
        out[where] = some
        return {int(where[row]): error for row, error in failed.items()}


def _split(addresses: Words, parts: int, size: int) -> Words:
    """Each address as that of each of its parts."""
    import numpy as np

    return (addresses[:, None] + np.arange(parts, dtype=np.uint64) * np.uint64(size)).reshape(-1)


class _FromWindow:
    """Tables that are rows of a window: ``at`` is which, and ``where`` which of the tables asked for (None: all)."""

    def __init__(self, rows: Words, at: NDArray[np.int64], where: NDArray[np.intp] | None = None) -> None:
        import numpy as np

        self.rows = rows
        self.swapped = rows.view(">u8")
        self.at = at
        self.where = where
        self.ends = np.flatnonzero(at[1:] - at[:-1] != 1) + 1
        """Where a run of rows that follow each other ends."""
        self.in_runs = (len(self.ends) + 1) * RUN_WORDS <= len(at) * rows.shape[1]

    def fill(self, first: int, last: int, out: Words) -> dict[int, MemoryReadError]:
        """Fill ``out`` with the tables asked for from ``first`` to ``last``, as far as they are here."""
        if self.where is None:
            self._copy(first, last, out)
            return {}
        begin, end = self.where.searchsorted((first, last)).tolist()
        if begin < end:
            some = out[: end - begin].copy()
            self._copy(begin, end, some)
            out[self.where[begin:end] - first] = some
        return {}

    def _copy(self, first: int, last: int, out: Words) -> None:
        """The rows from ``first`` to ``last``. Where runs are long enough to be worth a call each, a run is copied and
        swapped in one pass."""
        if not self.in_runs:
            self.rows.take(self.at[first:last], axis=0, out=out, mode="clip")
            out.byteswap(inplace=True)
            return
        begin, end = self.ends.searchsorted((first, last), side="right").tolist()
        at = first
        for upto in [*self.ends[begin:end].tolist(), last]:
            row = int(self.at[at]) if at < upto else 0
            out[at - first : upto - first] = self.swapped[row : row + upto - at]
            at = upto
