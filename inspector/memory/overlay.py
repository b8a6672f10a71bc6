"""A what-if copy of memory: what is written stays here, and everything else shows through from below.

Only what was written is kept, in units of 256 bytes with a mark on each written doubleword, so that memory grows with
what was changed, and so that the rest of a unit still follows a guest that has run since. Tables that exist nowhere
else may be laid in *pools*: stretches of real addresses, in RAM or outside of it, that the base is never asked about.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from inspector.errors import MemoryReadError, NotRam
from inspector.memory.physical import UNIT, PhysicalMemory, RamMap, Range

WORD = 8
UNIT_SHIFT = UNIT.bit_length() - 1
WORDS = UNIT // WORD
ALL_WRITTEN = (1 << WORDS) - 1
ZEROS = bytes(UNIT)


@dataclass(frozen=True, slots=True)
class ChangedWord:
    """The doubleword at real ``address``, big-endian as all entries are: what the base holds (None where that cannot be
    read, 0 in a pool) and what was written."""

    address: int
    before: int | None
    after: int


class _Unit:
    """UNIT bytes, and which of their doublewords were written: bit n is the one at 8n."""

    __slots__ = ("data", "written")

    def __init__(self, data: bytes, written: int) -> None:
        self.data = bytearray(data)
        self.written = written


class Overlay:
    """Copy on write over ``base``. A MemorySource and a BatchSource; :attr:`memory` is the guarded memory over it.

    Real addresses are in bytes. ``version`` counts the writes, so that whatever was made of the memory can be told from
    what is to be made anew."""

    def __init__(self, base: PhysicalMemory, pools: Sequence[Range] = ()) -> None:
        self.base = base
        self.pools = tuple(pools)
        self.version = 0
        self._pool_map = RamMap(self.pools)
        self._units: dict[int, _Unit] = {}
        self._ram: tuple[RamMap, RamMap] | None = None
        self._captured: tuple[int, list[tuple[int, int]]] | None = None
        self.memory = PhysicalMemory(self, self.ram, base.clock, keeps=False)

    @property
    def ram(self) -> RamMap:
        """The base's RAM and the pools."""
        below = self.base.ram
        if self._ram is None or self._ram[0] is not below:
            outside = [pool for pool in self.pools if not below.covers(pool.start, pool.size)]
            self._ram = (below, RamMap([*below.ranges, *outside]) if outside else below)
        return self._ram[1]

    @property
    def description(self) -> str:
        return f"an overlay over {self.base.source.description}"

    @property
    def cheap(self) -> bool:
        return self.base.source.cheap

    @property
    def gap(self) -> int:
        """The base puts near runs together itself."""
        return 0

    def expect(self, length: int) -> None:
        """Handed on."""
        self.base.expect(length)

    @property
    def captured(self) -> Sequence[tuple[int, int]] | None:
        """The base's, and what was written."""
        below = self.base.captured
        if below is None:
            return None
        if self._captured is None or self._captured[0] != self.version:
            mine = ((at << UNIT_SHIFT, UNIT) for at in self._units)
            spans = RamMap(Range(*span) for span in (*below, *mine)).spans()
            self._captured = (self.version, [(start, end - start) for start, end in spans])
        return self._captured[1]

    @property
    def zeros(self) -> Sequence[tuple[int, int]]:
        """The base's; what was written over them is among :attr:`captured`."""
        return self.base.zeros

    # -- reading ---------------------------------------------------------------------------------------------------

    def read_u64(self, address: int) -> int:
        """The doubleword at ``address``, a multiple of 8. Raises what the base raises."""
        unit = self._units.get(address >> UNIT_SHIFT)
        if unit is not None:
            at = address & UNIT - 1
            if unit.written >> (at >> 3) & 1:
                return int.from_bytes(unit.data[at : at + WORD], "big")
        return 0 if self._pool_map.covers(address, WORD) else self.base.read_u64(address)

    def read(self, address: int, length: int) -> bytes:
        """As a MemorySource reads."""
        touched = self._touched(address, length)
        if not touched and not self.pools:
            return self.base.read(address, length)
        found = bytearray()
        for start, end, in_pool in self._stretches(address, length):
            found += bytes(end - start) if in_pool else self._below(start, end, touched)
        self._lay(found, address, touched)
        return bytes(found)

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        """Many at once: those that nothing was written to are the base's affair."""
        plain = [
            number
            for number, run in enumerate(runs)
            if not self._touched(*run) and not any(True for _ in self._pool_map.within(*run))
        ]
        answers: list[bytes | MemoryReadError] = [b""] * len(runs)
        for number, found in zip(plain, self.base.read_runs([runs[number] for number in plain]), strict=True):
            answers[number] = found
        for number in sorted(set(range(len(runs))).difference(plain)):
            try:
                answers[number] = self.read(*runs[number])
            except MemoryReadError as error:
                answers[number] = error
        return answers

    def _touched(self, address: int, length: int) -> list[int]:
        """The units written to among these bytes, in order."""
        first, last = address >> UNIT_SHIFT, (address + length - 1) >> UNIT_SHIFT
        if last - first >= len(self._units):
            return sorted(at for at in self._units if first <= at <= last)
        return [at for at in range(first, last + 1) if at in self._units]

    def _stretches(self, address: int, length: int) -> Iterator[tuple[int, int, bool]]:
        """(start, end, whether it is a pool's) of all these bytes, in order."""
        at = address
        for start, end in self._pool_map.within(address, length):
            if at < start:
                yield at, start, False
            yield start, end, True
            at = end
        if at < address + length:
            yield at, address + length, False

    def _below(self, start: int, end: int, touched: list[int]) -> bytes:
        """The base's bytes. Those of a unit that is wholly written need not be there at all."""
        try:
            return self.base.read(start, end - start)
        except MemoryReadError:
            if not touched:
                raise
            pieces = bytearray()
            at = start
            while at < end:
                upto = min(end, (at >> UNIT_SHIFT) + 1 << UNIT_SHIFT)
                unit = self._units.get(at >> UNIT_SHIFT)
                known = unit is not None and unit.written == ALL_WRITTEN
                pieces += bytes(upto - at) if known else self.base.read(at, upto - at)
                at = upto
            return bytes(pieces)

    def _lay(self, found: bytearray, address: int, touched: list[int]) -> None:
        """Put what was written over ``found``, the bytes at ``address``."""
        for each in touched:
            unit, base = self._units[each], each << UNIT_SHIFT
            if unit.written == ALL_WRITTEN:
                low, high = max(base, address), min(base + UNIT, address + len(found))
                found[low - address : high - address] = unit.data[low - base : high - base]
                continue
            for word in range(WORDS):
                if unit.written >> word & 1:
                    at = base + WORD * word
                    low, high = max(at, address), min(at + WORD, address + len(found))
                    if low < high:
                        found[low - address : high - address] = unit.data[low - base : high - base]

    # -- writing ---------------------------------------------------------------------------------------------------

    def write_u64(self, address: int, value: int) -> None:
        """Keep ``value`` for the doubleword at ``address``, a multiple of 8. Raises NotRam outside RAM and pools."""
        at, offset = address >> UNIT_SHIFT, address & UNIT - 1
        unit = self._units.get(at)
        if unit is None:
            if not (self._pool_map.covers(address, WORD) or self.base.ram.covers(address, WORD)):
                raise NotRam(address, WORD)
            unit = self._units[at] = _Unit(ZEROS, 0)
        unit.data[offset : offset + WORD] = value.to_bytes(WORD, "big")
        unit.written |= 1 << (offset >> 3)
        self.version += 1

    def write(self, address: int, data: bytes) -> None:
        """Keep ``data``, whole doublewords, at ``address``, a multiple of 8. Raises NotRam outside RAM and pools."""
        if not (self._pool_map.covers(address, len(data)) or self.base.ram.covers(address, len(data))):
            raise NotRam(address, len(data))
        at, end = address, address + len(data)
        while at < end:
            base = at & -UNIT
            upto = min(end, base + UNIT)
            unit = self._units.get(base >> UNIT_SHIFT)
            if unit is None:
                unit = self._units[base >> UNIT_SHIFT] = _Unit(ZEROS, 0)
            unit.data[at - base : upto - base] = data[at - address : upto - address]
            unit.written |= (1 << (upto - base >> 3)) - (1 << (at - base >> 3))
            at = upto
        self.version += 1

    def clear(self, address: int, length: int) -> None:
        """Make ``length`` bytes at ``address``, both multiples of 8, zeros. Raises NotRam outside RAM and pools."""
        if not (self._pool_map.covers(address, length) or self.base.ram.covers(address, length)):
            raise NotRam(address, length)
        end = address + length
        while address < end:
            if not address & UNIT - 1 and end - address >= UNIT:
                self._units[address >> UNIT_SHIFT] = _Unit(ZEROS, ALL_WRITTEN)
                address += UNIT
            else:
                self.write_u64(address, 0)
                address += WORD
        self.version += 1

    def reset(self) -> None:
        """Forget all that was written."""
        self._units.clear()
        self.version += 1

    # -- what was written ------------------------------------------------------------------------------------------

    @property
    def kept(self) -> int:
        """Bytes that are kept."""
        return UNIT * len(self._units)

    def changes(self) -> Iterator[ChangedWord]:
        """Every doubleword that is not what the base holds, or in a pool 0, by address."""
        for at in sorted(self._units):
            unit = self._units[at]
            for word in range(WORDS):
                if unit.written >> word & 1:
                    address = (at << UNIT_SHIFT) + WORD * word
                    after = int.from_bytes(unit.data[WORD * word : WORD * (word + 1)], "big")
                    before = self._before(address)
                    if before != after:
                        yield ChangedWord(address, before, after)

    def _before(self, address: int) -> int | None:
        if self._pool_map.covers(address, WORD):
            return 0
        try:
            return self.base.read_u64(address)
        except MemoryReadError:
            return None
