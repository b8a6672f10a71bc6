"""The rules about the process table and its entries."""

from __future__ import annotations

from collections.abc import Iterator

from inspector.mappings.audit.collect import Collector
from inspector.mappings.audit.finding import Finding
from inspector.mappings.audit.judging import guests_own
from inspector.mappings.audit.overlaps import LARGEST
from inspector.mappings.audit.rules import RULES
from inspector.mappings.audit.subject import Subject, TreeEntry
from inspector.radix.bits import MASK64, RPDB_MASK
from inspector.radix.columns import Root
from inspector.radix.descriptors import PRTE0, PRTE1

RESERVED = ~PRTE0.mask & MASK64


def tell_entries(collector: Collector, spaces: Subject) -> None:
    """Reserved bits of the entries of the processes that are looked at."""
    odd = [
        (each, root)
        for each, root in zip(spaces.trees, spaces.roots, strict=True)
        if root.pid is not None and (each.entry & RESERVED or each.second)
    ]
    collector.add("process-entry-reserved", len(odd), (_entry(*each) for each in odd))


def _entry(tree: TreeEntry, root: Root) -> Finding:
    about = RULES["process-entry-reserved"]
    bits = tree.entry & RESERVED
    what = f"reserved bits {bits:#x} of the process-table entry of {root.name} are set"
    entry, address, form = tree.entry, tree.address, PRTE0
    if not bits:
        what = f"the second doubleword of the process-table entry of {root.name} is {tree.second:#x}"
        entry, address, form = tree.second, tree.address + 8, PRTE1
    return Finding(
        about.slug,
        about.severity,
        f"{what}: {about.means}",
        lpid=root.lpid,
        pid=root.pid,
        ea=root.base,
        ra=tree.entry & RPDB_MASK,
        entry=entry,
        entry_address=address,
        meaning=form.decode(entry).meaning,
    )


def tell_table(collector: Collector, spaces: Subject) -> None:
    """The process table itself: its size, where it lies, and what of it could not be read."""
    for rule, what, ra, size in _of_table(spaces):
        about = RULES[rule]
        collector.add(rule, 1, [Finding(rule, about.severity, f"{what}: {about.means}", ra=ra, size=size)])


def _of_table(spaces: Subject) -> Iterator[tuple[str, str, int, int]]:
    """(rule, what is wrong, real address, bytes)."""
    base, size = spaces.table
    if not size:  # no tree hangs on one
        return
    if size > LARGEST:
        yield "process-table-size", f"the process table at {base:#x} is said to have {size:#x} bytes", base, size
    if base % size:
        yield (
            "process-table-misaligned",
            f"the process table at {base:#x} is not aligned to its {size:#x} bytes",
            base,
            size,
        )
    inside = sum(end - start for start, end in spaces.ram.within(base, size))
    if guests_own(spaces.roots):
        inside = size  # what the host has nothing behind could not be read, and the guest may well have it
    if inside < size:
        what = f"{size - inside:#x} bytes of the process table at {base:#x} lie outside RAM"
        yield "process-table-outside-ram", what, base, size
    unread = spaces.missed.length - (size - inside)
    if spaces.missed.length and unread > 0:
        what = f"{unread:#x} bytes of the process table could not be read, the first at {spaces.missed.address:#x}"
        yield "process-table-unread", what, spaces.missed.address, unread
