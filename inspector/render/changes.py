"""What a comparison answers with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from inspector.commands.changes import Changed, Compared, Of, State, TableChanged, Tally
from inspector.radix.bits import KERNEL_PID
from inspector.radix.oddities import tree_name
from inspector.render import fields, runs
from inspector.render.style import Style, compact_size, counted, hexadecimal, safe, short_size

SIGNS = {"added": ("+", "good"), "removed": ("-", "bad"), "unseen": ("?", "warn")}
TABLE_SIGNS = {"allocated": ("+", "good"), "freed": ("-", "bad"), "unseen": ("?", "warn")}
FATES = {
    "came": "came: it was not there before",
    "went": "went: it is not there any more",
    "replaced": "replaced: another root, so another process has this PID",
    "unseen": "in doubt: part of a process table could not be read",
}
PARTITION_FATES = {
    **FATES,
    "replaced": "replaced: another root, so another guest has this LPID",
    "unseen": "in doubt: part of the partition table could not be read",
}
KINDS_WIDTH = 20
"""Columns left of what was there, up to the real address above."""
OF_THE_SIDE = ("lpid", "pid", "ea", "size")
"""Fields of a run that are the change's own."""


def text(result: Of | Changed | TableChanged | Compared, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Of):
        whose = " (the kernel)" if result.pid == KERNEL_PID else ""
        fates = PARTITION_FATES if result.pid is None else FATES
        fate = f"  {fates[result.change.fate]}" if result.change else ""
        yield style("head", f"{tree_name(result.lpid, result.pid)}{whose}") + style("warn", fate)
    elif isinstance(result, Changed):
        yield from _changed(result, style)
    elif isinstance(result, TableChanged):
        sign, kind = TABLE_SIGNS[result.fate]
        yield (
            f"{style(kind, sign)} {style('address', f'{result.ea:#018x}')} {compact_size(result.length):>6} "
            f"table of level {result.level} at {style('address', f'{result.address:#x}')}"
        )
    else:
        yield from _compared(result, style)


def _changed(result: Changed, style: Style) -> Iterator[str]:
    sign, kind = next((SIGNS[name] for name in result.kinds if name in SIGNS), ("~", "warn"))
    now = result.after or result.before
    assert now is not None
    start = f"{sign} {result.ea:#018x} {short_size(result.size):>6} -> "
    dressed = f"{style(kind, sign)} {style('address', f'{result.ea:#018x}')} {short_size(result.size):>6} -> "
    yield from _state(now, start, dressed, style)
    if result.before and result.after:
        kinds = " ".join(result.kinds)
        apart = len(kinds) > KINDS_WIDTH
        yield from _state(result.before, f"  {'' if apart else kinds:<{KINDS_WIDTH}} was -> ", None, style)
        if apart:
            yield from style.wrap(kinds, "  ")
    for state in (result.after, result.before):
        if state and state.run.unknown_flags:
            yield fields.unknown(state.run.unknown_flags, style)
            break


def _state(state: State, start: str, dressed: str | None, style: Style) -> Iterator[str]:
    """What is mapped after the words ``start``; what is out of the ordinary goes to a line of its own if it must."""
    run = state.run
    plain = f"{run.ra:#x}".ljust(15), f"{run.count}x{compact_size(1 << run.shift)}".ljust(9), runs.rights(run)
    end = " ".join(word for word in (runs.SHORT[run.attribute], "" if state.in_ram else "not RAM") if word)
    line = f"{dressed or start}{style('address', plain[0])} {plain[1]} {style('value', plain[2])}"
    if len(f"{start}{' '.join(plain)} {end}") <= max(style.width, 80):
        yield f"{line} {style('dim', end)}".rstrip()
    else:
        yield line.rstrip()
        yield style("dim", f"    {end}")


