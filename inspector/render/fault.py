"""The answers of ``fault``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.fault import Faulted
from inspector.commands.faulting import Instruction
from inspector.kvm.host import HostPage
from inspector.render import lifecycle
from inspector.render.style import Style, compact_size, hexadecimal


def text(result: Faulted, style: Style) -> Iterator[str]:
    """Lines for a person: the handler's, then what the host had, whether the instruction is found, and what the guest
    sees next."""
    yield from lifecycle.text(result.operated, style)
    if result.known_from:
        yield from style.wrap(f"guest real address: from {result.known_from}", "  ", kind="dim")
    if result.host is not None:
        yield from style.wrap(f"host's page: {_page(result.host)}; from {result.host_from}", "  ", kind="dim")
    if result.instruction is not None:
        kind = "warn" if result.instruction.found is None else "good" if result.instruction.found else "bad"
        yield from style.wrap(_instruction(result.instruction), "  ", kind=kind)
    yield from style.wrap(f"next: {result.next_seen}", "  ", kind="good" if result.ok else "bad")


def _page(host: HostPage) -> str:
    words = ["writable" if host.writable else "read-only", "dirty" if host.dirty else "clean"]
    if host.io:
        words.append("a device's")
    return f"{host.page:#x} at HVA {host.hva:#x}, in {compact_size(1 << host.shift)} at {host.base:#x}, " + (
        ", ".join(words)
    )


def _instruction(found: Instruction) -> str:
    if found.nip is None or found.found is None:
        return f"whether KVM finds the instruction is not known: {found.reason}"
    if found.found:
        return f"instruction: {found.walker} finds it at guest real {found.gpa or 0:#x}, by NIP {found.nip:#x}"
    at = "" if found.gpa is None else f" at guest real {found.gpa:#x}"
    return f"instruction: {found.walker} ends in {found.errno}{at} for NIP {found.nip:#x}: {found.reason}"


def objects(result: Faulted) -> Iterator[dict[str, Any]]:
    """The operation's object, and more."""
    for each in lifecycle.objects(result.operated):
        yield {
            **each,
            "ea": hexadecimal(result.asked.ea),
            "dsisr": hexadecimal(result.asked.dsisr),
            "asdr": hexadecimal(result.asked.asdr),
            "gpa_from": result.known_from or None,
            "slot": None
            if result.slot is None
            else {
                "base": hexadecimal(result.slot.base),
                "size": result.slot.size,
                "hva": hexadecimal(result.slot.hva),
                "flags": lifecycle.flag_names(result.slot.flags),
            },
            "host": None if result.host is None else _host(result.host),
            "host_from": result.host_from or None,
            "instruction": None if result.instruction is None else _of(result.instruction),
            "guest_dsisr": hexadecimal(result.reflected),
            "next": result.next_seen,
        }


def _host(host: HostPage) -> dict[str, Any]:
    return {
        "hva": hexadecimal(host.hva),
        "base": hexadecimal(host.base),
        "shift": host.shift,
        "writable": host.writable,
        "dirty": host.dirty,
        "io": host.io,
    }


def _of(found: Instruction) -> dict[str, Any]:
    rights = found.rights
    return {
        "nip": hexadecimal(found.nip),
        "walker": found.walker,
        "found": found.found,
        "gpa": hexadecimal(found.gpa),
        "may_read": None if rights is None else rights.read,
        "may_execute": None if rights is None else rights.execute,
        "errno": found.errno,
        "reason": found.reason or None,
    }
