"""The hypervisor whose life cycle is run: its guests, the behaviour of its kernel, and where new tables come from."""

from __future__ import annotations

from dataclasses import dataclass, field

from inspector.errors import UsageError
from inspector.kvm.history import DEFAULT, old
from inspector.kvm.pool import Pool, Words
from inspector.kvm.second_level import SecondLevel
from inspector.kvm.shape import AP_1G, AP_2M, ROOT_BYTES, HostPages
from inspector.kvm.slots import Slots
from inspector.kvm.trace import Trace
from inspector.radix.bits import MASK64, PTE_VALID


@dataclass(slots=True)
class Vm:
    """One guest: its tree and its memory slots."""

    lpid: int
    tree: SecondLevel
    slots: Slots = field(default_factory=Slots)


@dataclass(slots=True)
class Machine:
    """``words`` is the memory that everything lies in, ``version`` one of :data:`inspector.kvm.history.VERSIONS`, or
    ``dd1`` besides: a POWER9 DD1 processor. ``vms`` are the guests by LPID."""

    words: Words
    pool: Pool
    pages: HostPages = field(default_factory=HostPages)
    version: str = DEFAULT
    dd1: bool = False
    vms: dict[int, Vm] = field(default_factory=dict)
    old: frozenset[str] = field(init=False)
    """The slugs of what the version still does in the old way."""

    def __post_init__(self) -> None:
        self.old = old(self.version)

    def behave_as(self, version: str, dd1: bool = False) -> None:
        """From now on as this version does. Raises UsageError for one that is not known."""
        self.old = old(version)
        self.version, self.dd1 = version, dd1
        for vm in self.vms.values():
            self._settle(vm.tree)

    def adopt(self, lpid: int, root: int) -> Vm:
        """A guest whose tree is there: its root is at this real address."""
        tree = SecondLevel(self.words, self.pool, root, lpid, self.pages)
        self._settle(tree)
        vm = Vm(lpid, tree)
        self.vms[lpid] = vm
        return vm

    def make(self, lpid: int) -> Vm:
        """A guest with an empty tree (``kvmppc_init_vm_radix``). Raises UsageError where the pool has no room."""
        root = self.pool.take(ROOT_BYTES)
        if root is None:
            raise UsageError(
                f"the pool has no room for a root directory, which takes {ROOT_BYTES >> 10} KiB; name a larger one"
            )
        return self.adopt(lpid, root)

    def begin(self, vm: Vm) -> Trace:
        """A new operation on this guest: what it does goes into a trace of its own."""
        vm.tree.trace = trace = Trace()
        return trace

    def _settle(self, tree: SecondLevel) -> None:
        tree.clear_first = self.dd1 and "dd1-cleared-first" in self.old
        tree.rounds = "tlbie-not-rounded" not in self.old
        tree.huge_ap = AP_2M if "no-1g" in self.old else AP_1G

    def present(self, entry: int) -> bool:
        """What ``pgd_present``, ``pud_present`` and ``pmd_present`` say. ``_PAGE_INVALID``, which 6.1 takes for present
        too, nobody sets in a second-level tree."""
        return entry != 0 if "nonzero-is-present" in self.old else bool(entry & PTE_VALID)

    @property
    def clears(self) -> int:
        """The bits that an unmap clears in an entry."""
        return PTE_VALID if "unmap-keeps-entry" in self.old else MASK64
