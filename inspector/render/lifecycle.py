"""The answers of all that changes a guest's second-level tree: what was decided, and what was done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from inspector.commands.hostwords import SLOT_FLAGS
from inspector.commands.lifecycle import Operated
from inspector.commands.slots import STDOUT, KnownSlot
from inspector.kvm.shape import AP_1G, AP_2M, AP_4K, AP_64K, AP_SHIFT
from inspector.kvm.trace import Installed, Table, Tlbie
from inspector.kvm.unmap import FLUSH_PWC
from inspector.mappings.runs import Run
from inspector.radix.bits import PTE_RPN
from inspector.render import runs
from inspector.render.style import Style, compact_size, counted, hexadecimal, safe, short_size

MOST = 32
"""So many of a kind are told to a person; JSON holds all."""
AP_SHIFTS = {AP_4K: 12, AP_64K: 16, AP_2M: 21, AP_1G: 30}
AP_MASK = 7 << AP_SHIFT
NUMBER = 5
"""Columns of a decision's number."""


def text(result: Operated | KnownSlot, style: Style) -> Iterator[str]:
    """Lines for a person: the result, the decisions in order, and what they did."""
    if isinstance(result, KnownSlot):
        yield from _slot(result, style)
        return
    answer, trace = result.answer, result.answer.trace
    *before, last = style.wrap(f"{_asked(result)}: {answer.result}")
    yield from (style("head", line) for line in before)
    asked, _, came_to = last.rpartition(" ")
    came_to = style("good" if result.ok else "bad", came_to)
    yield f"{style('head', asked)} {came_to}" if asked else came_to
    for number, (slug, values) in enumerate(islice(trace.path, MOST), 1):
        first, *rest = style.wrap(_sentence(slug, values), " " * NUMBER)
        yield f"{style('dim', f'{number:>{NUMBER - 2}}.')} {first.strip()}"
        yield from rest
    yield from _more(len(trace.path), "decisions", style)
    if trace.installed is not None:
        yield from _leaf(answer.lpid, trace.installed, style)
    for what, tables in (("taken", trace.taken), ("freed", trace.freed)):
        for table in tables[:MOST]:
            yield f"  table {what} {style('address', f'{table.address:#x}')}: {_level(table)}"
        yield from _more(len(tables), f"tables {what}", style)
    for tlbie in trace.tlbie[:MOST]:
        yield f"  tlbie {_tlbie(tlbie, style)}"
    yield from _more(len(trace.tlbie), "tlbies", style)
    yield from _log(result, style)


def _asked(result: Operated) -> str:
    at = "" if result.gpa is None else f" {result.gpa:#x}"
    if result.ea is not None:
        at = f" {result.ea:#x}" + ("" if result.gpa is None else f" (guest real {result.gpa:#x})")
    slot = "" if result.slot is None else f" {result.slot[0]:#x}:{compact_size(result.slot[1])}"
    dd1 = " on a DD1" if result.dd1 else ""
    return f"{result.answer.op}{at}{slot} of LPID {result.answer.lpid}, as {result.version}{dd1}"


def _sentence(slug: str, values: tuple[int, ...]) -> str:
    from inspector.kvm.decisions import DECISIONS

    return DECISIONS[slug].format(*values)


def _more(there: int, what: str, style: Style) -> Iterator[str]:
    if there > MOST:
        yield style("dim", f"  … {MOST} of {there:,} {what} told here; JSON holds all")


def _level(table: Table) -> str:
    return "root" if table.level == 3 else f"level {table.level}"


def _run(lpid: int, leaf: Installed) -> Run:
    return Run(lpid, None, leaf.gpa, leaf.raw & PTE_RPN, leaf.shift, leaf.raw & ~PTE_RPN, 1)


def _leaf(lpid: int, leaf: Installed, style: Style) -> Iterator[str]:
    """Where it is, and what its flags say."""
    run = _run(lpid, leaf)
    yield f"  leaf {style('value', f'{leaf.raw:#018x}')} at {style('address', f'{leaf.address:#x}')}:"
    yield f"    {runs.line(run, True, style)}"


