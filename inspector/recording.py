"""What of a guest goes into a snapshot: by default what its page tables need, a few KiB compressed.

Captured are the tables themselves, in whole 4 KiB pages: the partition table's and the process table's live pages and
every directory and last-level table that is reachable from them, those of a hypervisor's guests wherever the host has
put them. Parts of a process table that hold nothing are kept as known zeros, so that "no such PID" can be told from
"not captured" later. Whoever needs more names it, with what it is in words (:class:`Share`), and a snapshot says what
there is of each kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from inspector import partitions, processes
from inspector.capture import PAGE, Capture, take, take_all, take_exactly, without
from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.memory.physical import PhysicalMemory, RamMap, Range
from inspector.radix.bits import (
    ENTRY_BYTES,
    MSR_LE,
    PATE0_HR,
    PTCR_PATB,
    PTCR_PATS,
    RPDB_MASK,
    table_bytes,
)
from inspector.radix.tree import Table, walk_tree
from inspector.roots import LINEAR_MAP
from inspector.snapshot.manifest import Content
from inspector.snapshot.recording import Recording, Run
from inspector.trees import Tree

if TYPE_CHECKING:
    from inspector.partitions import Partition
    from inspector.snapshot.write import Summary
    from inspector.whatif import WhatIf

LASTING = ("machine", "qemu", "gdb", "whatif")
"""What a target says of where it comes from that a snapshot keeps."""

GUESTS_SHARE = 2
"""The tables of all guests together are looked at for so many times what RAM there is: each lies in RAM of its own, and
only broken ones claim more."""
TREES = 4096
"""Trees of a guest's that are swept together."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a snapshot is to hold beside the page tables: a slug, what it is in words, and where it is, as (address,
    size); ``whole`` are the pages of it, and else these very bytes alone. ``cut`` says that there is more than is
    kept, where there is."""

    kind: str
    text: str
    spans: tuple[tuple[int, int], ...]
    whole: bool = False
    cut: str = ""


@dataclass(frozen=True, slots=True)
class More:
    """What else a snapshot is to hold: shares of RAM, the first that has some bytes counting them; the devices and what
    triage sampled, as JSON values; and ``moments``, at how many the registers were taken, as words."""

    shares: tuple[Share, ...] = ()
    virtio: Mapping[str, Any] | None = None
    triage: Mapping[str, Any] | None = None
    moments: str = ""


NO_MORE = More()


def capture_tables(guest: Guest, also: Iterable[tuple[int, int]] = ()) -> Capture:
    """Read what the page tables need, and ``also`` (address, size).

    What cannot be read is noted and passed over; only a target that is lost raises (TargetError)."""
    taken = Capture()
    if guest.roots.state == "radix":
        _take_tables(guest, taken)
    seen: set[int] = set()
    for each in partitions.made(guest).values():
        _take_tree(guest, taken, seen, each.entry)
    for address, size in also:
        take_all(guest.memory, taken, address, size)
    return taken


def _take_changes(whatif: WhatIf, taken: Capture) -> None:
    """What a what-if changed, reachable from its tables or not, and the rest of its pool as zeros."""
    for at in sorted({change.address // PAGE * PAGE for change in whatif.overlay.changes()}):
        take(whatif.memory, taken, at, PAGE)
    pool = whatif.pool_range
    kept = RamMap(Range(at, PAGE) for at in taken.pages if pool.start <= at < pool.end)
    taken.zero_spans += without(pool, kept)


def _take_tables(guest: Guest, taken: Capture) -> None:
    seen: set[int] = set()
    if guest.roots.ptcr is not None:
        _take_partition_table(guest, taken, seen, guest.roots.ptcr)
    base, size = guest.process_table()
    take_all(guest.memory, taken, base, size, lambda done: guest.progress("reading the process table", done, size))
    for process in guest.processes():
        _take_tree(guest, taken, seen, process.entry)
    _take_guests(guest, taken)


def _take_partition_table(guest: Guest, taken: Capture, seen: set[int], ptcr: int) -> None:
    """The partition table, and the host's own partition-scoped tree, which translates its process table's address."""
    base, size = ptcr & PTCR_PATB, table_bytes(ptcr & PTCR_PATS)
    take_all(guest.memory, taken, base, size)
    for address, page in sorted(taken.pages.items()):
        if page is None or not base <= address < base + size:
            continue
        for at in range(0, len(page), ENTRY_BYTES):
            entry = int.from_bytes(page[at : at + 8], "big")
            if entry & PATE0_HR and entry & RPDB_MASK:
                _take_tree(guest, taken, seen, entry)


def _take_tree(guest: Guest, taken: Capture, seen: set[int], root: int) -> None:
    for found in walk_tree(guest.memory.read, root, once=seen):
        if isinstance(found, Table):
            if found.readable:
                take(guest.memory, taken, found.address, found.length)
            else:
                for start, end in guest.memory.ram.within(found.address, found.length):
                    taken.unreadable[start] = end - start


def _take_guests(guest: Guest, taken: Capture) -> None:
    """The process tables and trees of the hypervisor's guests, as far as the host has anything behind them."""
    left = GUESTS_SHARE * guest.memory.ram.total
    for entry in partitions.of_guests(guest):
        if left <= 0:
            taken.cut.append(entry.lpid)
            continue
        try:
            partition = guest.partition(entry.lpid)
        except UsageError:  # gone meanwhile
            continue
        left -= partition.spaces.sweep.nbytes
        if left > 0:
            left = _take_guest(guest, taken, partition, left)
        if (left <= 0 or partition.spaces.too_large) and entry.lpid not in taken.cut:
            taken.cut.append(entry.lpid)


