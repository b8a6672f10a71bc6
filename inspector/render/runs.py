"""A run of pages: the line and the fields that every answer about mappings shares."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from inspector.linux.regions import region_of
from inspector.mappings.runs import Run
from inspector.radix.bits import ATT_NAMES, ATT_NON_IDEMPOTENT, ATT_NORMAL
from inspector.render.style import Style, compact_size, hexadecimal, short_size

SHORT = {**ATT_NAMES, ATT_NORMAL: "", ATT_NON_IDEMPOTENT: "non-idem"}
MIXED_HEAD = f"{'PID':>7} {'EA':<18} {'size':>6} {'real address':<15} page rights"
BEHIND_HEAD = f"{'LPID':>7} {'guest real':<18} {'size':>6} {'real address':<15} page rights"
HOST_AT = 26
"""Columns before what is the host's, on a line of its own."""
LED_ON_HEAD = f"{'PID':>7} {'EA':<18} {'size':>6} {'guest real':<12} {'real address':<12} page rights"
HOLES_HEAD = f"{'PID':>7} {'EA':<18} {'size':>6} {'guest real':<15} rights"

size_text = lru_cache(1 << 12)(short_size)
page_text = lru_cache(1 << 6)(compact_size)


def rights(run: Run) -> str:
    """What it allows and says, in seven characters: ``rwxp RC``."""
    return _rights(run.flags)


def line(run: Run, in_ram: bool, style: Style) -> str:
    """Addresses, size, pages, rights; then what is out of the ordinary."""
    pages = f"{run.count}x{page_text(1 << run.shift)}"
    return (
        f"{style('address', f'{run.ea:#018x}')} {size_text(run.size):>6} -> "
        f"{style('address', f'{run.ra:#x}'.ljust(15))} {pages:<9} {_end(run, in_ram, style)}"
    ).rstrip()


def mixed_line(run: Run, in_ram: bool, style: Style) -> str:
    """The same where those of several processes stand one after the other, under MIXED_HEAD."""
    pid = f"LPID {run.lpid}" if run.pid is None else run.pid
    return (
        f"{pid:>7} {style('address', f'{run.ea:#018x}')} {size_text(run.size):>6} "
        f"{style('address', f'{run.ra:#x}'.ljust(15))} {page_text(1 << run.shift):<4} {_end(run, in_ram, style)}"
    ).rstrip()


def led_on_lines(run: Run, in_ram: bool, style: Style, *, mixed: bool) -> list[str]:
    """The same of what was led on from the guest's own real address to the host's: in two lines where one is not wide
    enough, the second with what is the host's."""
    plain = Style()
    one = " ".join(_led_on(run, in_ram, plain, mixed))
    if len(one.rstrip()) <= style.width:
        return [" ".join(_led_on(run, in_ram, style, mixed)).rstrip()]
    first, second = _led_on(run, in_ram, style, mixed)
    return [first.rstrip(), f"{' ' * HOST_AT}{second}".rstrip()]


def _led_on(run: Run, in_ram: bool, style: Style, mixed: bool) -> tuple[str, str]:
    """What is the guest's, and what is the host's."""
    ea, real = style("address", f"{run.ea:#018x}"), style("address", f"{run.ra:#x}".ljust(12 if mixed else 10))
    own = style("address", f"{run.gra or 0:#x}".ljust(12 if mixed else 10))
    page, end = page_text(1 << run.shift), _end(run, in_ram, style)
    if mixed:
        pid = "" if run.pid is None else run.pid
        return f"{pid:>7} {ea} {size_text(run.size):>6} {own}", f"{real} {page:<4} {end}"
    return f"{ea} {size_text(run.size):>6} -> {own}", f"-> {real} {f'{run.count}x{page}':<8} {end}"


def hole_line(run: Run, style: Style, *, mixed: bool) -> str:
    """What the guest maps and the host has nothing behind: its real address is the guest's, its rights too."""
    ea, real = style("address", f"{run.ea:#018x}"), style("address", f"{run.ra:#x}".ljust(15))
    rights_text = style("value", _rights(run.flags))
    if mixed:
        return f"{'' if run.pid is None else run.pid:>7} {ea} {size_text(run.size):>6} {real} {rights_text}"
    return f"{ea} {size_text(run.size):>6} -> guest real {real} {rights_text}"


def hole(run: Run) -> dict[str, Any]:
    """The fields of a hole for JSON: there is no page, and no real address but the guest's."""
    return {**obj(run, False), "ra": None, "gra": hexadecimal(run.ra), "page_shift": None, "count": None}


def obj(run: Run, in_ram: bool) -> dict[str, Any]:
    """The fields of a run for JSON."""
    region = None if run.pid is None else region_of(run.ea)
    return {
        "lpid": run.lpid,
        "pid": run.pid,
        "ea": hexadecimal(run.ea),
        "size": run.size,
        "ra": hexadecimal(run.ra),
        "gra": hexadecimal(run.gra),
        "page_shift": run.shift,
        "count": run.count,
        **_said(run.flags),
        "ra_is_ram": in_ram,
        "region": None if region is None else region.name,
    }


# What flags say is worked out once for each value that they have: there are few of these however many the runs.


def _of(flags: int) -> Run:
    return Run(0, 0, 0, 0, 0, flags, 1)


@lru_cache(1 << 12)
def _rights(flags: int) -> str:
    run = _of(flags)
    return f"{run.rights}{'p' if run.privileged else '-'} {'R' if run.accessed else '-'}{'C' if run.dirty else '-'}"


@lru_cache(1 << 12)
def _said(flags: int) -> dict[str, Any]:
    run = _of(flags)
    return {
        "read": run.rights.read,
        "write": run.rights.write,
        "execute": run.rights.execute,
        "privileged": run.privileged,
        "accessed": run.accessed,
        "dirty": run.dirty,
        "attribute": ATT_NAMES[run.attribute],
        "raw_flags": hexadecimal(run.flags),
        "unknown_flags": hexadecimal(run.unknown_flags),
    }


def _end(run: Run, in_ram: bool, style: Style) -> str:
    """Rights, and what is out of the ordinary."""
    short = SHORT[run.attribute]
    out = short if in_ram else f"{short} not RAM".lstrip()
    return f"{style('value', _rights(run.flags))} {style('dim', out)}"
