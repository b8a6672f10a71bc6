"""The answers of ``xlate`` and ``compare``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.translation import Compared, Xlate, ends_guest_real
from inspector.radix.access import encoded_rights
from inspector.radix.bits import ATT_NAMES, PTE_ATT, PTE_C, PTE_PRIVILEGED, PTE_R
from inspector.radix.steps import decode_step
from inspector.radix.translation import Step, Translation
from inspector.radix.walk import WALKER
from inspector.render import fields, nesting
from inspector.render.style import Style, compact_size, counted, hexadecimal

_ACCESSES = {"r": "a load", "w": "a store", "x": "a fetch", None: "a load"}


def text(result: Xlate | Compared, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, Compared):
        yield from _compared(result, style)
        return
    answer = result.answer
    yield _headline(answer, style, result.in_ram)
    yield from style.wrap(_whose_fault(answer), "  ", kind="bad")  # before all else: whose tables to look at
    if answer.outer_lpid is None:
        for step in answer.steps:
            yield from _step(step, style)
    else:
        for step in nesting.folded(answer.steps):
            yield from _step(step, style, nesting.said(step), nesting.passing(step))
    if answer.reason and not (answer.ok and answer.relocation):
        yield from style.wrap(answer.reason, "  ", kind="dim" if answer.ok else "bad")
    yield from style.wrap(_withheld(answer), "  ")
    if answer.interrupt:
        register = "SRR1" if answer.interrupt.name in ("ISI", "HISI") else "DSISR"
        bits = f" with {register} {answer.interrupt.bits:#010x}" if answer.interrupt.bits else ""
        yield f"  {_ACCESSES[answer.access]} here raises {answer.interrupt.name}{bits}"
    for note in answer.notes:
        yield from style.wrap(f"note: {note}", "  ", kind="warn")
    if result.disagreement:
        yield from style.wrap(result.disagreement, "  ", kind="warn")


def _whose_fault(answer: Translation) -> str:
    """In whose tables the hardware's walk of a KVM guest ended; of the host itself there is nothing to tell apart."""
    if answer.ok or not answer.lpid or answer.walker != WALKER or answer.stage is None:
        return ""
    if answer.outer_lpid is not None:
        return nesting.whose_fault(answer, _ACCESSES[answer.access])
    if answer.stage == 1:
        return "it ends in the guest's own tables; the host led on to them"
    last = answer.steps[-1] if answer.steps else None
    if answer.gra is not None:
        leaf = last is not None and last.stage == 2 and last.kind == "leaf"
        how = f"do not allow {_ACCESSES[answer.access]}" if leaf else "do not lead on"
        if answer.relocation:
            return f"the guest's own tables lead to guest real {answer.gra:#x}, and the host's {how}"
        return f"in real mode no table of the guest's is asked, and the host's {how} at guest real {answer.gra:#x}"
    if last is not None and last.purpose:
        return f"it ends in the host's tables: they do not lead on to the guest's own {last.purpose}"
    return "it ends in the host's partition table, before any table of the guest's"


def _withheld(answer: Translation) -> str:
    """Why the vCPU has fewer rights than the leaf grants, where it has: a bare "---" would look like a broken page."""
    if not answer.ok or answer.leaf is None or answer.walker != WALKER or not answer.relocation:
        return ""
    granted, left = encoded_rights(answer.leaf), answer.rights
    if granted == left:
        return ""
    if answer.outer_lpid is not None:
        grants = nesting.granted(answer)
        for rights in grants.values():
            granted &= rights
        if granted == left:
            return f"the {', the '.join(f'{whose} grants {rights}' for whose, rights in grants.items())}"
    elif answer.gra is not None:
        last = answer.steps[-1].value
        of_host = granted if last is None else encoded_rights(last)
        if granted & of_host == left:
            return f"the guest's leaf grants {granted}, and the host's {of_host}"
        granted &= of_host
    if answer.leaf & PTE_PRIVILEGED:
        return f"the leaf grants {granted} to privileged code only, and this vCPU is in user state (MSR[PR])"
    keys = []
    if (granted.read, granted.write) != (left.read, left.write):
        keys.append("AMR (Linux's KUAP)")
    if granted.execute != left.execute:
        keys.append("IAMR (Linux's KUEP)")
    by = f"key 0 of {' and '.join(keys)}"
    return f"the leaf grants {granted}; to the kernel, which this vCPU runs now, {by} leaves {left}"


def _headline(answer: Translation, style: Style, in_ram: bool | None) -> str:
    ea = style("address", f"{answer.ea:#x}")
    whose = _whose(answer)
    whose = f"  {style('dim', whose)}" if whose else ""
    if not answer.ok:
        errno = f" -{answer.errno}" if answer.errno else ""
        return f"{ea} -> {style('bad', f'fault{errno}: {answer.cause}')}{whose}"
    assert answer.ra is not None
    where = ", not RAM" if in_ram is False else ""
    guest_real = "guest real " if ends_guest_real(answer) else ""
    page = f"{compact_size(1 << answer.page_shift)} " if _walked(answer) and answer.page_shift is not None else ""
    return f"{ea} -> {guest_real}{style('good', f'{answer.ra:#x}')}  {page}{answer.rights}{where}{whose}"


def _walked(answer: Translation) -> bool:
    """Whether a tree was walked, so that there is a page: a guest's real addresses go through the host's tree."""
    return answer.relocation or answer.gra is not None