def _take_guest(guest: Guest, taken: Capture, partition: Partition, left: int) -> int:
    """One guest's, of at most ``left`` bytes: how many are left then."""
    from inspector.limits import affordable
    from inspector.radix.sweep import sweep
    from inspector.spaces import TOO_LARGE

    behind, limits = partition.behind, affordable()
    base, size = partition.process_table
    held = []
    for gra, ra, whole in behind.within(base, size):
        length = min(whole, left)
        take_all(guest.memory, taken, ra, length)
        held.append(Range(gra, length))
        left -= length
        if left <= 0:
            return left
    table = PhysicalMemory(partition.memory.source, RamMap(held), guest.target.clock)
    live = processes.scan(table, base, size, None, guest.progress)
    while some := list(islice(live, TREES)):
        roots = [Tree.of(each, partition.lpid).to_sweep() for each in some]
        memory, few = guest.memory, replace(limits, oddities=1, table_bytes=min(left, limits.table_bytes))
        swept = sweep(memory.read_runs, roots, few, windows=memory.windows, through=behind)
        if swept.findings.counts[TOO_LARGE] and partition.lpid not in taken.cut:
            taken.cut.append(partition.lpid)
        found = swept.tables()
        for address, length in zip(found.address.tolist(), found.length.tolist(), strict=True):
            left -= length
            for _, ra, part in behind.within(address, length):
                take(memory, taken, ra, part)
        if left <= 0:
            return left
    return left


def recording_of(
    guest: Guest, *, everything: bool = False, also: Iterable[tuple[int, int]] = (), more: More = NO_MORE
) -> Recording:
    """Everything that a snapshot of this guest is to hold; with ``everything``, RAM is read as the file is written."""
    from datetime import UTC, datetime

    from inspector.snapshot.manifest import CpuRecord, RootsRecord

    cpus = []
    for cpu in guest.target.cpus:
        registers = guest.registers(cpu)
        msr = registers.get("msr")
        order = None if msr is None else "little" if msr & MSR_LE else "big"
        cpus.append(CpuRecord(cpu, registers.values, order))
    order = _kernel_order(guest, [cpu.registers.get("msr") for cpu in cpus])
    roots = guest.roots
    whatif = guest.whatif
    taken, contents = (Capture(), []) if everything else _take_shares(guest, also, more.shares)
    if whatif is not None:
        before = taken.size
        _take_changes(whatif, taken)
        contents.append(Content("overlay", taken.size - before, "what the overlay changed, and room for its tables"))
    runs = list(taken.runs())
    if everything:
        spans = _besides(guest, taken)
        read = _watched(guest, spans)
        runs += [Run(start, end - start, read) for start, end in spans]
        size = sum(end - start for start, end in spans)
        contents.append(Content("ram", size, "all RAM: whatever the kernel and its programs have in memory"))
    vmcoreinfo = _vmcoreinfo(guest, order, everything) if roots.state == "radix" else None
    return Recording(
        byte_order=order,
        runs=runs,
        zeros=list(taken.zeros()),
        ram=guest.memory.ram.ranges,
        cpus=cpus,
        unreadable=sorted(taken.unreadable.items()),
        roots=RootsRecord(roots.process_table, roots.how, roots.sure) if roots.process_table is not None else None,
        machine={
            **_provenance(guest),
            **({"guests_cut": taken.cut} if taken.cut else {}),
            **({} if whatif is None else {"whatif": whatif.as_json()}),
        },
        vmcoreinfo=vmcoreinfo,
        linear_base=LINEAR_MAP if roots.state == "radix" else None,
        recorded_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        contents=[*contents, *_told(len(cpus), more, vmcoreinfo)],
        virtio=more.virtio,
        triage=more.triage,
    )


