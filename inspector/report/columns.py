"""Columns of numbers packed for a page: little-endian, one after the other, deflated, in base64.

A page has no integers of 64 bits that are quick. Addresses need none: a page's address is a multiple of 4096 below
2^64 and a table's one of 256 below 2^60, so that each is a double, exactly.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALIGNMENT = 8
"""A typed array begins at a multiple of its elements' size."""
LEVEL = 6
TYPES = {"u8": "<u1", "u16": "<u2", "u32": "<u4", "f64": "<f8"}
"""The names that a page knows columns' types by."""


def exact(values: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Addresses or counts as doubles. Raises ValueError where one would not stay the same."""
    doubles = values.astype(np.float64)
    # 2^64 itself cannot be turned back; nothing that is unsigned and of 64 bits is as large, unless it was rounded.
    if (doubles >= 2.0**64).any() or (doubles.astype(np.uint64) != values).any():
        raise ValueError("an address is not a multiple of its page, so that a double cannot hold it")
    return doubles


def smallest(values: NDArray[Any]) -> NDArray[Any]:
    """Unsigned numbers in the smallest type that holds them all: u8, u16 or u32."""
    most = int(values.max()) if len(values) else 0
    return values.astype(np.uint8 if most < 1 << 8 else np.uint16 if most < 1 << 16 else np.uint32)


def pack(columns: Mapping[str, NDArray[Any]]) -> tuple[dict[str, list[Any]], bytes]:
    """Where each column lies, as name -> [type, byte offset, rows], and all of them packed, as ASCII."""
    places: dict[str, list[Any]] = {}
    parts: list[bytes] = []
    at = 0
    for name, values in columns.items():
        kind = f"{'f' if values.dtype.kind == 'f' else 'u'}{values.dtype.itemsize * 8}"
        data = values.astype(TYPES[kind], copy=False).tobytes()
        places[name] = [kind, at, len(values)]
        padding = -len(data) % ALIGNMENT
        parts += (data, bytes(padding))
        at += len(data) + padding
    return places, base64.b64encode(zlib.compress(b"".join(parts), LEVEL))


def unpack(places: Mapping[str, list[Any]], packed: bytes) -> dict[str, NDArray[Any]]:
    """The columns again: what a page does."""
    data = zlib.decompress(base64.b64decode(packed))
    return {name: np.frombuffer(data, TYPES[kind], rows, at) for name, (kind, at, rows) in places.items()}
