"""The answers of ``maps``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.maps import KERNEL_PID, AddressSpace, Mapped, Odd
from inspector.radix.bits import ATT_NAMES, ATT_NON_IDEMPOTENT, ATT_NORMAL
from inspector.render import fields
from inspector.render.style import Style, compact_size, hexadecimal, short_size

SHORT = {**ATT_NAMES, ATT_NORMAL: "", ATT_NON_IDEMPOTENT: "non-idem"}


def text(result: AddressSpace | Mapped | Odd, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, AddressSpace):
        whose = " (the kernel)" if result.pid == KERNEL_PID else ""
        yield style("head", f"PID {result.pid}{whose}") + style("dim", f"  process-table entry {result.entry:#018x}")
    elif isinstance(result, Mapped):
        yield _mapped(result, style)
        if result.run.unknown_flags:
            yield fields.unknown(result.run.unknown_flags, style)
    else:
        more = f" ({result.more} more like this)" if result.more else ""
        told = f"{result.ea:#x}: {result.cause}: {result.reason}{more}"
        yield from style.wrap(told, "  ", kind="bad")


def _mapped(mapped: Mapped, style: Style) -> str:
    run = mapped.run
    pages = f"{run.count}x{compact_size(1 << run.shift)}"
    flags = f"{run.rights}{'p' if run.privileged else '-'} {'R' if run.accessed else '-'}{'C' if run.dirty else '-'}"
    kind = SHORT[run.attribute]
    end = " ".join(word for word in (kind, "" if mapped.in_ram else "not RAM") if word)
    return (
        f"{style('address', f'{mapped.ea:#018x}')} {short_size(run.size):>6} -> "
        f"{style('address', f'{run.ra:#x}'.ljust(15))} {pages:<9} {style('value', flags)} {style('dim', end)}"
    ).rstrip()


def objects(result: AddressSpace | Mapped | Odd) -> Iterator[dict[str, Any]]:
    """An object a run; an oddity is an object with "oddity", its cause."""
    if isinstance(result, Mapped):
        run = result.run
        yield {
            "lpid": result.lpid,
            "pid": result.pid,
            "ea": hexadecimal(result.ea),
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
            "ra_is_ram": result.in_ram,
        }
    elif isinstance(result, Odd):
        yield {
            "oddity": result.cause,
            "reason": result.reason,
            "lpid": result.lpid,
            "pid": result.pid,
            "ea": hexadecimal(result.ea),
            "more": result.more,
        }