def _take_shares(
    guest: Guest, also: Iterable[tuple[int, int]], shares: Sequence[Share]
) -> tuple[Capture, list[Content]]:
    """Capture the page tables and all else that was asked for; how much there is of each."""
    taken = capture_tables(guest)
    contents = [Content("tables", taken.size, "page tables, and what lies in the same pages of 4K")]
    named = Share("named", "what --also named", tuple(also), whole=True)
    for share in (named, *sorted(shares, key=lambda each: not each.whole)):  # whole pages first
        before = taken.size
        if share.whole:
            for address, size in share.spans:
                take_all(guest.memory, taken, address, size)
        else:
            take_exactly(guest.memory, taken, share.spans)
        if taken.size > before or share.cut:
            said = f"{share.text}; {share.cut}" if share.cut else share.text
            contents.append(Content(share.kind, taken.size - before, said))
    return taken, contents


def _told(cpus: int, more: More, vmcoreinfo: bytes | None) -> list[Content]:
    """What there is beside RAM."""
    moments = more.moments or "at one moment"
    told = [Content("registers", 0, f"the registers of {cpus} vCPU{'s' * (cpus != 1)} {moments}")]
    if more.virtio is not None:
        what = "what QEMU says of the virtio devices: status, features, where their rings are"
        told.append(Content("virtio", 0, what if more.virtio.get("devices") else "that it has no virtio devices"))
    if vmcoreinfo is not None:
        what = "the kernel's VMCOREINFO: its release, and where some of its variables are"
        told.append(Content("vmcoreinfo", len(vmcoreinfo), what))
    return told


def _provenance(guest: Guest) -> dict[str, Any]:
    """What of the target's own words still means something elsewhere, and what wrote the file."""
    from inspector import __version__

    told = {name: value for name, value in guest.target.machine.items() if name in LASTING}
    return {**told, "inspector": __version__, **({"changing": True} if guest.running else {})}


def _besides(guest: Guest, taken: Capture) -> list[tuple[int, int]]:
    """(start, end) of the RAM that is not captured yet."""
    mine = [*taken.zeros(), *((run.address, run.size) for run in taken.runs())]
    held = RamMap(Range(*each) for each in mine)
    return [left for start, end in guest.memory.ram.spans() for left in without(Range(start, end - start), held)]


def _watched(guest: Guest, spans: Sequence[tuple[int, int]]) -> Callable[[int, int], bytes]:
    """The guest's memory, telling how far the reading of all its spans is."""
    total = sum(end - start for start, end in spans)
    done = 0

    def read(address: int, length: int) -> bytes:
        nonlocal done
        data = guest.memory.read(address, length)
        done += length
        guest.progress("reading RAM", done, total)
        return data

    return read


def _kernel_order(guest: Guest, msrs: Sequence[int | None]) -> Literal["little", "big"]:
    """The guest's byte order: its kernel image's, else that of most vCPUs (firmware is big-endian)."""
    if guest.symbols is not None:
        return guest.symbols.byte_order
    known = [bool(msr & MSR_LE) for msr in msrs if msr is not None]
    return "little" if 2 * sum(known) > len(known) else "big"


def record(
    guest: Guest, path: str, *, everything: bool = False, also: Iterable[tuple[int, int]] = (), force: bool = False
) -> tuple[Recording, Summary]:
    """Write a snapshot of this guest to ``path``: what its page tables need, ``also`` (address, size), or all RAM.

    A name that ends in .gz or .zst is packed; a file that is there is replaced with ``force`` only. Raises RecordError,
    and leaves nothing behind then, and TargetError where the guest is lost."""
    from inspector.snapshot.write import write_snapshot

    recording = recording_of(guest, everything=everything, also=also)
    return recording, write_snapshot(path, recording, force=force)


def _vmcoreinfo(guest: Guest, order: Literal["little", "big"], everything: bool) -> bytes | None:
    """The kernel's VMCOREINFO, by its symbols, or by a search where RAM is cheap to read or is read as a whole."""
    from inspector.linux import vmcoreinfo

    found = guest.target.vmcoreinfo
    if found is None and guest.symbols is not None:
        found = vmcoreinfo.by_symbols(guest.memory, guest.symbols)
    if found is None and (guest.memory.source.cheap or everything):
        told = partial(guest.progress, "searching RAM for VMCOREINFO")
        found = vmcoreinfo.by_search(guest.memory, order, told)
    return found
