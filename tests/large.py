"""Guests of any number of leaves, as a raw image: for what must stay quick or be cut short on a large one."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from inspector.radix.bits import PATE1_GR
from scripts.bench_tree import synthetic

PAGE = 1 << 16


def raw_guest(path: Path, leaves: int) -> list[str]:
    """Write a guest whose kernel maps about ``leaves`` pages, next to none of which go on where another ends, and PID 1
    the same; the words that open it on the command line."""
    tree = synthetic(os.fspath(path), leaves)
    table = path.stat().st_size
    entries = np.zeros(PAGE // 8, ">u8")
    entries[[0, 2]] = tree.roots[0].descriptor
    with open(path, "ab") as file:
        file.write(entries.tobytes())
    return [f"raw:{path}", "--process-table", f"{PATE1_GR | table | 4:#x}"]
