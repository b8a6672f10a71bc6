"""Lines of what a KVM guest's second-level tree went through, run here, and held against what the kernel did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from inspector.guest import Guest
from inspector.kvm import operations
from inspector.kvm.fault import Fault
from inspector.kvm.lines import parse
from inspector.kvm.operations import Answer
from inspector.radix.bits import DSISR_PRTABLE_FAULT
from inspector.whatif import WhatIf
from tests.commands.asking import shown

EFAULT, EAGAIN = -14, -11
RESUME_GUEST, MMIO = (0,), (1, 2, 3)
"""What the kernel's handler returns: to go on in the guest, and of a device's emulation with the registers as they are
and out to the monitor (Linux 6.1, arch/powerpc/include/asm/kvm_asm.h)."""
LEVELS = {"leaf-small": 0, "leaf-2m": 1, "leaf-1g": 2}


def play(whatif: WhatIf, line: dict[str, Any]) -> Answer:
    """Run one line."""
    op, lpid, asked = parse(json.dumps(line))
    machine, vm = whatif.machine, whatif.vm(lpid)
    if isinstance(asked, Fault):
        return operations.fault(machine, vm, asked)
    if isinstance(asked, int):
        assert op == "unmap"
        return operations.unmap(machine, vm, asked)
    assert asked is not None
    if op == "slot":
        return operations.set_slot(machine, vm, asked.base, asked.size, asked.flags, asked.hva)
    slot = vm.slots.based(asked.base)
    assert slot is not None
    return operations.read_log(machine, vm, slot)


def empty(guest: Guest, lpid: int) -> WhatIf:
    """An overlay in which the guest ``lpid`` has an empty tree, and KVM is that of Linux 6.1."""
    whatif = guest.lay_over()
    whatif.machine.behave_as("6.1")
    whatif.vm(lpid, make=True)
    whatif.empty(lpid)
    return whatif


def played(whatif: WhatIf, line: dict[str, Any]) -> dict[str, Any]:
    """Run one line, and what it did in the words of what the kernel did (scripts/lifecycle.py)."""
    vm = whatif.vm(line["lpid"])
    before = None if "gpa" not in line else vm.tree.find(int(line["gpa"], 16))
    answer = play(whatif, line)
    told = answer.as_json()
    trace = answer.trace
    did: dict[str, Any] = {"result": answer.result, "tlbie": told["tlbie"], "away": trace.slugs.count("unmapped")}
    if "bitmap" in told:
        did["bitmap"] = told["bitmap"]
    if line["op"] == "unmap" and before is not None and before.value >> 63:
        did["before"] = hex(before.value)
    if line["op"] == "fault":
        values = dict(trace.path)
        if "pte" in values:
            level = next(LEVELS[slug] for slug in trace.slugs if slug in LEVELS)
            gpa = values.get("guest-real", values.get("guest-real-of-table", (0,)))[0]
            did["create"] = {"pte": hex(values["pte"][0]), "gpa": hex(gpa), "level": level, "lpid": line["lpid"]}
            did["create"]["returned"] = EAGAIN if "invalidated" in trace.slugs else 0
    return did


def differences(did: dict[str, Any], kernel: dict[str, Any]) -> list[str]:
    """What of a line came out otherwise than in the kernel."""
    wrong = []

    def same(name: str, mine: object, theirs: object) -> None:
        if mine != theirs:
            wrong.append(f"{name}: the kernel {theirs}, we {mine}")

    result = kernel["result"]
    match did["result"]:
        case "RESUME_GUEST":
            same("result", "dsi" in kernel, False)
            same("result", 0, result)
        case "DSI":
            same("result", "DSI", "DSI" if "dsi" in kernel and result in RESUME_GUEST else result)
        case "MMIO":
            same("result", True, result in MMIO or result)
        case "EFAULT":
            same("result", EFAULT, result)
        case other:
            same("result", other, result)
    outrun = (did.get("create") or {}).get("returned") == EAGAIN
    if not (outrun and "create" not in kernel):  # the kernel sees sooner that it was outrun
        same("create", did.get("create"), kernel.get("create"))
    same("tlbie", did["tlbie"], kernel["tlbie"])
    same("bitmap", did.get("bitmap"), kernel.get("bitmap"))
    same("leaves taken away", did["away"], len(kernel["unmapped"]))
    if "before" in did:
        same("the entry taken away", [did["before"]], [each["pte"] for each in kernel["unmapped"]])
    return wrong


def tree(guest: Guest, lpid: int) -> list[str]:
    """The leaves of a guest as KVM lists them in debugfs."""
    said = shown(f"maps --lpid {lpid} --partition --format debugfs", guest)
    return [line for line in said.splitlines() if line and not line.startswith("pgdir")]


def covered(lines: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """That what a guest went through, and what the kernel did, has something of everything."""
    faults = [(line, kernel) for line, kernel in lines if line["op"] == "fault"]
    made = [(line, kernel["create"]) for line, kernel in faults if "create" in kernel]
    assert {(each["level"], each["returned"]) for _, each in made} == {(0, 0), (1, 0)}
    assert any(line["host"]["shift"] == 21 and each["level"] == 0 for line, each in made), "no page of a larger one"
    assert {kernel["result"] for _, kernel in faults} >= {0, EFAULT, 3}
    assert any("dsi" in kernel for _, kernel in faults), "no fault that the guest is to see"
    assert any(line.get("invalidated") for line, _ in faults), "no fault that was outrun"
    assert any(int(line["dsisr"], 16) & DSISR_PRTABLE_FAULT for line, _ in made), "no fault of a guest's table"
    assert {each["ric"] for _, kernel in lines for each in kernel["tlbie"]} == {0, 1}
    away = [each["shift"] for line, kernel in lines if line["op"] == "unmap" for each in kernel["unmapped"]]
    assert set(away) == {0, 21}
    assert sum(len(kernel["unmapped"]) for line, kernel in lines if line["op"] == "slot") > 10
    assert {kernel["bitmap"].strip("0") == "" for line, kernel in lines if line["op"] == "dirty-log"} == {True, False}
