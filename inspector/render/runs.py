"""A run of pages: the line and the fields that every answer about mappings shares."""

from __future__ import annotations

from typing import Any

from inspector.mappings.runs import Run
from inspector.radix.bits import ATT_NAMES, ATT_NON_IDEMPOTENT, ATT_NORMAL
from inspector.render.style import Style, compact_size, hexadecimal, short_size

SHORT = {**ATT_NAMES, ATT_NORMAL: "", ATT_NON_IDEMPOTENT: "non-idem"}


def rights(run: Run) -> str:
    """What it allows and says, in seven characters: ``rwxp RC``."""
    return f"{run.rights}{'p' if run.privileged else '-'} {'R' if run.accessed else '-'}{'C' if run.dirty else '-'}"


def line(run: Run, in_ram: bool, style: Style) -> str:
    """Addresses, size, pages, rights; then what is out of the ordinary."""
    pages = f"{run.count}x{compact_size(1 << run.shift)}"
    end = " ".join(word for word in (SHORT[run.attribute], "" if in_ram else "not RAM") if word)
    return (
        f"{style('address', f'{run.ea:#018x}')} {short_size(run.size):>6} -> "
        f"{style('address', f'{run.ra:#x}'.ljust(15))} {pages:<9} {style('value', rights(run))} {style('dim', end)}"
    ).rstrip()


def obj(run: Run, in_ram: bool) -> dict[str, Any]:
    """The fields of a run for JSON."""
    return {
        "lpid": run.lpid,
        "pid": run.pid,
        "ea": hexadecimal(run.ea),
        "size": run.size,
        "ra": hexadecimal(run.ra),
        "page_shift": run.shift,
        "count": run.count,
        "read": run.rights.read,
        "write": run.rights.write,
        "execute": run.rights.execute,
        "privileged": run.privileged,
        "accessed": run.accessed,
        "dirty": run.dirty,
        "attribute": ATT_NAMES[run.attribute],
        "raw_flags": hexadecimal(run.flags),
        "unknown_flags": hexadecimal(run.unknown_flags),
        "ra_is_ram": in_ram,
    }