def _compared(result: Compared, style: Style) -> Iterator[str]:
    sides = f"{safe(result.before)} -> {safe(result.after)}"
    if not result.differs:
        what = " in what was asked for" if result.chosen else ""
        yield from style.wrap(f"no difference{what}: {sides}", kind="good")
        return
    yield from (style("head", line) for line in style.wrap(f"in all: {sides}"))
    total = result.total()
    for name, (count, size) in total.kinds.items():
        yield f"  {name:<10} {counted(count, 'run'):>14} {short_size(size):>8}"
    for line in _tables(total):
        yield from style.wrap(line, "  ")
    for what, of_partitions in (("PIDs", False), ("LPIDs", True)):
        fates = [tree.fate for tree in result.trees if tree.fate and (tree.pid is None) is of_partitions]
        if fates:
            yield f"  {what}: " + ", ".join(f"{fates.count(fate)} {fate}" for fate in FATES if fate in fates)
    if len(result.trees) > 1:
        for tree in result.trees:
            words = [*([tree.fate] if tree.fate else []), *_words(tree)]
            yield from style.wrap(f"{tree_name(tree.lpid, tree.pid)}: {', '.join(words)}", "  ")


def _words(tree: Tally) -> Iterator[str]:
    for name, (count, size) in tree.kinds.items():
        yield f"{name} {count} ({short_size(size)})"
    for fate in TABLE_SIGNS:
        number, size = _sum(both for (each, _), both in tree.tables.items() if each == fate)
        if number:
            yield f"{counted(number, 'table page')} {fate} ({short_size(size)})"


def _tables(tally: Tally) -> Iterator[str]:
    """Table pages by what became of them, then by level."""
    for fate in TABLE_SIGNS:
        levels = {level: both for (each, level), both in tally.tables.items() if each == fate}
        if levels:
            number, size = _sum(levels.values())
            of = ", ".join(f"{levels[level][0]} of level {level}" for level in sorted(levels, reverse=True))
            yield f"table pages {fate}: {number} ({of}), {short_size(size)}"


def _sum(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    both = list(pairs)
    return sum(count for count, _ in both), sum(size for _, size in both)


# -- JSON -------------------------------------------------------------------------------------------------------------


def objects(result: Of | Changed | TableChanged | Compared) -> Iterator[dict[str, Any]]:
    """An object a change, with "process", "change" or "table" first; the counts have "summary"."""
    if isinstance(result, Of):
        if result.change is not None:
            yield {
                "process": result.change.fate,
                "lpid": result.lpid,
                "pid": result.pid,
                "before": hexadecimal(result.change.before),
                "after": hexadecimal(result.change.after),
            }
    elif isinstance(result, Changed):
        yield {
            "change": list(result.kinds),
            "lpid": result.lpid,
            "pid": result.pid,
            "ea": hexadecimal(result.ea),
            "size": result.size,
            "before": _side(result.before),
            "after": _side(result.after),
        }
    elif isinstance(result, TableChanged):
        yield {
            "table": result.fate,
            "lpid": result.lpid,
            "pid": result.pid,
            "ea": hexadecimal(result.ea),
            "level": result.level,
            "address": hexadecimal(result.address),
            "length": result.length,
        }
    else:
        yield {"summary": _summary(result)}


def _side(state: State | None) -> dict[str, Any] | None:
    if state is None:
        return None
    return {name: value for name, value in runs.obj(state.run, state.in_ram).items() if name not in OF_THE_SIDE}


def _summary(result: Compared) -> dict[str, Any]:
    fates = [tree.fate for tree in result.trees if tree.fate]
    return {
        "before": result.before,
        "after": result.after,
        "differs": result.differs,
        **_counts(result.total()),
        "processes": {fate: fates.count(fate) for fate in FATES if fate in fates},
        "pids": [{"lpid": tree.lpid, "pid": tree.pid, "process": tree.fate, **_counts(tree)} for tree in result.trees],
    }


def _counts(tally: Tally) -> dict[str, Any]:
    return {
        "kinds": {name: {"changes": count, "bytes": size} for name, (count, size) in tally.kinds.items()},
        "tables": [
            {"table": fate, "level": level, "count": count, "bytes": size}
            for (fate, level), (count, size) in tally.tables.items()
        ],
    }
