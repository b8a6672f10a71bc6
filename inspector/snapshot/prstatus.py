"""NT_PRSTATUS of ppc64: the registers that any reader of cores understands.

The layout is that of Linux (``struct elf_prstatus`` with ``ELF_NGREG`` 48, ``include/linux/elfcore.h``
and ``arch/powerpc/include/uapi/asm/elf.h``, 6.1) and of QEMU 7.2 (``target/ppc/arch_dump.c``): 504
bytes, pr_pid at 32, pr_reg at 112. Values are in the ELF file's byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

NT_PRSTATUS = 1
NAME = b"CORE"
SIZE = 504
PID_AT = 32
REG_AT = 112
SLOTS: Mapping[str, int] = {
    **{f"r{n}": n for n in range(32)},
    "nip": 32,
    "msr": 33,
    "ctr": 35,
    "lr": 36,
    "xer": 37,
    "cr": 38,
}
"""Doubleword of pr_reg by register."""
FAULT_SLOTS: Mapping[str, int] = {"dar": 41, "dsisr": 42}
"""QEMU leaves these 0 whatever they are, so they are written for others to see and never believed."""


def encode(order: str, cpu: int, registers: Mapping[str, int]) -> bytes:
    """The note of vCPU ``cpu``. What is unknown is 0 there, for ELF has no other way; the manifest knows better.

    ``order`` is '<' or '>'. pr_pid is cpu + 1, as QEMU writes it from 8.2 on: gdb tells threads apart by it."""
    note = bytearray(SIZE)
    struct.pack_into(order + "I", note, PID_AT, cpu + 1)
    for slots in (SLOTS, FAULT_SLOTS):
        for name, slot in slots.items():
            struct.pack_into(order + "Q", note, REG_AT + 8 * slot, registers.get(name, 0))
    return bytes(note)


def decode(order: str, note: bytes) -> dict[str, int]:
    """The registers of one note of SIZE bytes."""
    values = struct.unpack_from(order + "48Q", note, REG_AT)
    return {name: values[slot] for name, slot in SLOTS.items()}
