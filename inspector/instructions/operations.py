"""The storage accesses there are, as a table by opcode: Power ISA 3.0B and 3.1, book I chapters 3, 4, 6 and 7, book II
chapter 4, and book III 4.4.1 (the ``cix`` ones); opcodes as its appendices list them.

Not in it are hash checks of 3.1 (``hashst`` and its like) and accelerators' own; to these it can say nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache
from typing import Literal

Way = Literal["r", "w"]


class Kind(Enum):
    """What sort of instruction one is, where it matters to memory."""

    LOAD = "load"
    STORE = "store"
    CACHE = "cache"
    """Cache management: an access of a block, or (``hint``) none that could fault."""
    BRANCH = "branch"
    RETURN = "return from interrupt"
    SYSTEM_CALL = "system call"
    TRAP = "trap"
    OTHER = "other"
    UNKNOWN = "unknown"
    """Its word is no instruction that is known here."""


class Form(Enum):
    """Where an effective address comes from; RA of 0 stands for 0 in all of them."""

    D = "RA + 16-bit displacement"
    DS = "RA + 14-bit displacement * 4"
    DQ = "RA + 12-bit displacement * 16"
    X = "RA + RB"
    RA = "RA"
    PREFIXED = "RA or the instruction's own address + 34-bit displacement"


class Count(Enum):
    """Sizes that no opcode gives."""

    MULTIPLE = "4 bytes for each register from RT on to r31"
    IMMEDIATE = "the NB field, 0 for 32"
    XER = "XER bits 57:63"
    LENGTH = "bits 0:7 of RB, at most 16"


@dataclass(frozen=True, slots=True)
class Operation:
    """One access. ``size`` in bytes, of which ``align`` low bits' worth the address is rounded down to (1: not at all).

    ``update`` writes the address back into RA. ``atomic`` both reads and writes, and needs the rights of a store.
    ``hint`` never faults. ``real`` takes the address for a real one, whatever the MSR says."""

    name: str
    kind: Kind
    way: Way
    form: Form
    size: int | Count
    update: bool = False
    align: int = 1
    atomic: bool = False
    hint: bool = False
    real: bool = False
    registers: str = "r"
    """What its first operand is: "r", "f", "v", "vs", or "" where it has none."""


BLOCK = 128
"""Bytes of a cache block on POWER9 and POWER10."""

SIZES: Mapping[str, int] = {"b": 1, "h": 2, "w": 4, "d": 8, "q": 16}

_D = (
    "32 lwz lwzu lbz lbzu stw stwu stb stbu lhz lhzu lha lhau sth sthu lmw stmw lfs lfsu lfd lfdu stfs stfsu stfd stfdu"
)
_X = (
    "lbzx 87 lbzux 119 lhzx 279 lhzux 311 lhax 343 lhaux 375 lwzx 23 lwzux 55 lwax 341 lwaux 373 ldx 21 ldux 53 "
    "stbx 215 stbux 247 sthx 407 sthux 439 stwx 151 stwux 183 stdx 149 stdux 181 "
    "lhbrx 790 sthbrx 918 lwbrx 534 stwbrx 662 ldbrx 532 stdbrx 660 "
    "lbarx 52 lharx 116 lwarx 20 ldarx 84 lqarx 276 stbcx. 694 sthcx. 726 stwcx. 150 stdcx. 214 stqcx. 182"
)
"""Of fixed point, named as they are: the size is in the name."""
_CIX = "lwzcix 789 lhzcix 821 lbzcix 853 ldcix 885 stwcix 917 sthcix 949 stbcix 981 stdcix 1013"
_FLOAT = (
    "lfsx 535 4 lfsux 567 4 lfdx 599 8 lfdux 631 8 lfdpx 791 16 lfiwax 855 4 lfiwzx 887 4 "
    "stfsx 663 4 stfsux 695 4 stfdx 727 8 stfdux 759 8 stfdpx 919 16 stfiwx 983 4"
)
_VECTOR = (
    "lvebx 7 1 lvehx 39 2 lvewx 71 4 lvx 103 16 lvxl 359 16 "
    "stvebx 135 1 stvehx 167 2 stvewx 199 4 stvx 231 16 stvxl 487 16"
)
_VSX = (
    "lxsdx 588 8 lxsspx 524 4 lxsiwax 76 4 lxsiwzx 12 4 lxsibzx 781 1 lxsihzx 813 2 lxvd2x 844 16 lxvw4x 780 16 "
    "lxvh8x 812 16 lxvb16x 876 16 lxvdsx 332 8 lxvwsx 364 4 lxvx 268 16 lxvpx 333 32 lxvrbx 13 1 lxvrhx 45 2 "
    "lxvrwx 77 4 lxvrdx 109 8 "
    "stxsdx 716 8 stxsspx 652 4 stxsiwx 140 4 stxsibx 909 1 stxsihx 941 2 stxvd2x 972 16 stxvw4x 908 16 "
    "stxvh8x 940 16 stxvb16x 1004 16 stxvx 396 16 stxvpx 461 32 stxvrbx 141 1 stxvrhx 173 2 stxvrwx 205 4 "
    "stxvrdx 237 8"
)
_BY_LENGTH = "lxvl 269 lxvll 301 stxvl 397 stxvll 429"
_ATOMIC = "lwat 582 4 ldat 614 8 stwat 710 4 stdat 742 8"
_CACHE = "dcbst 54 r dcbf 86 r icbi 982 r dcbz 1014 w icbt 22 hint dcbtst 246 hint dcbt 278 hint"


def _scalar(name: str, form: Form, size: int | Count, registers: str = "r") -> Operation:
    """A load or store by its name: ``st…`` stores, and ``…u`` and ``…ux`` update."""
    store = name.removeprefix("p").startswith("st")
    stem = name.rstrip(".").removesuffix("x")
    return Operation(
        name,
        Kind.STORE if store else Kind.LOAD,
        "w" if store else "r",
        form,
        size,
        update=stem.endswith("u"),
        registers=registers,
    )


def _named_size(name: str) -> int:
    """Bytes of a fixed-point access by its name: "lbzx" 1, "stdu" 8."""
    return SIZES[name.removeprefix("st").removeprefix("l")[0]]


def _triples(text: str) -> Iterator[tuple[str, int, str]]:
    words = text.split()
    for name, number, more in zip(words[::3], words[1::3], words[2::3], strict=True):
        yield name, int(number), more


def _pairs(text: str) -> Iterator[tuple[str, int]]:
    words = text.split()
    for name, number in zip(words[::2], words[1::2], strict=True):
        yield name, int(number)


@cache
def by_primary() -> Mapping[int, Operation]:
    """D-forms by their primary opcode."""
    found = {}
    first, *names = _D.split()
    for opcode, name in enumerate(names, int(first)):
        size: int | Count
        if name in ("lmw", "stmw"):
            size = Count.MULTIPLE
        elif "f" in name:
            size = 4 if "fs" in name else 8
        else:
            size = _named_size(name)
        found[opcode] = _scalar(name, Form.D, size, "f" if "f" in name else "r")
    return found


def _dq(name: str, size: int, registers: str) -> Operation:
    return _scalar(name, Form.DQ, size, registers)


BY_LOW_BITS: Mapping[tuple[int, int, int], Operation] = {
    # (primary opcode, mask of the word's low bits, their value)
    (6, 0xF, 0): _dq("lxvp", 32, "vs"),
    (6, 0xF, 1): _dq("stxvp", 32, "vs"),
    (56, 0, 0): _dq("lq", 16, "r"),
    (57, 3, 0): _scalar("lfdp", Form.DS, 16, "f"),
    (57, 3, 2): _scalar("lxsd", Form.DS, 8, "v"),
    (57, 3, 3): _scalar("lxssp", Form.DS, 4, "v"),
    (58, 3, 0): _scalar("ld", Form.DS, 8),
    (58, 3, 1): _scalar("ldu", Form.DS, 8),
    (58, 3, 2): _scalar("lwa", Form.DS, 4),
    (61, 3, 0): _scalar("stfdp", Form.DS, 16, "f"),
    (61, 3, 2): _scalar("stxsd", Form.DS, 8, "v"),
    (61, 3, 3): _scalar("stxssp", Form.DS, 4, "v"),
    (61, 7, 1): _dq("lxv", 16, "vs"),
    (61, 7, 5): _dq("stxv", 16, "vs"),
    (62, 3, 0): _scalar("std", Form.DS, 8),
    (62, 3, 1): _scalar("stdu", Form.DS, 8),
    (62, 3, 2): _scalar("stq", Form.DS, 16),
}


@cache
def by_extended() -> Mapping[int, Operation]:
    """Those of primary opcode 31 by bits 21:30."""
    found = {number: _scalar(name, Form.X, _named_size(name)) for name, number in _pairs(_X)}
    for name, number in _pairs(_CIX):
        found[number] = replace(_scalar(name, Form.X, _named_size(name)), real=True)
    for name, number, size in _triples(_FLOAT):
        found[number] = _scalar(name, Form.X, int(size), "f")
    for name, number, size in _triples(_VECTOR):
        found[number] = replace(_scalar(name, Form.X, int(size), "v"), align=int(size))
    for name, number, size in _triples(_VSX):
        found[number] = _scalar(name, Form.X, int(size), "vs")
    for name, number in _pairs(_BY_LENGTH):
        found[number] = _scalar(name, Form.RA, Count.LENGTH, "vs")
    for name, number, size in _triples(_ATOMIC):
        found[number] = replace(_scalar(name, Form.RA, int(size)), way="w", atomic=True)
    for name, number, how in _triples(_CACHE):
        way: Way = "w" if how == "w" else "r"
        found[number] = Operation(name, Kind.CACHE, way, Form.X, BLOCK, align=BLOCK, hint=how == "hint", registers="")
    found[597] = _scalar("lswi", Form.RA, Count.IMMEDIATE)
    found[533] = _scalar("lswx", Form.X, Count.XER)
    found[725] = _scalar("stswi", Form.RA, Count.IMMEDIATE)
    found[661] = _scalar("stswx", Form.X, Count.XER)
    found[774] = Operation("copy", Kind.LOAD, "r", Form.X, BLOCK, registers="")
    found[902] = Operation("paste.", Kind.STORE, "w", Form.X, BLOCK, registers="")
    return found


@cache
def prefixed() -> Mapping[tuple[int, int], Operation]:
    """Prefixed ones (ISA 3.1) by the prefix's type (0: 8LS, 2: MLS) and the suffix's primary opcode."""
    found = {}
    for opcode, plain in by_primary().items():
        if not plain.update and plain.size is not Count.MULTIPLE:
            found[2, opcode] = _scalar(f"p{plain.name}", Form.PREFIXED, plain.size, plain.registers)
    own = (  # name, opcode, bytes, register
        "plwa 41 4 r plxsd 42 8 v plxssp 43 4 v pstxsd 46 8 v pstxssp 47 4 v plxv 50 16 vs plxv 51 16 vs "
        "pstxv 54 16 vs pstxv 55 16 vs plq 56 16 r pld 57 8 r plxvp 58 32 vs pstq 60 16 r pstd 61 8 r pstxvp 62 32 vs"
    )
    words = own.split()
    for name, number, size, registers in zip(words[::4], words[1::4], words[2::4], words[3::4], strict=True):
        found[0, int(number)] = _scalar(name, Form.PREFIXED, int(size), registers)
    return found
