"""A flattened device tree edited before a kernel reads it, by libfdt's own tools (dtc)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from inspector.doctor import install_line
from inspector.errors import TargetError, ToolMissing

MAGIC = 0xD00D_FEED
PACKAGE = "device-tree-compiler"
PAGE_SIZES = "ibm,processor-radix-AP-encodings"


def with_page_sizes(memory: bytes, sizes: Sequence[int], folder: Path) -> bytes:
    """The device tree at the start of ``memory`` with these page sizes in every processor's node.

    ``folder`` takes a file meanwhile. Raises ToolMissing, and TargetError where there is no tree or it cannot be
    edited."""
    if int.from_bytes(memory[:4], "big") != MAGIC:
        raise TargetError("there is no device tree where this machine has it; has QEMU moved it?")
    tree = folder / "tree.dtb"
    tree.write_bytes(memory[: int.from_bytes(memory[4:8], "big")])
    words = [f"{size:08x}" for size in sizes]
    for node in _run("fdtget", "-l", str(tree), "/cpus").split():
        if _run("fdtget", "-d", "", str(tree), f"/cpus/{node}", "device_type").strip() == "cpu":
            _run("fdtput", "-t", "x", str(tree), f"/cpus/{node}", PAGE_SIZES, *words)
    return tree.read_bytes()


def _run(*words: str) -> str:
    """What one of libfdt's tools prints."""
    if shutil.which(words[0]) is None:
        raise ToolMissing(words[0], install_line([PACKAGE]))
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise TargetError(f"{words[0]} failed: {done.stderr.strip() or 'it says nothing'}")
    return done.stdout
