"""The lines of a replay: what is asked for, read from JSON, and every word of it checked before any is used.

A replay is attached to a bug by whoever met it, so a line may hold anything. Numbers are JSON integers or hexadecimal
strings; a field that an operation does not have is refused, since a word that is misspelt would else mean nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from inspector.errors import UsageError
from inspector.kvm.fault import Fault
from inspector.kvm.host import HostPage
from inspector.kvm.shape import HUGE_SHIFT, LARGE_SHIFT, ROOT_SHIFT
from inspector.kvm.slots import FLAG_NAMES

LONGEST = 1 << 16
"""Characters of a line."""
MOST_LPIDS = 1 << 12
"""LPIDR has so many values on POWER9, and Linux's partition table so many entries."""
ASIDE = frozenset({"comment", "nip", "pid"})
"""Fields that are passed over wherever they stand: what a recorder knows besides."""
GUEST_REAL_BITS = 52
"""What a second-level tree translates."""
SHIFTS = (12, 16, LARGE_SHIFT, HUGE_SHIFT)
"""Sizes of a host's mapping."""
LINUX_FLAGS = {"KVM_MEM_LOG_DIRTY_PAGES": FLAG_NAMES["log"], "KVM_MEM_READONLY": FLAG_NAMES["readonly"]}
FLAGS: Mapping[str, int] = MappingProxyType({**FLAG_NAMES, **LINUX_FLAGS})
SHOWN = 40
_HEX = re.compile(r"0[xX][0-9a-fA-F]+", re.ASCII).fullmatch


class Stretch(NamedTuple):
    """A memory slot as it is written: guest real address and bytes, and of one that is set its flags and address."""

    base: int
    size: int
    flags: int = 0
    hva: int | None = None


class Request(NamedTuple):
    """One line: operation ``op`` on the guest ``lpid``, and what it takes: a fault, a guest real address, a slot, or
    nothing."""

    op: str
    lpid: int
    asked: Fault | int | Stretch | None


def parse(line: str, page_shift: int = 16) -> Request:
    """What a line asks for, on a host whose pages are of 2**``page_shift`` bytes. Raises UsageError, with no word of
    which line it is."""
    if len(line) > LONGEST:
        raise UsageError(f"a line has {LONGEST:,} characters at most")
    try:
        fields = _DECODE(line)
    except RecursionError:
        raise UsageError("it is nested too deeply; an operation is one object, with one more for the host") from None
    except ValueError as error:
        raise UsageError(f"it is no JSON: {_problem(error)}") from None
    if type(fields) is not dict:
        raise UsageError(f'it is {_kind(fields)}, and an operation is an object, as in {{"op": "free", "lpid": 1}}')
    op = fields.get("op")
    form = _FORMS.get(op) if type(op) is str else None
    if form is None:
        _no_operation(fields, op)
    known, needed, rest = form
    if not fields.keys() <= known:
        _unknown(fields, known, str(op))
    if not fields.keys() >= needed.keys():
        raise UsageError(_missing(fields, needed))
    lpid = _number(fields, "lpid", 32)
    if not 0 < lpid < MOST_LPIDS:
        raise UsageError(f'"lpid" is that of a guest, 1 to {MOST_LPIDS - 1}, not {lpid}')
    return Request(str(op), lpid, rest(fields, page_shift))


# -- what each operation takes -----------------------------------------------------------------------------------------


def _fault(fields: dict[str, Any], page_shift: int) -> Fault:
    host = fields.get("host")
    return Fault(
        _number(fields, "ea", 64),
        _number(fields, "gpa", 64),
        _number(fields, "dsisr", 32),
        None if host is None else _host(host, page_shift),
        _flag(fields, "invalidated", False),
        _flag(fields, "fetch", False),
    )


def _host(fields: object, page_shift: int) -> HostPage:
    if type(fields) is not dict:
        raise UsageError(f'"host" is null or an object, not {_kind(fields)}')
    if not fields.keys() <= _HOST:
        _unknown(fields, _HOST, "host")
    if not fields.keys() >= _HOST_NEEDS.keys():
        raise UsageError(f'{_missing(fields, _HOST_NEEDS)} in "host", which is null where the host has no page there')
    shift = _number(fields, "shift", 8) if "shift" in fields else page_shift
    if shift not in SHIFTS:
        raise UsageError(f'"shift" is log2 of a page of the host\'s, {_either(SHIFTS)}, not {shift}')
    base = _number(fields, "base", 56)
    if base & (1 << shift) - 1:
        raise UsageError(f'"base" is where the host\'s mapping begins, and {base:#x} is no multiple of 2**{shift}')
    compound = None
    if fields.get("compound") is not None:
        compound = _number(fields, "compound", 8)
        if not shift <= compound <= ROOT_SHIFT:
            raise UsageError(f'"compound" is log2 of a page that the mapping is of, {shift} to {ROOT_SHIFT}')
    return HostPage(
        _number(fields, "hva", 64),
        base,
        shift,
        _flag(fields, "writable", True),
        _flag(fields, "dirty", True),
        _flag(fields, "io", False),
        _flag(fields, "accessed", True),
        compound,
        _flag(fields, "transparent", False),
        None if fields.get("entry") is None else _number(fields, "entry", 64),
    )


