"""The answers of ``overlay``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.overlay import Overlaid, Overlay, Word, Words
from inspector.render.style import Style, compact_size, counted, hexadecimal, short_size

DONE = {"off": "the overlay is off: this is the guest itself", "": "no overlay is on: this is the guest itself"}
TITLES = {"on": "an overlay is on", "reset": "the overlay is empty again", "": "an overlay is on"}


def text(result: Overlaid | Word | Words, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Word):
        change = result.change
        before = "unknown" if change.before is None else f"{change.before:#018x}"
        pool = style("dim", "  pool") if result.in_pool else ""
        after = style("value", f"{change.after:#018x}")
        yield f"{style('address', f'{change.address:#018x}')}  {before:<18} -> {after}{pool}"
    elif isinstance(result, Words):
        more = f", {result.in_pool:,} of them in the pool" if result.in_pool else ""
        unknown = f"; of {result.unknown:,} it is not known what was there" if result.unknown else ""
        differ = "1 doubleword differs" if result.words == 1 else f"{result.words:,} doublewords differ"
        yield from style.wrap(f"{differ}{more}{unknown}")
    elif result.on is None:
        yield style("good", DONE[result.done])
    else:
        yield style("head", f"{TITLES[result.done]}: nothing is written to the guest")
        yield from _state(result.on, style)


def memory(size: int) -> str:
    """Bytes, with their unit."""
    text = short_size(size)
    return f"{text} bytes" if text.isdigit() else text


def _state(on: Overlay, style: Style) -> Iterator[str]:
    pool = on.pool
    used = f"{counted(on.tables, 'table')} of {short_size(on.used)}" if on.tables else "none taken"
    rows = [
        ("pool", f"{pool.start:#x}:{compact_size(pool.size)}, {used}"),
        ("kept", f"{memory(on.kept)} of memory" if on.kept else "nothing was changed"),
        ("host's pages", compact_size(1 << on.page_shift)),
        *([("last run as", f"{on.version}{' on a DD1' if on.dd1 else ''}")] if on.touched else []),
        ("guests", f"{_lpids(on.touched)} touched" if on.touched else "none touched"),
        *([("made", f"{_lpids(on.made)}, in no partition table")] if on.made else []),
        ("slots", str(on.slots) if on.slots else "none known; 'slot' names them"),
    ]
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        first, *rest = style.wrap(value, " " * (width + 4))
        yield f"  {style('name', f'{name:<{width}}')}  {first.strip()}"
        yield from rest


def _lpids(lpids: tuple[int, ...]) -> str:
    return f"LPID {', '.join(map(str, lpids))}"


def objects(result: Overlaid | Word | Words) -> Iterator[dict[str, Any]]:
    """The state has "overlay", a doubleword "word", and their count, which comes last, "words"."""
    if isinstance(result, Word):
        change = result.change
        yield {
            "word": hexadecimal(change.address),
            "before": hexadecimal(change.before),
            "after": hexadecimal(change.after),
            "in_pool": result.in_pool,
        }
    elif isinstance(result, Words):
        yield {"words": result.words, "in_pool": result.in_pool, "unknown": result.unknown}
    else:
        state = {} if result.on is None else obj(result.on)
        yield {"overlay": result.on is not None, "done": result.done or None, **state}


def obj(on: Overlay) -> dict[str, Any]:
    """How one stands, for JSON."""
    return {
        "pool": hexadecimal(on.pool.start),
        "pool_size": on.pool.size,
        "tables": on.tables,
        "used": on.used,
        "kept": on.kept,
        "page_shift": on.page_shift,
        "as": on.version,
        "dd1": on.dd1,
        "touched": list(on.touched),
        "made": list(on.made),
        "slots": on.slots,
        "ran": on.ran,
    }