def _whose(answer: Translation) -> str:
    parts = [] if answer.walker == WALKER else [answer.walker]
    if answer.lpid is not None:
        parts.append(f"LPID {answer.lpid}" + ("" if answer.outer_lpid is None else f" in LPID {answer.outer_lpid}"))
    if answer.pid is not None:
        parts.append(f"PID {answer.pid}")
    if not answer.relocation:
        parts.append("real mode")
    elif answer.ok and answer.gra is not None:
        parts.append(f"gra {answer.gra:#x}")
        if answer.outer_gra is not None:
            parts.append(f"L1 real {answer.outer_gra:#x}")
    return " ".join(parts)


def _step(step: Step, style: Style, said: str = "", brief: bool = False) -> Iterator[str]:
    """Its lines; ``said`` stands after the entry where it is not to be what that served, and ``brief`` leaves out what
    the entry means."""
    indent = "  " + "  " * step.depth
    if step.level is not None:
        name = f"level {step.level}"
    else:
        name = {"partition-table": "partition", "process-table": "process"}[step.table]
    value = "????????????????" if step.value is None else f"{step.value:016x}"
    first = f"{indent}{name:<9} [{step.index}]"
    begins = step.purpose and step.level in (3, None)
    purpose = said or (f"  for the {step.purpose}" if begins else "")
    yield f"{first:<22} {style('address', f'{step.address:#x}')}: {style('value', value)}{style('dim', purpose)}"
    if step.second is not None:
        yield f"{indent:<22} {style('address', f'{step.address + 8:#x}')}: {style('value', f'{step.second:016x}')}"
    empty = step.kind == "partition-entry" and not step.value and not step.second
    words = () if brief else decode_step(step)
    for word in words[: 1 if empty else None]:  # of no partition there is no process table to tell of
        yield from style.wrap(word.meaning, indent + "  ", kind="dim")
        if word.residue:
            yield fields.unknown(word.residue, style, indent + "  ")


def _compared(result: Compared, style: Style) -> Iterator[str]:
    yield style("address", f"{result.answers[0].ea:#x}")
    width = max(len(answer.walker) for answer in result.answers)
    for answer in result.answers:
        if answer.ok:
            size = "" if not _walked(answer) or answer.page_shift is None else compact_size(1 << answer.page_shift)
            guest_real = "guest real " if ends_guest_real(answer) else ""
            end = f"{guest_real}{style('good', f'{answer.ra:#x}')} {size} {answer.rights}"
        else:
            end = style("bad", f"{answer.errno or 'fault'} {answer.cause}")
        reads = style("dim", counted(len(answer.steps), "read"))
        yield f"  {answer.walker:<{width}}  {end}  {reads}"
    yield from style.wrap(result.verdict, "  ")
    because: dict[str, list[str]] = {}  # walkers that end for the same reason are told together
    for answer in result.answers:
        if not answer.ok:
            because.setdefault(answer.reason, []).append(answer.walker)
    for reason, walkers in because.items():
        who = "every walker" if len(walkers) == len(result.answers) > 1 else ", ".join(walkers)
        yield from style.wrap(f"{who}: {reason}", "  ", kind="dim")


def objects(result: Xlate | Compared) -> Iterator[dict[str, Any]]:
    """What JSON lines are made of."""
    if isinstance(result, Compared):
        yield {
            "ea": hexadecimal(result.answers[0].ea),
            "verdict": result.verdict,
            "walkers": [translation_object(answer) for answer in result.answers],
        }
    else:
        yield {**translation_object(result.answer), "ra_is_ram": result.in_ram, "disagreement": result.disagreement}


def translation_object(answer: Translation) -> dict[str, Any]:
    """The contract's object of one translation."""
    leaf = answer.leaf
    return {
        "ea": hexadecimal(answer.ea),
        "walker": answer.walker,
        "status": answer.status,
        "errno": answer.errno,
        "cause": answer.cause,
        "reason": answer.reason,
        "lpid": answer.lpid,
        "pid": answer.pid,
        "ra": hexadecimal(answer.ra),
        "gra": hexadecimal(answer.gra),
        "outer_lpid": answer.outer_lpid,
        "outer_gra": hexadecimal(answer.outer_gra),
        "page_shift": answer.page_shift,
        "page_size_index": answer.page_size_index,
        "may_read": answer.rights.read,
        "may_write": answer.rights.write,
        "may_execute": answer.rights.execute,
        "access": answer.access,
        "relocation": answer.relocation,
        "leaf": hexadecimal(leaf),
        "privileged": None if leaf is None else bool(leaf & PTE_PRIVILEGED),
        "accessed": None if leaf is None else bool(leaf & PTE_R),
        "dirty": None if leaf is None else bool(leaf & PTE_C),
        "attribute": None if leaf is None else ATT_NAMES[leaf & PTE_ATT],
        "stage": answer.stage,
        "interrupt": None
        if answer.interrupt is None
        else {"name": answer.interrupt.name, "bits": hexadecimal(answer.interrupt.bits)},
        "steps": [_step_object(step) for step in answer.steps],
        "notes": list(answer.notes),
    }


def _step_object(step: Step) -> dict[str, Any]:
    words = decode_step(step)
    return {
        "table": step.table,
        "stage": step.stage,
        "level": step.level,
        "index": step.index,
        "address": hexadecimal(step.address),
        "guest_address": hexadecimal(step.guest_address),
        "value": hexadecimal(step.value),
        "second": hexadecimal(step.second),
        "kind": step.kind,
        "page_shift": step.shift,
        "purpose": step.purpose,
        "fields": {each.field.name: hexadecimal(each.raw) for word in words for each in word.fields},
        "residue": hexadecimal(words[0].residue) if words else None,
        "meaning": "; ".join(word.meaning for word in words) or None,
    }