def _page(fields: dict[str, Any], _page_shift: int) -> int:
    return _number(fields, "gpa", GUEST_REAL_BITS)


def _stretch(fields: dict[str, Any], _page_shift: int) -> Stretch:
    return Stretch(_number(fields, "base", 64), _number(fields, "size", 64))


def _slot(fields: dict[str, Any], _page_shift: int) -> Stretch:
    flags = fields.get("flags", 0)
    if type(flags) is str and not _HEX(flags):
        flags = [flags]
    if type(flags) is list:
        value = 0
        for name in flags:
            if type(name) is not str or name not in FLAGS:
                raise UsageError(
                    f'"flags" has {_shown(name)}; it is a number, or a list of names, which are {_either(FLAGS)}'
                )
            value |= FLAGS[name]
    else:
        value = _number(fields, "flags", 32) if "flags" in fields else 0
    hva = None if fields.get("hva") is None else _number(fields, "hva", 64)
    return Stretch(_number(fields, "base", 64), _number(fields, "size", 64), value, hva)


def _nothing(_fields: dict[str, Any], _page_shift: int) -> None:
    return None


def _form(
    take: Callable[[dict[str, Any], int], Fault | int | Stretch | None], needed: tuple[str, ...], *names: str
) -> tuple[frozenset[str], Mapping[str, None], Callable[[dict[str, Any], int], Fault | int | Stretch | None]]:
    return frozenset((*needed, *names)) | ASIDE | {"op", "lpid"}, dict.fromkeys(("lpid", *needed)), take


_FORMS = MappingProxyType(
    {
        "fault": _form(_fault, ("ea", "gpa", "dsisr"), "host", "invalidated", "fetch"),
        "unmap": _form(_page, ("gpa",)),
        "age": _form(_page, ("gpa",)),
        "test-age": _form(_page, ("gpa",)),
        "dirty-log": _form(_stretch, ("base", "size")),
        "slot": _form(_slot, ("base", "size"), "flags", "hva"),
        "free": _form(_nothing, ()),
    }
)
"""By operation: the fields that it may have, those that it must have, and what reads them."""
_HOST_NEEDS: Mapping[str, None] = dict.fromkeys(("hva", "base"))
_HOST = (
    frozenset(
        {"hva", "base", "shift", "writable", "dirty", "io", "accessed", "compound", "transparent", "entry"},
    )
    | ASIDE
)


# -- fields ------------------------------------------------------------------------------------------------------------


def _number(fields: Mapping[str, Any], name: str, bits: int) -> int:
    """An unsigned number of so many bits."""
    value = fields.get(name)
    if type(value) is int:
        found = value
    elif type(value) is str and len(value) <= SHOWN and _HEX(value):
        found = int(value, 16)
    else:
        raise UsageError(f'"{name}" is a whole number or one in hexadecimal ("0x1f"), not {_shown(value)}')
    if found >> bits:
        size = "it is negative" if found < 0 else f"it has {found.bit_length()} bits"
        raise UsageError(f'"{name}" is a number of {bits} bits, and {size}')
    return found


def _flag(fields: Mapping[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name, default)
    if type(value) is bool:
        return value
    if type(value) is int and value in (0, 1):
        return bool(value)
    raise UsageError(f'"{name}" is true or false, not {_shown(value)}')


# -- what is wrong -----------------------------------------------------------------------------------------------------


def _no_operation(fields: dict[str, Any], op: object) -> NoReturn:
    if "op" not in fields:
        raise UsageError(f'"op" is missing; it is {_either(_FORMS)}')
    raise UsageError(f'"op" is {_either(_FORMS)}, not {_shown(op)}')


def _missing(fields: Mapping[str, Any], needed: Mapping[str, None]) -> str:
    """Which of the fields that are ``needed`` are not there."""
    *most, last = (f'"{name}"' for name in needed if name not in fields)
    return f"{', '.join(most)} and {last} are missing" if most else f"{last} is missing"


def _unknown(fields: dict[str, Any], known: frozenset[str], of: str) -> NoReturn:
    extra = next(name for name in fields if name not in known)
    raise UsageError(f"{of} has no field {_shown(extra)}; it has {', '.join(sorted(known - ASIDE - {'op', 'lpid'}))}")


def _either(names: object) -> str:
    *most, last = map(str, names)  # type: ignore[call-overload]
    return f"{', '.join(most)} or {last}"


_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}


def _kind(value: object) -> str:
    if value is None:
        return "null"
    return _KINDS[type(value)]


def _shown(value: object) -> str:
    if type(value) in (list, dict):
        return _kind(value)
    text = json.dumps(value) if not isinstance(value, int) or value.bit_length() < 256 else "a huge number"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."


def _problem(error: ValueError) -> str:
    """What the decoder says, without what of the line it repeats."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    return str(error) if isinstance(error, _Refused) else "a number is too long"


class _Refused(ValueError):
    """What JSON has not, and Python's decoder takes."""


def _no_constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _Refused("a field is given twice")
    return fields


_DECODE = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=_once).decode
