"""Which process of a host is a guest's VMM, and where it has the guest's memory: inferred from what both map.

KVM has a page of a guest where its VMM has it, so that both trees lead to the same real addresses, and host virtual
less guest real address is one number for each memory slot. Nobody says so in memory that a debugger can rely on
(``kvm->memslots`` moves with every kernel), but the trees do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from inspector.radix.columns import U8, U64, Columns, Rows

if TYPE_CHECKING:
    from inspector.guest import Guest

Signed = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class InferredSlot:
    """At least these ``size`` bytes from guest real ``base`` on are at ``hva`` in the VMM. ``leaves`` say so."""

    base: int
    size: int
    hva: int
    leaves: int

    @property
    def end(self) -> int:
        """One past its last byte."""
        return self.base + self.size


@dataclass(frozen=True, slots=True)
class Vmm:
    """The host's process with radix PID ``pid`` maps ``matched`` of the ``leaves`` that the guest has; ``runner_up`` is
    the most that any other process maps of them. ``slots`` are by guest real address, and each may be larger than what
    is known of it."""

    pid: int
    matched: int
    leaves: int
    runner_up: int
    slots: tuple[InferredSlot, ...]

    @property
    def sure(self) -> bool:
        """Whether it maps most of them, and no other as many."""
        return self.matched > self.runner_up and 2 * self.matched >= self.leaves

    def at(self, address: int) -> InferredSlot | None:
        """The slot that is known to hold this guest real address."""
        return next((slot for slot in self.slots if slot.base <= address < slot.end), None)


def vmm_of(guest: Guest, lpid: int) -> Vmm | None:
    """The VMM of the KVM guest ``lpid`` of a bare machine; None where no process maps what it has, or it has nothing
    yet. Raises UsageError where there is no such guest, or no host to be seen."""
    behind = guest.partition(lpid).spaces.columns
    return infer(behind, guest.spaces(lpid=0).columns) if len(behind) else None


def infer(behind: Columns, host: Columns) -> Vmm | None:
    """The same from leaves: ``behind`` are those of the guest's partition-scoped tree, ``host`` those of the host's own
    processes. One of the guest's counts as mapped where its first byte is."""
    user = host.ea >> np.uint64(62) == 0
    ea, ra, shift, pid = host.ea[user], host.ra[user], host.shift[user], host.pid[user]
    guest_rows, host_rows = _same(behind.ra, ra, shift)
    if not len(guest_rows):
        return None
    chosen, matched, runner_up = _most(guest_rows, pid[host_rows])
    of_it = pid[host_rows] == chosen
    guest_rows, host_rows = guest_rows[of_it], host_rows[of_it]
    gra = behind.ea[guest_rows]
    hva = ea[host_rows] + (behind.ra[guest_rows] - ra[host_rows])
    slots = _slots(gra, behind.size[guest_rows], hva)
    return Vmm(chosen, matched, len(behind), runner_up, slots)


def _same(wanted: U64, ra: U64, shift: U8) -> tuple[Rows, Rows]:
    """Every pair of (row of ``wanted``, row of the leaves) where the leaf at ``ra`` holds that real address."""
    guest_rows, host_rows = [np.empty(0, np.intp)], [np.empty(0, np.intp)]
    order = np.argsort(wanted, kind="stable")  # what is asked in order is found many times faster
    in_order = wanted[order]
    for size in np.unique(shift):
        bits = np.uint64(size)
        rows = np.flatnonzero(shift == size)
        rows = rows[np.argsort(ra[rows], kind="stable")]
        keys, asked = ra[rows] >> bits, in_order >> bits
        first, last = np.searchsorted(keys, asked, "left"), np.searchsorted(keys, asked, "right")
        many = last - first
        which = np.repeat(np.arange(len(wanted)), many)
        within = np.arange(len(which)) - np.repeat(np.cumsum(many) - many, many)
        guest_rows.append(order[which])
        host_rows.append(rows[first[which] + within])
    return np.concatenate(guest_rows), np.concatenate(host_rows)


def _most(guest_rows: Rows, pid: Signed) -> tuple[int, int, int]:
    """The PID that maps the most of the guest's leaves, how many, and how many the next one does."""
    rows = int(guest_rows.max()) + 1
    pairs = np.sort(pid.astype(np.int64) * rows + guest_rows)
    pairs = pairs[np.concatenate(([True], pairs[1:] != pairs[:-1]))]  # once, where it maps a page more than once
    pids, counts = np.unique(pairs // rows, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    runner_up = int(counts[order[1]]) if len(order) > 1 else 0
    return int(pids[order[0]]), int(counts[order[0]]), runner_up


def _slots(gra: U64, size: U64, hva: U64) -> tuple[InferredSlot, ...]:
    """Leaves in the order of their guest real addresses, put together while the distance to the VMM's stays the same.

    A hole in a stretch is taken for memory that the guest has not touched: the VMM keeps just that much room for it.
    Where the VMM has a page twice, the distance that most leaves share is taken."""
    delta = (hva - gra).astype(np.int64)
    values, which, counts = np.unique(delta, return_inverse=True, return_counts=True)
    order = np.lexsort((values[which], -counts[which], gra))
    gra, size, hva, delta = gra[order], size[order], hva[order], delta[order]
    once = np.concatenate(([True], gra[1:] != gra[:-1]))
    gra, size, hva, delta = gra[once], size[once], hva[once], delta[once]
    starts = np.flatnonzero(np.concatenate(([True], delta[1:] != delta[:-1])))
    ends = np.concatenate((starts[1:], [len(gra)]))
    return tuple(
        InferredSlot(
            int(gra[start]),
            int(gra[end - 1] + size[end - 1] - gra[start]),
            int(hva[start]),
            int(end - start),
        )
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
    )