def _tlbie(tlbie: Tlbie, style: Style) -> str:
    """Its address, page size and whose."""
    if tlbie.ric == FLUSH_PWC:
        return f"{style('address', f'{tlbie.rb:#x}')} LPID {tlbie.lpid}: its page-walk cache"
    ap = (tlbie.rb & AP_MASK) >> AP_SHIFT
    size = compact_size(1 << AP_SHIFTS[ap]) if ap in AP_SHIFTS else "?"
    return f"{style('address', f'{tlbie.rb & ~0xFFF:#018x}')} AP {ap} ({size}) LPID {tlbie.lpid}"


def _log(result: Operated, style: Style) -> Iterator[str]:
    log = result.answer.log
    if log is None or result.slot is None:
        return
    base, size = result.slot
    shift = result.page_shift
    of = counted(size >> shift, "page")
    yield f"  {style('value', f'{log.pages:,}')} of {of} of {compact_size(1 << shift)} dirty"
    for at, (first, end) in enumerate(set_runs(log.bitmap)):
        if at == MOST:
            yield style("dim", "  … and more; --bitmap FILE writes them all")
            break
        start, stop = base + (first << shift), base + (end << shift)
        yield f"    {style('address', f'{start:#x}')}..{stop:#x}: {counted(end - first, 'page')}"
    if log.overrun:
        yield style("warn", f"  {counted(log.overrun, 'page')} of large leaves past the slot's end")
    if result.path is not None:
        where = "standard output" if result.path == STDOUT else safe(result.path)
        yield f"  {style('good', where)}: {counted(result.file_size, 'byte')}"


def set_runs(bitmap: bytes) -> Iterator[tuple[int, int]]:
    """(first, one past the last) of bits that are set one after another, low bits of each byte first."""
    import numpy as np

    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")
    edges = np.flatnonzero(np.diff(np.concatenate(([0], bits, [0])).astype(np.int8)))
    yield from zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)


def flag_names(flags: int) -> list[str]:
    """The flags of a slot by name."""
    return [name for name, bit in SLOT_FLAGS.items() if flags & bit]


def _slot(slot: KnownSlot, style: Style) -> Iterator[str]:
    where = style("address", f"{slot.base:#x}..{slot.base + slot.size:#x}")
    yield f"LPID {slot.lpid:<6} {where} {short_size(slot.size)} {' '.join(flag_names(slot.flags))}".rstrip()
    more = [
        *([] if slot.hva is None else [f"at HVA {slot.hva:#x}"]),
        *([] if slot.vmm is None else [f"its VMM is PID {slot.vmm}"]),
        *([] if slot.logged is None else [f"{counted(slot.logged, 'page')} in the log"]),
    ]
    if more:
        yield from style.wrap(", ".join(more), " " * 12)


def objects(result: Operated | KnownSlot) -> Iterator[dict[str, Any]]:
    """An operation is what a replay writes of it, and more; a slot one object with "slot"."""
    if isinstance(result, KnownSlot):
        yield {
            "lpid": result.lpid,
            "slot": hexadecimal(result.base),
            "size": result.size,
            "flags": flag_names(result.flags),
            "hva": hexadecimal(result.hva),
            "vmm": result.vmm,
            "logged": result.logged,
        }
        return
    answer, trace = result.answer, result.answer.trace
    found = answer.as_json()
    for told, tlbie in zip(found["tlbie"], trace.tlbie, strict=True):
        whole = tlbie.ric == FLUSH_PWC
        told["address"] = None if whole else hexadecimal(tlbie.rb & ~0xFFF)
        told["page_shift"] = None if whole else AP_SHIFTS.get((tlbie.rb & AP_MASK) >> AP_SHIFT)
    if trace.installed is not None:
        found["installed"] |= {"at": hexadecimal(trace.installed.address), **_of(answer.lpid, trace.installed)}
    yield {
        **found,
        "says": trace.sentences,
        "as": result.version,
        "dd1": result.dd1,
        "gpa": hexadecimal(result.gpa),
        "taken": _tables(trace.taken),
        "freed": _tables(trace.freed),
        **({} if answer.log is None else {"overrun": answer.log.overrun, "file": result.path}),
        **({} if result.slot is None else {"slot": hexadecimal(result.slot[0]), "size": result.slot[1]}),
    }


def _of(lpid: int, leaf: Installed) -> dict[str, Any]:
    told = runs.obj(_run(lpid, leaf), True)
    return {name: told[name] for name in ("ra", "read", "write", "execute", "accessed", "dirty", "attribute")}


def _tables(tables: Sequence[Table]) -> list[dict[str, Any]]:
    return [{"address": hexadecimal(each.address), "level": each.level} for each in tables]
