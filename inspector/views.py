"""What SQL may ask of a guest: each view a table of named columns, built when a query names it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from inspector.guest import Guest
from inspector.linux.regions import REGIONS
from inspector.mappings.table import FIELDS, LEAF_FIELDS, Batch, Column, Field, numbers_of, tabulate, words_of
from inspector.radix.columns import NO_PID
from inspector.spaces import Spaces


@dataclass(frozen=True, slots=True)
class OfSpaces:
    """A view of what is mapped: its columns, and what makes it."""

    says: str
    fields: tuple[Field, ...]
    build: Callable[[Spaces], Batch]


@dataclass(frozen=True, slots=True)
class OfGuest:
    """A view for which no tables are swept."""

    says: str
    fields: tuple[Field, ...]
    build: Callable[[Guest], Batch]


View = OfSpaces | OfGuest

TABLE_FIELDS = (
    Field("address", "address"),
    Field("level", "number"),
    Field("entries", "number"),
    Field("used", "number"),
    Field("leaves", "number"),
    Field("places", "number"),
    Field("lpid", "number"),
    Field("pid", "number"),
    Field("ea", "address"),
    Field("readable", "truth"),
)
PID_FIELDS = (
    Field("pid", "number"),
    Field("address", "address"),
    Field("entry", "address"),
    Field("second", "address"),
    Field("root", "address"),
    Field("bits", "number"),
)
FINDING_FIELDS = (
    Field("cause", "word"),
    Field("reason", "word"),
    Field("lpid", "number"),
    Field("pid", "number"),
    Field("ea", "address"),
    Field("level", "number"),
    Field("entry", "address"),
    Field("entry_address", "address"),
)
RAM_FIELDS = (Field("start", "address"), Field("size", "number"), Field("name", "word"))
REGION_FIELDS = (Field("name", "word"), Field("first", "address"), Field("last", "address"))
REGISTER_FIELDS = (Field("cpu", "number"), Field("name", "word"), Field("value", "address"))


def _maps(spaces: Spaces) -> Batch:
    return tabulate(spaces.ranges, spaces.ram.spans(), REGIONS)


def _leaves(spaces: Spaces) -> Batch:
    return tabulate(spaces.columns, spaces.ram.spans(), REGIONS)


def _tables(spaces: Spaces) -> Batch:
    found = spaces.sweep.tables()
    pid = found.pid
    values: list[Any] = [
        found.address,
        found.level,
        found.length // np.uint32(8),
        found.fill,
        found.leaves,
        found.references,
        found.lpid,
        pid,
        found.ea,
        found.readable,
    ]
    owned = pid != NO_PID
    return Batch(
        tuple(
            Column(each, column, known=owned if each.name == "pid" else None)
            for each, column in zip(TABLE_FIELDS, values, strict=True)
        )
    )


def _pids(spaces: Spaces) -> Batch:
    found = spaces.processes
    values = (
        [each.pid for each in found],
        [each.address for each in found],
        [each.entry for each in found],
        [each.second for each in found],
        [each.root for each in found],
        [each.bits for each in found],
    )
    return _columns(PID_FIELDS, values)


def _findings(spaces: Spaces) -> Batch:
    found = spaces.sweep.oddities
    roots = [spaces.roots[each.root] for each in found]
    values = (
        [each.cause for each in found],
        [each.reason for each in found],
        [root.lpid for root in roots],
        [root.pid for root in roots],
        [root.base | each.offset for root, each in zip(roots, found, strict=True)],
        [each.level for each in found],
        [each.entry for each in found],
        [each.address for each in found],
    )
    return _columns(FINDING_FIELDS, values)


def _ram(guest: Guest) -> Batch:
    found = guest.memory.ram.ranges
    return _columns(RAM_FIELDS, ([r.start for r in found], [r.size for r in found], [r.name for r in found]))


def _regions(_guest: Guest) -> Batch:
    values = ([r.name for r in REGIONS], [r.start for r in REGIONS], [r.end - 1 for r in REGIONS])
    return _columns(REGION_FIELDS, values)


def _registers(guest: Guest) -> Batch:
    found = [
        (cpu, name, value)
        for cpu in (() if guest.running else guest.target.cpus)
        for name, value in guest.registers(cpu).values.items()
    ]
    return _columns(REGISTER_FIELDS, tuple([row[at] for row in found] for at in range(3)))


def _columns(fields: tuple[Field, ...], values: tuple[list[Any], ...]) -> Batch:
    made = (
        words_of(field, column) if field.kind == "word" else numbers_of(field, column)
        for field, column in zip(fields, values, strict=True)
    )
    return Batch(tuple(made))


VIEWS: Mapping[str, View] = MappingProxyType(
    {
        "maps": OfSpaces("what is mapped, in ranges: what 'maps --all' tells", FIELDS, _maps),
        "leaves": OfSpaces("the same leaf by leaf", LEAF_FIELDS, _leaves),
        "tables": OfSpaces("the table pages, and where each is reached first", TABLE_FIELDS, _tables),
        "pids": OfSpaces("the live entries of the process table", PID_FIELDS, _pids),
        "findings": OfSpaces("what is wrong with the trees, and tables that are shared", FINDING_FIELDS, _findings),
        "ram": OfGuest("the real addresses that are RAM", RAM_FIELDS, _ram),
        "regions": OfGuest("Linux's regions of effective addresses", REGION_FIELDS, _regions),
        "registers": OfGuest("the registers of every vCPU that are known", REGISTER_FIELDS, _registers),
    }
)
"""Every view by name."""
