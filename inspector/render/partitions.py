"""The answers of ``lpids``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inspector.commands.partitions import LivePartition, PartitionTable
from inspector.radix.descriptors import PATE0
from inspector.render.style import Style, compact_size, hexadecimal, vcpus

HTABORG = 0x0FFF_FFFF_FFFC_0000
"""Real address of the hashed page table in the PATE0 of a hash guest (QEMU 7.2, mmu-hash64.h)."""
BEFORE = 66
"""Columns of a live entry before the vCPUs that run in it."""
INDENT = " " * 4


def text(result: PartitionTable | LivePartition, style: Style) -> Iterator[str]:
    """Lines for a person."""
    if isinstance(result, PartitionTable):
        yield f"partition table at {style('address', f'{result.address:#x}')}, {result.entries} entries"
        yield style("head", f"{'LPID':>8}  {'entry at':<14}  {'PATE0':<18}  PATE1")
        return
    tree = result.tree
    cells = [
        f"{tree.lpid:>8}",
        style("address", f"{tree.address:#014x}"),
        style("value", f"{tree.entry:#018x}"),
        style("value", f"{tree.second:#018x}"),
        style("good", _who(result, style)),
    ]
    yield "  ".join(cells).rstrip()
    yield from style.wrap(f"{_tree(result)}; {_processes(result)}", INDENT)


def _who(result: LivePartition, style: Style) -> str:
    """The host, or the vCPUs that run it."""
    if result.current_on:
        return vcpus(result.current_on, style.width - BEFORE)
    return "host" if result.tree.lpid == 0 else ""


def _tree(result: LivePartition) -> str:
    tree = result.tree
    whose = "host: " if tree.lpid == 0 else ""
    if not result.radix:
        return f"{whose}hash, its page table at {tree.entry & HTABORG:#x}"
    return f"{whose}radix, root at {tree.root:#x}, 2^{tree.bits}"


def _processes(result: LivePartition) -> str:
    tree = result.tree
    found = _process_table(result)
    if found is None:
        return "no process table"
    real = "guest real " if tree.lpid else ""
    return f"process table at {real}{found[0]:#x}, {compact_size(found[1])}"


def _process_table(result: LivePartition) -> tuple[int, int] | None:
    """Address and bytes of its process table; None where PATE1 gives none."""
    return result.tree.process_table if result.tree.registered else None


def objects(result: PartitionTable | LivePartition) -> Iterator[dict[str, Any]]:
    """One object a live entry."""
    if isinstance(result, PartitionTable):
        return
    tree, found = result.tree, _process_table(result)
    yield {
        "lpid": tree.lpid,
        "address": hexadecimal(tree.address),
        "entry": hexadecimal(tree.entry),
        "second": hexadecimal(tree.second),
        "radix": result.radix,
        "root": hexadecimal(tree.root) if result.radix else None,
        "bits": tree.bits if result.radix else None,
        "hash_table": None if result.radix else hexadecimal(tree.entry & HTABORG),
        "process_table": None if found is None else hexadecimal(found[0]),
        "process_table_size": None if found is None else found[1],
        "meaning": PATE0.decode(tree.entry).meaning,
        "host": tree.lpid == 0,
        "current_on": list(result.current_on),
    }
