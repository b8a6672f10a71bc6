"""What KVM does to a second-level tree, watched with kprobes in the host: each fault with its arguments, the host's own
entry that it looked up, each leaf made or taken away, each ``tlbie``.

The functions are those of Linux 6.1, ``arch/powerpc/kvm/book3s_64_mmu_radix.c``, and their arguments are where the
ELFv2 ABI has them: the first in r3."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Self

from scripts.guests import Machine
from scripts.kprobes import Probes

FAULT = "kvmppc_book3s_radix_page_fault"
PROBES = (
    "p:fault kvmppc_book3s_radix_page_fault ea=%gpr4:x64 dsisr=%gpr5:x64 asdr=+{asdr}(%gpr3):x64",
    "r:faulted kvmppc_book3s_radix_page_fault ret=$retval:s32",
    "p:page kvmppc_book3s_instantiate_page gpa=%gpr4:x64 writing=%gpr6:u8 readonly=%gpr7:u8",
    "p:lookup __find_linux_pte root=%gpr3:x64 ea=%gpr4:x64",
    "r:found __find_linux_pte entry=+0($retval):x64",
    "p:create kvmppc_create_pte pte=%gpr5:x64 gpa=%gpr6:x64 level=%gpr7:u32 lpid=%gpr9:u32",
    "r:created kvmppc_create_pte ret=$retval:s32",
    "p:dsi kvmppc_core_queue_data_storage ea=%gpr4:x64 dsisr=%gpr5:x64",
    "p:unmap kvm_unmap_radix gfn=%gpr5:x64",
    "p:unmapped kvmppc_unmap_pte pte=+0(%gpr4):x64 gpa=%gpr5:x64 shift=%gpr6:u32 lpid=%gpr8:u32",
    "p:tlbie radix__flush_tlb_lpid_page lpid=%gpr3:u32 address=%gpr4:x64 size=%gpr5:x64",
    "p:pwc radix__flush_pwc_lpid lpid=%gpr3:u32",
)
BIG_ENDIAN = ("entry", "pte")
"""Values that are the bytes of an entry, as the MMU has them and a little-endian kernel does not."""
FILTERS = {"lookup": "ea > 0xffffffffff"}
"""Probes that are let pass but for some values: of the look-ups, those of guest real addresses."""
SHORT = r"s/^.*[0-9]: \([a-z]*\): ([^)]*) /\1 /"
SHOWN = f"sed -n -e '/^#/d' -e '{SHORT}' -e '/^found/d' -e '/^lookup/{{p;n;{SHORT};p;d}}' -e p"
"""What of the trace is shown, for a console is slow: the events' names and values, and no result of a look-up that was
not let pass."""
EVENT = re.compile(r"^([a-z]+) (\w+=.*)$")
ROOM_KIB = 512


@dataclass(frozen=True, slots=True)
class Event:
    """One probe that was hit: its name in :data:`PROBES`, and its values; one that could not be read is not there."""

    name: str
    values: dict[str, int]

    def __getitem__(self, key: str) -> int:
        return self.values[key]


class FaultTrace(Probes):
    """The probes, set while the ``with`` lasts."""

    def __init__(self, machine: Machine) -> None:
        assert machine.files is not None, "a guest without a kernel has no KVM"
        asdr = place_of_asdr(machine.files.modules / "kvm-hv.ko")
        super().__init__(machine, [probe.format(asdr=asdr) for probe in PROBES], ROOM_KIB)

    def __enter__(self) -> Self:
        super().__enter__()
        self._tell("; ".join(f"echo '{only}' > events/kprobes/{name}/filter" for name, only in FILTERS.items()))
        return self

    def taken(self) -> list[Event]:
        """What happened since the last time, in order."""
        return list(events(self._tell(f"{SHOWN} trace; echo > trace")))


def events(trace: str) -> Iterator[Event]:
    """The events in a trace as it is shown."""
    for line in trace.splitlines():
        found = EVENT.search(line)
        if found is not None:
            yield Event(found[1], dict(_values(found[2])))


def _values(text: str) -> Iterator[tuple[str, int]]:
    for word in text.split():
        name, _, value = word.partition("=")
        if value != "(fault)":
            number = int(value, 0)
            yield name, int.from_bytes(number.to_bytes(8, "little"), "big") if name in BIG_ENDIAN else number


def place_of_asdr(module: Path) -> int:
    """Where in ``struct kvm_vcpu`` the handler finds ASDR (``arch.fault_gpa``), by the handler's own code in kvm-hv:
    the first doubleword that it loads from its first argument after the one at 0, which is ``vcpu->kvm``. Debian's
    kernels have no type information (BTF) that says it."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    elf = ELFFile(BytesIO(module.read_bytes()))
    symbols = elf.get_section_by_name(".symtab")
    assert isinstance(symbols, SymbolTableSection)
    found = symbols.get_symbol_by_name(FAULT)
    assert found, f"{module} has no {FAULT}"
    handler = found[0]
    code = elf.get_section(handler["st_shndx"]).data()
    start = handler["st_value"]
    for at in range(start, start + 4 * 64, 4):
        word = int.from_bytes(code[at : at + 4], "little")
        opcode, base, kind, place = word >> 26, word >> 16 & 31, word & 3, word & 0xFFFC
        if (opcode, base, kind) == (58, 3, 0) and place:
            return place
    raise AssertionError(f"{FAULT} of {module} loads nothing from its vCPU at once; read its code anew")
