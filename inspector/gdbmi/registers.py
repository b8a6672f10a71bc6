"""Registers of one vCPU through gdb, in the byte order that the stub used for that vCPU just then.

QEMU's stub swaps every register if and only if MSR[LE] of that vCPU is set at that moment
(``ppc_maybe_bswap_register``, target/ppc/gdbstub.c), and gdb does not follow. gdb's byte order is
therefore fixed to big, and undone here: a little-endian vCPU's MSR read big-endian has LE's bit 0 at
bit 56, which no PowerPC MSR has otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from inspector.errors import ProtocolError
from inspector.gdbmi.monitor import parse_value
from inspector.gdbmi.records import MiError
from inspector.gdbmi.session import Cpu, GdbSession

SWAPPED_LE = 1 << 56
VALUE = re.compile(rb'{number="(\d+)",value="0x([0-9a-f]{1,16})"}')
"""A plain value; sliced out, as memory is, because a parser of whole records takes half as long as the stub.
``<unavailable>`` does not match, and is then absent."""
HALVES = frozenset({"cr", "xer", "fpscr"})
"""32 bits wide in the stub's core description (QEMU gdb-xml/power64-core.xml); all else here has 64."""
CORE = frozenset({*(f"r{n}" for n in range(32)), "pc", "msr", "cr", "lr", "ctr", "xer"})
"""Registers that the stub knows for every vCPU, the defect below notwithstanding."""


class RegisterReader:
    """Reads registers by gdb's names, unsigned. ``broken`` holds the vCPUs whose SPRs the stub refuses.

    QEMU before 9.0 numbers the SPRs of the first vCPU only and answers E14 for those of the others; its
    monitor still knows them."""

    def __init__(self, session: GdbSession) -> None:
        self.session = session
        self.broken: set[int] = set()

    def read(self, cpu: Cpu, names: Iterable[str]) -> dict[str, int]:
        """The values of ``names`` that can be had; what the guest does not have is absent.

        Raises TargetLost, ReplyTimeout, ProtocolError."""
        session = self.session
        asked = [name for name in dict.fromkeys(names) if name in session.register_numbers]
        core = [name for name in asked if name in CORE]
        sprs = [name for name in asked if name not in CORE]
        together = core if cpu.number in self.broken else asked
        try:
            values = self._from_gdb(cpu, together)
        except MiError:
            if together == core:
                raise
            values = self._from_gdb(cpu, core)
            self.broken.add(cpu.number)
        if cpu.number in self.broken and sprs:
            values.update(self._from_monitor(cpu, sprs))
        return values

    def _from_gdb(self, cpu: Cpu, names: list[str]) -> dict[str, int]:
        """All of ``names`` in one command, which gdb turns into packets sent back to back."""
        by_number = {self.session.register_numbers[name]: name for name in ("msr", *names)}
        numbers = " ".join(map(str, by_number))
        reply = self.session.command(f"-data-list-register-values --thread {cpu.thread} x {numbers}")
        raw = {
            by_number[int(number)]: int(value, 16)
            for number, value in VALUE.findall(reply.line)
            if int(number) in by_number
        }
        if "msr" not in raw:
            raise ProtocolError(f"gdb gave no MSR for vCPU {cpu.number}; try again")
        values = in_order(raw)
        return {name: values[name] for name in names if name in values}

    def _from_monitor(self, cpu: Cpu, names: list[str]) -> dict[str, int]:
        """The same through ``monitor print``, whose own current CPU is put back to 0 whatever happens."""
        commands = [f"cpu {cpu.number}", *(f"print/x ${name}" for name in names), "cpu 0"]
        try:
            said = self.session.monitors(commands)
        except KeyboardInterrupt:
            self.session.monitors(["cpu 0"])
            raise
        if said[0] is None or said[0].strip():
            return {}  # the monitor did not switch: its values would be another vCPU's
        values = {name: parse_value(text or "") for name, text in zip(names, said[1:-1], strict=True)}
        return {name: value for name, value in values.items() if value is not None}


@contextmanager
def byte_order_of_guest(session: GdbSession) -> Iterator[None]:
    """gdb's byte order as that of the vCPU it has selected, for as long as this lasts; then big again, always.

    Raises TargetLost, ReplyTimeout, ProtocolError."""
    msr = session.register_numbers.get("msr")
    reply = session.command(f"-data-list-register-values x {msr}")
    found = VALUE.search(reply.line)
    if found is None or not int(found[2], 16) & SWAPPED_LE:
        yield
        return
    try:
        session.console("set endian little")
        yield
    finally:
        session.console("set endian big")


def in_order(raw: Mapping[str, int]) -> dict[str, int]:
    """Register values read big-endian, as they are: swapped back where ``raw["msr"]`` says that the stub swapped.

    Raises ProtocolError where the result cannot be: the PVR of every 64-bit PowerPC fits 32 bits."""
    swapped = bool(raw["msr"] & SWAPPED_LE)
    values = {name: _swap(value, 4 if name in HALVES else 8) if swapped else value for name, value in raw.items()}
    if values.get("pvr", 0) >> 32:
        raise ProtocolError("the stub's registers are in no byte order that fits its PVR; stop the guest and try again")
    return values


def _swap(value: int, size: int) -> int:
    return int.from_bytes((value & ((1 << 8 * size) - 1)).to_bytes(size, "big"), "little")
