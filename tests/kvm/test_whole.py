"""Whatever the sequence of operations, and as whatever version: the tree is what a plain model of leaves predicts, it
is well formed, the pool's tables in use are those that are reached, and the base is never written to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inspector.kvm import operations
from inspector.kvm.fault import Fault
from inspector.kvm.history import VERSIONS
from inspector.kvm.operations import Answer
from inspector.kvm.slots import LOG_DIRTY_PAGES
from tests.kvm.scene import HUGE, LARGE, NOPTE, PAGE, POOL_SIZE, PRESENT, RAM, SET_RC, STORE, Scene, host, scene

R, C, W = 0x100, 0x80, 2
SIZE = 4 * HUGE
BASES = (0, 1 << 39)
"""Where the two slots begin: in two tables of the second level."""
GPAS = st.builds(
    lambda base, huge, large, page: base + huge * HUGE + large * LARGE + page * PAGE,
    st.sampled_from(BASES),
    st.integers(0, 1),
    st.integers(0, 1),
    st.integers(0, 2),
)
AT = {0: 16, 1: 21, 2: 30}


@dataclass
class Leaves:
    """Leaves and tables without addresses: a leaf by (level, number), a table by (its level, number), where a number
    is the guest real address less the bits that are translated below."""

    leaves: dict[tuple[int, int], int] = field(default_factory=dict)
    tables: set[tuple[int, int]] = field(default_factory=set)

    def find(self, gpa: int) -> tuple[int, int] | None:
        """Whose leaf is there."""
        for level in (2, 1, 0):
            if (level, gpa >> AT[level]) in self.leaves:
                return level, gpa >> AT[level]
        return None

    def put(self, version: int, leaf: int, gpa: int, level: int) -> str | None:
        """``kvmppc_create_pte``; ``version`` is its place among VERSIONS."""
        merges = version >= VERSIONS.index("4.18")
        self.tables.add((2, gpa >> 39))
        for of in (2, 1):
            number = gpa >> AT[of]
            there = self.leaves.get((of, number))
            if there is not None:
                if version == 0:
                    return "EAGAIN"
                if level == of and merges:
                    self.leaves[of, number] = there | leaf
                    return None
                del self.leaves[of, number]
            if level == of:
                if (of - 1, number) in self.tables:
                    if not merges:
                        return "EBUSY"
                    self.drop(of, number)
                self.leaves[of, number] = leaf
                return None
            self.tables.add((of - 1, number))
        number = gpa >> 16
        there = self.leaves.get((0, number), 0)
        self.leaves[0, number] = there | leaf if there & PRESENT and merges else leaf
        return None

    def drop(self, of: int, number: int) -> None:
        """The table below an entry of level ``of``, and all in it."""
        for level in range(of):
            down = AT[of] - AT[level]
            self.leaves = {k: v for k, v in self.leaves.items() if k[0] != level or k[1] >> down != number}
            up = AT[of] - AT[level + 1]
            self.tables = {k for k in self.tables if k[0] != level or k[1] >> up != number}


class Life(RuleBasedStateMachine):
    """One guest; ``pool`` says how many bytes there are for tables."""

    pool = POOL_SIZE
    exact = True

    def __init__(self) -> None:
        super().__init__()
        self.made: Scene | None = None
        self.model = Leaves()

    @initialize(version=st.sampled_from(VERSIONS), dd1=st.booleans())
    def begin(self, version: str, dd1: bool) -> None:
        self.made = scene(version, dd1=dd1, pool=self.pool)
        for base in BASES:
            self.made.slot(base, SIZE)

    @property
    def it(self) -> Scene:
        assert self.made is not None
        return self.made

    @property
    def version(self) -> int:
        return VERSIONS.index(self.it.machine.version)

    @rule(version=st.sampled_from(VERSIONS), dd1=st.booleans())
    def behave_as(self, version: str, dd1: bool) -> None:
        self.it.machine.behave_as(version, dd1)

    @rule(
        gpa=GPAS,
        store=st.booleans(),
        shift=st.sampled_from((16, 16, 21, 30)),
        writable=st.booleans(),
        dirty=st.booleans(),
        invalidated=st.sampled_from((False, False, False, True)),
    )
    def fault(self, gpa: int, store: bool, shift: int, writable: bool, dirty: bool, invalidated: bool) -> None:
        page = host(gpa, shift, writable=writable, dirty=dirty)
        answer = self.ask(Fault(gpa, gpa, NOPTE | (STORE if store else 0), page, invalidated))
        if store and not writable:
            assert answer.result == "EFAULT"
            return
        if answer.result == "ENOMEM":
            self.resync()
            return
        assert answer.result == "RESUME_GUEST"
        if invalidated or not self.exact:
            self.resync()
            return
        level = self.level(gpa, shift)
        write = store or (writable and (dirty or self.version > 0))
        flags = 0xC000_0000_0000_0000 | R | 5 | (W | C if write else 0)
        at = 0x1_0000_0000 + gpa
        put = self.model.put(self.version, at >> AT[level] << AT[level] | flags, gpa, level)
        if put == "EBUSY":
            self.model.put(self.version, at | flags, gpa, 0)

    def level(self, gpa: int, shift: int) -> int:
        """That of the leaf of a host page that lies like it."""
        slot = self.it.vm.slots.at(gpa)
        logged = slot is not None and slot.flags & LOG_DIRTY_PAGES
        if self.version == 0 or (logged and self.version == 4):
            return 0
        return min({16: 0, 21: 1, 30: 2}[shift], 1 if self.version == 1 else 2)

    def ask(self, fault: Fault) -> Answer:
        return operations.fault(self.it.machine, self.it.vm, fault)

    @rule(gpa=GPAS, store=st.booleans())
    def set_rc(self, gpa: int, store: bool) -> None:
        found = self.model.find(gpa)
        present = found is not None and self.model.leaves[found] & PRESENT
        if not present or (store and self.version >= 2 and found and not self.model.leaves[found] & W):
            return
        assert found is not None
        self.ask(Fault(gpa, gpa, SET_RC | (STORE if store else 0), host(gpa)))
        self.model.leaves[found] |= R | C if store else R

    @rule(gpa=GPAS)
    def unmap(self, gpa: int) -> None:
        assert operations.unmap(self.it.machine, self.it.vm, gpa).result == 0
        self.unmapped(gpa)

    def unmapped(self, gpa: int) -> None:
        found = self.model.find(gpa)
        if found is not None and self.model.leaves[found] & PRESENT:
            if self.version < 2:
                self.model.leaves[found] &= ~PRESENT
            else:
                del self.model.leaves[found]

    @rule(gpa=GPAS, clear=st.booleans())
    def age(self, gpa: int, clear: bool) -> None:
        found = self.model.find(gpa)
        value = 0 if found is None else self.model.leaves[found]
        young = bool(value & PRESENT and value & R)
        ask = operations.age if clear else operations.test_age
        assert ask(self.it.machine, self.it.vm, gpa).result == young
        if young and clear and found is not None:
            self.model.leaves[found] &= ~R

    @rule(base=st.sampled_from(BASES), clear=st.booleans())
    def read_log(self, base: int, clear: bool) -> None:
        slot = self.it.vm.slots.based(base)
        assert slot is not None
        answer = operations.read_log(self.it.machine, self.it.vm, slot, clear=clear)
        assert answer.result == (0 if slot.flags & LOG_DIRTY_PAGES else "ENOENT")
        if clear and answer.result == 0:
            for (level, number), value in self.model.leaves.items():
                if value & PRESENT and base <= number << AT[level] < base + SIZE:
                    self.model.leaves[level, number] = value & ~C

    @rule(base=st.sampled_from(BASES), flags=st.sampled_from((0, LOG_DIRTY_PAGES)))
    def set_slot(self, base: int, flags: int) -> None:
        slot = self.it.vm.slots.based(base)
        assert slot is not None
        toggled = slot.flags != flags
        assert operations.set_slot(self.it.machine, self.it.vm, base, SIZE, flags).result == 0
        if toggled and self.version == 4:
            for level, number in list(self.model.leaves):
                if base <= number << AT[level] < base + SIZE:
                    self.unmapped(number << AT[level])

    @precondition(lambda self: self.made is not None and len(self.it.tables()) > 4)
    @rule()
    def free(self) -> None:
        slots, tables = self.it.vm.slots, self.it.tables()
        stale = {value for value in self.it.tree().values() if not value & PRESENT}
        operations.drop(self.it.machine, self.it.vm)
        assert self.it.machine.pool.tables == 0
        left = {value for at, level in tables for value in self.it.words(at, {3: 8192, 0: 32}.get(level, 512))} - {0}
        assert left <= (stale if self.version == 4 else set()), "only what 4.20 and later take for no entry"
        self.it.vm = self.it.machine.make(5)
        self.it.vm.slots = slots
        self.model = Leaves()

    def resync(self) -> None:
        """After the pool ran out: what is there is what the model goes on from."""
        tree = self.it.tree()
        assert tree.items() <= {(n << AT[of], AT[of]): v for (of, n), v in self.model.leaves.items()}.items() or (
            not self.exact
        ), "no leaf came or changed"
        self.model.leaves = {
            ({16: 0, 21: 1, 30: 2}[shift], gpa >> shift): value for (gpa, shift), value in tree.items()
        }

    @invariant()
    def holds(self) -> None:
        if self.made is None:
            return
        tree, tables = self.it.read()
        expected: Mapping[tuple[int, int], int] = {
            (number << AT[level], AT[level]): value for (level, number), value in self.model.leaves.items()
        }
        assert tree == expected
        assert len({at for at, _ in tables}) == len(tables), "no table is reached twice"
        assert sorted(at for at, _ in tables) == sorted(self.it.machine.pool._taken)
        if self.exact:
            assert len(tables) == 1 + len(self.model.tables)
        assert self.it.base.data == bytes(RAM)
        assert all(each.address >= RAM for each in self.it.overlay.changes())


class Cramped(Life):
    """The same where the pool soon runs out: results are not predicted, but nothing is lost or half done."""

    pool = (64 << 10) + 4 * 4096 + 512
    exact = False


SETTINGS = settings(
    max_examples=40, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLife = Life.TestCase
TestLife.settings = SETTINGS
TestCramped = Cramped.TestCase
TestCramped.settings = SETTINGS


@pytest.mark.parametrize("version", VERSIONS)
def test_one_guest_does_not_touch_another(version: str) -> None:
    made = scene(version)
    other = made.machine.make(6)
    made.slot()
    made.create(0xC000_0000_0000_0187, 0)
    before = made.tree()
    answer = operations.fault(made.machine, other, Fault(0, 0, NOPTE, host(0)))
    assert answer.result == "MMIO", "it has slots of its own"
    other.slots.add(made.vm.slots.each[0])
    operations.fault(made.machine, other, Fault(0, PAGE, NOPTE, host(PAGE)))
    operations.drop(made.machine, other)
    assert made.tree() == before
    assert list(made.machine.vms) == [5]
