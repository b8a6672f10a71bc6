"""What ``maps --partition --format debugfs`` answers: the very lines of KVM's debugfs file 'radix'.

They are those of debugfs_radix_read (Linux 6.1, arch/powerpc/kvm/book3s_64_mmu_radix.c): addresses and entries in
hexadecimal without a prefix.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.behind import Listing
from inspector.render.style import Style, hexadecimal


def text(result: Listing, _style: Style) -> Iterator[str]:
    """Lines as KVM has them, never coloured: they are to be compared."""
    if result.root is not None:
        yield f"pgdir: {result.root:x}"
    for address, entry, shift in result.leaves:
        yield f" {address:x}: {entry:x} {shift}"


def objects(result: Listing) -> Iterator[dict[str, Any]]:
    """An object for the root directory, and one for each leaf with its raw entry."""
    if result.root is not None:
        yield {"lpid": result.lpid, "pgdir": hexadecimal(result.root)}
    for address, entry, shift in result.leaves:
        yield {"lpid": result.lpid, "ea": hexadecimal(address), "entry": hexadecimal(entry), "page_shift": shift}
