"""What can be wrong with a tree, each in one sentence: the slugs and words that every walk over whole trees shares."""

from __future__ import annotations

from inspector.radix.bits import TREE_BITS


def tree_name(lpid: int, pid: int | None) -> str:
    """Whose a tree is: a process's, with its partition where that is not LPID 0; or a partition's, ``pid`` None."""
    if pid is None:
        return f"LPID {lpid}"
    return f"PID {pid} of LPID {lpid}" if lpid else f"PID {pid}"


def root_name(root: int) -> str:
    """How a root descriptor is named in a sentence."""
    return f"the root {root:#018x}"


def entry_name(level: int, entry: int, address: int) -> str:
    """How the entry at real address ``address`` is named in a sentence."""
    return f"the level {level} entry {entry:#018x} at {address:#x}"


def tree_size(root: int, covered: int) -> tuple[str, str]:
    """(cause, reason) of a root whose tree does not cover the 52 bits that the processors take."""
    return "tree-size", f"{root_name(root)} describes a tree of {covered} bits, not {TREE_BITS}"


def no_leaf(came_from: str) -> tuple[str, str]:
    """(cause, reason) of a directory at the last level."""
    return "no-leaf", f"{came_from} is a directory where only a leaf may stand"


def table_size(came_from: str, level: int, bits: int) -> tuple[str, str]:
    """(cause, reason) of a next-level size that the processors refuse."""
    return "table-size", f"{came_from} gives a level {level} table of 2^{bits} entries"


def misaligned_base(came_from: str, base: int) -> tuple[str, str]:
    """(cause, reason) of a next-level base whose low bits the hardware drops."""
    return "misaligned-base", f"{came_from} gives a base, {base:#x}, not aligned to its size"


def cycle(came_from: str, base: int) -> tuple[str, str]:
    """(cause, reason) of a table that is reached again from below itself."""
    return "cycle", f"{came_from} leads back to {base:#x}, a table on the way to it"


def too_large(came_from: str) -> tuple[str, str]:
    """(cause, reason) of the first of what is left out because a limit is reached."""
    return "too-large", f"{came_from}: the tree is larger than is told here; the rest is left out"


def unreadable(came_from: str, base: int, slug: str, why: str) -> tuple[str, str]:
    """(cause, reason) of a table that cannot be read."""
    return f"table-{slug}", f"{came_from} leads to {base:#x}: {why}"
