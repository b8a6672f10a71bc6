"""The answers of ``dirty`` and ``age`` that are no mappings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.ageing import STDOUT, Counted, Logged
from inspector.mappings.usage import Count
from inspector.render.style import Style, compact_size, counted, hexadecimal, safe, short_size


def text(result: Counted | Logged, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Counted):
        yield from _counts(result, style)
        return
    slot = result.slot
    yield (
        f"{style('address', f'{slot.base:#x}')}: {style('value', str(result.pages))} of "
        f"{counted(slot.pages, 'page')} of {compact_size(1 << slot.page_shift)} {result.word}"
    )
    if result.path is not None:
        where = "standard output" if result.path == STDOUT else safe(result.path)
        yield f"{style('good', where)}: {counted(result.file_size, 'byte')}"


def _counts(result: Counted, style: Style) -> Iterator[str]:
    whose = "in all" if result.of is None else result.of.name
    if not result.counts:
        yield f"{whose}: nothing is mapped that is asked about"
        return
    for at, each in enumerate(result.counts):
        yield _count("" if at else whose, each, result.word, style)
    if len(result.counts) > 1:
        size, of_size = (sum(getattr(each, name) for each in result.counts) for name in ("size", "of_size"))
        yield f"{'':<14}{style('value', f'{short_size(size):>6}')} of {short_size(of_size):<6} {result.word}"


def _count(whose: str, each: Count, word: str, style: Style) -> str:
    pages = f"{each.pages} of {each.of_pages} pages of {compact_size(1 << each.shift)}"
    value = style("value", f"{short_size(each.size):>6}")
    return f"{style('head', f'{whose:<14}')}{value} of {short_size(each.of_size):<6} {word}: {pages}"


def objects(result: Counted | Logged) -> Iterator[dict[str, Any]]:
    """Counts are an object a page size; ``lpid`` and ``pid`` are null where they are of all. A slot is one object."""
    if isinstance(result, Counted):
        of = result.of
        for each in result.counts:
            yield {
                "counted": result.word,
                "lpid": None if of is None else of.lpid,
                "pid": None if of is None else of.pid,
                "page_shift": each.shift,
                "pages": each.pages,
                "bytes": each.size,
                "of_pages": each.of_pages,
                "of_bytes": each.of_size,
            }
        return
    slot = result.slot
    yield {
        "slot": hexadecimal(slot.base),
        "size": slot.size,
        "page_shift": slot.page_shift,
        "counted": result.word,
        "pages": result.pages,
        "of_pages": slot.pages,
        "bitmap_bytes": slot.nbytes,
        "path": result.path,
        "file_size": result.file_size,
    }
