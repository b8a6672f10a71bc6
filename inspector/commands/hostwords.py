"""How a user writes the host's page size, the overlay's pool, a memory slot, and what the host has behind a page of
it."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.errors import UsageError
from inspector.kvm.slots import FLAG_NAMES, INVALID
from inspector.memory.physical import Range
from inspector.operands import Resolver, evaluate, parse_range

HOST_PAGES = {"4k": 12, "64k": 16}
SLOT = "BASE:SIZE[@HVA][,log][,readonly]"
SLOT_EXAMPLE = "0:32M@0x7fff9e600000,log"
SLOT_FLAGS = {name: flag for name, flag in FLAG_NAMES.items() if flag != INVALID}
"""Those that a user may give a slot."""
SIZES = {"4k": 12, "64k": 16, "2m": 21, "1g": 30}
HOST = "none, or base=ADDR with size=64K, hva=ADDR, writable or readonly, dirty or clean, io, thp, compound=SIZE"
HOST_EXAMPLE = "base=0x6000000,size=2M,clean"


def host_page_shift(text: str | None) -> int:
    """Log2 of the host's page size that ``--host-page`` gives, which is 64K where nothing is said. Raises
    UsageError."""
    shift = HOST_PAGES.get((text or "64K").strip().lower())
    if shift is None:
        raise UsageError(f"--host-page takes 64K or 4K, which ppc64 kernels have, not {text!r}")
    return shift


def pool_of(text: str | None, lookup: Resolver) -> Range | None:
    """Where ``--pool`` has new tables laid, ADDR:LEN; None where nothing is said. Raises UsageError."""
    if text is None:
        return None
    from inspector.whatif import POOL

    return Range(*parse_range(text, lookup), POOL)


@dataclass(frozen=True, slots=True)
class SlotWords:
    """A slot as it was written."""

    base: int
    size: int
    flags: int
    hva: int | None


def slot_of(text: str, lookup: Resolver) -> SlotWords:
    """A slot from ``BASE:SIZE[@HVA][,log][,readonly]``. Raises UsageError."""
    where, *words = text.split(",")
    flags = 0
    for word in words:
        flag = SLOT_FLAGS.get(word.strip().lower())
        if flag is None:
            raise UsageError(f"{word!r} says nothing of a slot; write {SLOT}, as in: {SLOT_EXAMPLE}")
        flags |= flag
    span, at, hva = where.partition("@")
    base, size = parse_range(span, lookup)
    return SlotWords(base, size, flags, evaluate(hva, lookup) if at else None)


@dataclass(frozen=True, slots=True)
class HostWords:
    """The host's mapping as it was written; ``hva`` is that of the page, None where nothing was said of it."""

    base: int
    shift: int
    hva: int | None
    writable: bool = True
    dirty: bool = True
    io: bool = False
    transparent: bool = False
    compound_shift: int | None = None


def host_of(text: str, lookup: Resolver, page_shift: int) -> HostWords | None:
    """The host's mapping from :data:`HOST`; None for "none". Writable and dirty unless it says otherwise, and of the
    host's own page size where no size is given. Raises UsageError."""
    if text.strip().lower() == "none":
        return None
    values: dict[str, str] = {}
    flags: dict[str, bool] = {}
    for word in text.split(","):
        name, equals, value = (part.strip() for part in word.partition("="))
        if equals and name.lower() in ("base", "size", "hva", "compound"):
            if values.setdefault(name.lower(), value) != value:
                raise UsageError(f"the host's page is given two of {name.lower()}=; leave one out")
        elif not equals and name.lower() in _FLAGS:
            flag, on = _FLAGS[name.lower()]
            if flags.get(flag, on) != on:
                raise UsageError(f"the host's page is said to be {name}, and not to be; leave one out")
            flags[flag] = on
        else:
            raise UsageError(f"{word!r} says nothing of the host's page; write {HOST}, as in: {HOST_EXAMPLE}")
    if "base" not in values:
        raise UsageError(f"where the host has the page is missing; write base=ADDR, as in: {HOST_EXAMPLE}")
    shift = _shift(values["size"]) if "size" in values else page_shift
    base = evaluate(values["base"], lookup)
    if base & ((1 << shift) - 1) or base >> 52:
        raise UsageError(
            f"a host page of {1 << shift:#x} bytes does not begin at {base:#x}; give base= a multiple of its size"
        )
    hva = evaluate(values["hva"], lookup) if "hva" in values else None
    compound = _shift(values["compound"]) if "compound" in values else None
    if compound is not None and compound < shift:
        raise UsageError("compound= is what lies behind the mapping, and not less than its size=; give a larger one")
    writable = flags.get("writable", True)
    return HostWords(
        base,
        shift,
        hva,
        writable=writable,
        dirty=flags.get("dirty", writable),
        io=flags.get("io", False),
        transparent=flags.get("thp", False),
        compound_shift=compound,
    )


WORDS = {
    "base=": "real address where the host's mapping begins",
    "size=": "what that maps: 4K, 64K, 2M, 1G",
    "hva=": "host virtual address of the page",
    "writable": "stores are allowed",
    "readonly": "stores are not allowed",
    "dirty": "the change bit is set",
    "clean": "the change bit is not set",
    "io": "a device's",
    "thp": "a transparent huge page",
    "compound=": "size of the page behind the mapping",
    "none": "the host has none",
}
"""What may be said of the host's page, and what it means."""
_FLAGS = {
    "writable": ("writable", True),
    "readonly": ("writable", False),
    "dirty": ("dirty", True),
    "clean": ("dirty", False),
    "io": ("io", True),
    "thp": ("thp", True),
}


def _shift(text: str) -> int:
    shift = SIZES.get(text.lower())
    if shift is None:
        raise UsageError(f"{text!r} is no size of a host's page; there are: {', '.join(SIZES).upper()}")
    return shift
