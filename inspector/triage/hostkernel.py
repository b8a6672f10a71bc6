"""Which kernel runs the guests of a bare machine, and so which of KVM's software walks counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from inspector import partitions
from inspector.errors import MemoryReadError, UnknownSymbol, UsageError
from inspector.kvm import history
from inspector.radix.bits import REAL_MODE_MASK
from inspector.radix.software_walk import VARIANTS

if TYPE_CHECKING:
    from inspector.guest import Guest

SEED, AS_SPLIT, ON_DD1 = "kvm", "kvm@4.20", "kvm@dd1"
SPLIT = (4, 20)
NO_DD1 = (4, 19)
"""From this release on the kernel knows no POWER9 DD1."""
QUADRANTS_FIRST = (5, 0)
"""From this release on KVM has the MMU read the instruction, and walks only where that fails (d7b456152230)."""
LATEST_READ = (6, 12)
"""The latest release whose walk was read: it is that of 4.20."""
BANNER = re.compile(rb"Linux version (\d[\w.+~-]{2,63}) \(")
"""``linux_banner`` of Linux's ``init/version.c``."""
WITHIN, LONGEST = 64 << 20, 256
"""How much of the lowest RAM is looked through for it: the kernel's read-only data is there."""


@dataclass(frozen=True, slots=True)
class HostWalk:
    """``walker`` is the walk of the host's kernel; ``release`` that kernel's, "" where it is not known; ``how`` says
    how that was found. ``given`` is whether the user said so."""

    walker: str = SEED
    release: str = ""
    how: str = "the host's kernel is not known and taken for 4.11's"
    given: bool = False

    @property
    def mmu_first(self) -> bool:
        """Whether this kernel has the MMU look for the instruction before it walks."""
        number = history.number_of(self.release)
        return number is not None and number >= QUADRANTS_FIRST

    @property
    def doubt(self) -> str:
        """That this kernel is later than any whose walk is known here; "" where it is not."""
        number = history.number_of(self.release)
        if number is None or number <= LATEST_READ:
            return ""
        latest = ".".join(map(str, LATEST_READ))
        return (
            f"the walk of {self.release[: history.SHOWN]} is not known here, as kernels after {latest} are not: it is "
            f"taken for the newest known walk, {self.walker}"
        )


def walker_of(release: str, dd1: bool = False) -> str:
    """The name of the walk that a kernel of this release does; the seed's where that says no number."""
    number = history.number_of(release)
    if number is None:
        return SEED
    if dd1 and number < NO_DD1:
        return ON_DD1
    return AS_SPLIT if number >= SPLIT else SEED


def named(name: str) -> HostWalk:
    """The walk of a kernel that the user named: a version as 'fault --as' takes it, a release as uname has it, or a
    walker as 'xlate --walker' takes it. Raises UsageError for any other."""
    if name in VARIANTS:
        return HostWalk(name, "", "the host's kernel is taken for another, as --as says", given=True)
    if name == history.SEED:
        return HostWalk(SEED, "", "the host's kernel is taken for 4.11's, as --as says", given=True)
    number = history.number_of(name)
    if number is None or number < history.FIRST:
        raise UsageError(
            f"{name[: history.SHOWN]!r} is no kernel from 4.11 on, such as {history.SEED}, 4.18 or 6.1.0, and no walk "
            f"of KVM's; of those there are: {', '.join(VARIANTS)}"
        )
    return HostWalk(walker_of(name), name, f"the host's kernel is taken for {name}, as --as says", given=True)


def host_walk(guest: Guest) -> HostWalk:
    """By VMCOREINFO where the target has it, by the banner that symbols lead to, or by the one in the lowest RAM where
    that lies in this process."""
    for text, how in _banners(guest):
        found = BANNER.search(text)
        if found is not None:
            return _found(guest, found[1].decode("ascii", "replace"), how)
    return HostWalk()


def _found(guest: Guest, release: str, how: str) -> HostWalk:
    pvr = guest.registers(None, ("pvr",)).get("pvr")
    dd1 = pvr is not None and pvr >> 16 == 0x4E and pvr & 0xF00 == 0x100
    return HostWalk(walker_of(release, dd1), release, f"the host's kernel is {release} ({how})")


def _banners(guest: Guest) -> Iterator[tuple[bytes | memoryview, str]]:
    if not partitions.in_sight(guest):
        return
    for line in (guest.target.vmcoreinfo or b"").splitlines():
        if line.startswith(b"OSRELEASE="):
            yield b"Linux version " + line.removeprefix(b"OSRELEASE=") + b" (", "VMCOREINFO"
    if guest.symbols is not None:
        try:
            at = guest.symbols.address("linux_banner") & REAL_MODE_MASK
            yield guest.memory.read(at, LONGEST), "linux_banner"
        except (UnknownSymbol, MemoryReadError):
            pass
    windows = sorted(guest.memory.windows, key=lambda each: each[0])
    for address, data in windows:
        if address < WITHIN:
            yield data[: WITHIN - address], "its banner in RAM"
