"""drgn as a peer: its ``follow_phys`` over a core, told what debug information would have told it.

drgn walks page tables itself, given a page directory, but asks ``cur_cpu_spec->mmu_features`` first whether the MMU is
a radix one. A snapshot carries no debug information, and without ``--everything`` not the structure either; so both are
laid before it here. Its table sizes are those of the kernel's page size (PAGESIZE of VMCOREINFO), 64K for Debian's:
where a process has a table of 4K pages, drgn does not see it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

KERNEL = 0xC000_0000_0000_0000
"""Where the linear map begins: a page directory's real address ORed with this is its pointer, which drgn takes."""
SPEC = 0xC00F_FFFF_FFF0_0000
"""An address of the linear map that no guest has RAM for."""
MMU_FTR_TYPE_RADIX = 0x40
"""Linux 6.1, arch/powerpc/include/asm/mmu.h."""


class Drgn:
    """The core at ``path`` as drgn sees it. Raises ImportError where drgn is not installed, ValueError where it does
    not know the core (one without VMCOREINFO, or packed)."""

    def __init__(self, path: str) -> None:
        import drgn

        # The part in C of drgn.helpers.linux.mm.follow_phys, which has no types.
        self._follow = import_module("_drgn")._linux_helper_follow_phys
        self._fault = drgn.FaultError
        self.program: Any = drgn.Program()
        self.program.set_core_dump(path)
        little = drgn.PlatformFlags.IS_LITTLE_ENDIAN in self.program.platform.flags
        features = MMU_FTR_TYPE_RADIX.to_bytes(4, "little" if little else "big")
        kind = self.program.int_type("unsigned int", 4, False)
        spec = self.program.struct_type("cpu_spec", 4, (drgn.TypeMember(kind, "mmu_features"),))
        pointer = drgn.Object(self.program, self.program.pointer_type(spec), SPEC)
        self.program.add_memory_segment(SPEC, 4, lambda _at, size, offset, _physical: features[offset : offset + size])
        self.program.register_object_finder(
            "mmu", lambda _program, name, _flags, _file: pointer if name == "cur_cpu_spec" else None, enable_index=0
        )

    def follow(self, root: int, ea: int) -> int | None:
        """Where ``ea`` goes in the tree whose root directory is at real address ``root``; None where nowhere."""
        try:
            return int(self._follow(self.program, root | KERNEL, ea))
        except self._fault:
            return None

    def follow_all(self, root: int, eas: list[int]) -> None:
        """The same of many, their answers dropped, by its shortest way: for measuring. Raises drgn.FaultError."""
        follow, program, directory = self._follow, self.program, root | KERNEL
        for ea in eas:
            follow(program, directory, ea)

    def read(self, ea: int, length: int) -> bytes:
        """Bytes at a kernel address, by drgn's own view of the kernel."""
        return bytes(self.program.read(ea, length))
