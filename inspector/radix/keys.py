"""AMR and IAMR: what the 32 storage keys permit, and Linux's well-known values of them.

Key n has IBM bits 2n and 2n+1. The radix MMU always uses key 0, and only for pages without the privileged bit in
privileged state (Linux 6.1 ``arch/powerpc/mm/book3s64/pkeys.c``). The values are those of Linux 6.1
``arch/powerpc/include/asm/book3s/64/kup.h``: KUAP keeps the kernel from reading and writing user pages, KUEP from
executing them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from inspector.radix import bits
from inspector.radix.fields import Field, Format

SOURCE = "Linux 6.1 asm/book3s/64/kup.h; QEMU 7.2 target/ppc/mmu-radix64.h"

AMR_KUAP_BLOCK_READ = 0x5455_5555_5555_5555
AMR_KUAP_BLOCK_WRITE = 0xA8AA_AAAA_AAAA_AAAA
AMR_KUAP_BLOCKED = AMR_KUAP_BLOCK_READ | AMR_KUAP_BLOCK_WRITE
IAMR_KUEP_BLOCKED = 0x5455_5555_5555_5555

_AMR_VALUES = MappingProxyType({0: "read and write", 1: "no read", 2: "no write", 3: "no read, no write"})
_IAMR_VALUES = MappingProxyType({0: "execute", 1: "no execute"})
_MASK_VALUES = MappingProxyType({0: "kept", 1: "low bit may change", 2: "high bit may change", 3: "may change"})

_AMR_NAMES: Mapping[int, str] = MappingProxyType(
    {
        0: "nothing blocked",
        AMR_KUAP_BLOCK_READ: "KUAP blocks reads (AMR_KUAP_BLOCK_READ)",
        AMR_KUAP_BLOCK_WRITE: "KUAP blocks writes (AMR_KUAP_BLOCK_WRITE)",
        AMR_KUAP_BLOCKED: "KUAP blocks reads and writes (AMR_KUAP_BLOCKED)",
    }
)
_IAMR_NAMES: Mapping[int, str] = MappingProxyType(
    {0: "nothing blocked", IAMR_KUEP_BLOCKED: "KUEP blocks execution (AMR_KUEP_BLOCKED)"}
)


def _amr(value: int) -> str:
    denied = [w for mask, w in ((bits.AMR_NO_READ, "read"), (bits.AMR_NO_WRITE, "write")) if value & mask]
    key0 = f"privileged code may not {' or '.join(denied)}" if denied else "privileged code may read and write"
    name = _AMR_NAMES.get(value)
    return f"{name + '; ' if name else ''}key 0: {key0} user pages"


def _iamr(value: int) -> str:
    may = "may not" if value & bits.IAMR_NO_EXECUTE else "may"
    name = _IAMR_NAMES.get(value)
    return f"{name + '; ' if name else ''}key 0: privileged code {may} execute user pages"


def _key(n: int, width: int, values: Mapping[int, str]) -> Field:
    """IAMR's key n is its low bit only; the high one is reserved."""
    meaning = "key 0: every user page, to privileged code" if n == 0 else f"key {n}: not used by the radix MMU"
    return Field(f"KEY{n}", 62 - 2 * n, width, meaning, values=values)


def _format(name: str, title: str, width: int, values: Mapping[int, str]) -> Format:
    summary = {"AMR": _amr, "IAMR": _iamr}.get(name)
    return Format(name, title, 64, tuple(_key(n, width, values) for n in range(32)), summary, source=SOURCE)


AMR = _format("AMR", "authority mask register", 2, _AMR_VALUES)
IAMR = _format("IAMR", "instruction authority mask register", 1, _IAMR_VALUES)
UAMOR = _format("UAMOR", "user authority mask override register", 2, _MASK_VALUES)
AMOR = _format("AMOR", "authority mask override register", 2, _MASK_VALUES)

KEY_FORMATS: Mapping[str, Format] = MappingProxyType({"amr": AMR, "iamr": IAMR, "uamor": UAMOR, "amor": AMOR})
