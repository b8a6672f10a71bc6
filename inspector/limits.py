"""How much may be gathered here: as much as a share of the memory that is free holds."""

from __future__ import annotations

from inspector.radix.columns import Limits

BYTES_A_LEAF = 64
"""What a leaf may cost at most while it is looked at: its entry, its columns, and what is made of them."""
BYTES_A_PAGE = 160
"""What a leaf that is led on may cost at most: its columns thrice over, while they are put together and sorted."""
BYTES_A_TABLE = 128
"""What a table may cost at most while trees are streamed."""
MOST_TABLES = 1 << 30
"""Places are numbered with 32 bits."""
BOUNDLESS = 1 << 62
SHARE = 2
"""One part in so many of the memory that is free here may be used."""


def affordable() -> Limits:
    """What a sweep may gather here: the usual bounds, and less where that would be more than half of what is free."""
    usual = Limits()
    free = _free_bytes()
    if free is None:
        return usual
    share = free // SHARE
    return Limits(
        tables=min(usual.tables, share // BYTES_A_LEAF),
        leaves=min(usual.leaves, share // BYTES_A_LEAF),
        table_bytes=min(usual.table_bytes, share),
        oddities=usual.oddities,
    )


def streamable() -> Limits:
    """What a stream may go to here, of which no leaf is kept: as many tables as half of its share may hold. The other
    half is for the ranges that are made of it meanwhile."""
    free = _free_bytes()
    tables = Limits().tables if free is None else min(free // SHARE // 2 // BYTES_A_TABLE, MOST_TABLES)
    return Limits(tables=tables, leaves=BOUNDLESS, table_bytes=BOUNDLESS)


def most_ranges() -> int | None:
    """How many ranges may be kept here while trees are streamed."""
    from inspector.mappings.gather import BYTES_A_RANGE

    free = _free_bytes()
    return None if free is None else free // SHARE // 2 // BYTES_A_RANGE


def most_pages() -> int | None:
    """How many pages leaves may be led on to here."""
    free = _free_bytes()
    return None if free is None else free // SHARE // BYTES_A_PAGE


def _free_bytes() -> int | None:
    """Bytes of memory that the system has for us; None where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as told:
            for line in told:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) << 10
    except (OSError, ValueError, IndexError):
        pass
    return None
