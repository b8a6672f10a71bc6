"""A dozen and more ways to hang a guest behind its kernel's back, each with what ``triage`` is to call it.

    with hung_guest() as guest:
        way = WAYS["function-masked"]
        mark = way.apply(guest)         # what was asked for does not come now:
        guest.comes_not(mark)
        way.restore(guest)              # where that can be

Every way has a disk of its own name, so that many can stand side by side in one guest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from inspector.errors import ProtocolError
from inspector.radix.bits import PTE_ATT, PTE_RPN, RPDB_MASK
from inspector.triage.found import Confidence
from inspector.virtio.layout import DESCRIPTOR_BYTES, INDIRECT
from inspector.virtio.words import DRIVER_OK, NEEDS_RESET
from scripts.hangsguest import PACKED, PSERIES, RNG, RNG_BUFFER, RNG_BYTES, HungGuest, guest_with
from scripts.kinds import Kind

NOWHERE = 0x2108_0000_0000
"""A real address in the window of pseries' PCI bus where no device is: loads give ones or zeros, stores are lost."""
NATIVE = 0x2100_0000_0000
"""Where that window begins, and QEMU's firmware puts the registers of virtio devices."""
KILLED = (128 + 7, 128 + 11)
"""A shell's exit status of what dies by SIGBUS, or by SIGSEGV."""
FAR = 0x4000
"""How far ahead an event index is put so that it is not come to."""
COMMAND, BAR4, MSIX = 0x04, 0x20, 0x11
"""PCI: the command register, the fifth BAR, the MSI-X capability's number."""
MEMORY, MASTER = 1 << 1, 1 << 2
"""Of the command register: the device answers to its memory addresses; it may access memory itself."""
STATUS, SELECT, ENABLE, DESC, DEVICE = 20, 22, 28, 32, 48
"""Of the common configuration (virtio 1.2, 4.1.4.3)."""

Do = Callable[[HungGuest, str], None]
Sees = Callable[[HungGuest, str], bool]


@dataclass(frozen=True, slots=True)
class Way:
    """One way, and what ``triage`` is to call it first: ``slug``, and how ``sure`` it can be of that in a guest that
    does not heal. It may add those of ``beside``, which are true of it as well, and nothing else.

    ``how`` is done to what answers so far; then ``ask`` has the guest use it, and ``then`` is done once that is out.
    ``undo`` has it answer again, where that can be. ``sees`` is whether what was done shows in QEMU's state.
    ``ends`` are the exit statuses that what was asked for may have where it ends after all: 0, as nothing comes of it
    under QEMU's TCG, or KILLED. ``says`` is what the kernel has to say of it. ``of`` is what it is done to; a disk has
    the way's own name; there is one generator, and what is done ``alone`` wants a guest for itself."""

    name: str
    slug: str
    what: str
    how: Do
    then: Do | None = None
    undo: Do | None = None
    sees: Sees | None = None
    ends: tuple[int, ...] = ()
    says: str = ""
    sure: Confidence = "high"
    beside: tuple[str, ...] = ()
    ask: Callable[[HungGuest, str], str] = HungGuest.ask
    of: Literal["disk", "generator", "process"] = "disk"
    alone: bool = False

    @property
    def device(self) -> str:
        """QEMU's name for the device that it is done to; of a process' way, its own."""
        return RNG if self.of == "generator" else self.name

    def apply(self, guest: HungGuest) -> str:
        """Hang the guest; a word for :meth:`HungGuest.comes_not`. Raises ProtocolError where it answered not even
        before."""
        if self.of != "process" and not guest.answers(self.device):
            raise ProtocolError(f"{self.device} did not answer before it was touched; boot the guest again")
        self.how(guest, self.device)
        if self.then is None:
            return self.ask(guest, self.device)
        before = available(guest, self.device)
        mark = self.ask(guest, self.device)
        if not guest.until(lambda: available(guest, self.device) != before):
            raise ProtocolError(f"the driver of {self.device} asked it for nothing; boot the guest again")
        if not guest.comes_not(mark, 1):  # by then it has also made up its mind whether to kick
            raise ProtocolError(f"{self.device} answered before all was done to it; boot the guest again")
        self.then(guest, self.device)
        return mark

    def restore(self, guest: HungGuest) -> None:
        """Undo it. Raises ProtocolError where that cannot be."""
        if self.undo is None:
            raise ProtocolError(f"{self.name} cannot be undone; boot the guest again")
        self.undo(guest, self.device)


def available(guest: HungGuest, name: str) -> int:
    """The driver's index: of the next buffer that it will make available. In a packed ring, what changes with that: the
    flags of the descriptor that the device is to take next."""
    queue = guest.queue(name)
    if name.startswith(PACKED):
        return guest.peek("<H", queue.desc + DESCRIPTOR_BYTES * (queue.last_avail_idx or 0) + 14)
    return guest.peek("<H", queue.avail + 2)


# -- the tables --------------------------------------------------------------------------------------------------------


def _leaves(change: Callable[[int], int]) -> Do:
    """Change every leaf that maps a device's registers."""

    def how(guest: HungGuest, name: str) -> None:
        for at in guest.disks[name].leaves:
            guest.poke(name, ">Q", at, change(guest.peek(">Q", at)))

    return how


def _put_back(guest: HungGuest, name: str) -> None:
    guest.put_back(name)


def put_back_and_kick(guest: HungGuest, name: str) -> None:
    """Have RAM as it was, and the device look at its queue."""
    guest.put_back(name)
    guest.notify(name)


def _move(guest: HungGuest, name: str, high: int) -> None:
    guest.configure(name, BAR4 + 4, 4, high)


def _moved(guest: HungGuest, name: str) -> bool:
    return guest.bar(name, 4) >> 32 == NOWHERE >> 32


# -- the device --------------------------------------------------------------------------------------------------------


def _reset(guest: HungGuest, name: str) -> None:
    guest.common(name, STATUS, 1, 0)


def _bad_head(guest: HungGuest, name: str) -> None:
    """Make a head available that is beyond the descriptor table, and kick."""
    queue = guest.queue(name)
    index = guest.peek("<H", queue.avail + 2)
    guest.poke(name, "<H", queue.avail + 4 + 2 * (index % queue.num), queue.num + 5)
    guest.poke(name, "<H", queue.avail + 2, (index + 1) & 0xFFFF)
    guest.notify(name)


def _broken(guest: HungGuest, name: str) -> bool:
    device = guest.device(name)
    return device.broken and bool(device.status & NEEDS_RESET)


def command(clear: int) -> Do:
    """Clear a bit of its PCI command register."""

    def how(guest: HungGuest, name: str) -> None:
        guest.configure(name, COMMAND, 2, guest.config(name, COMMAND, 2) & ~clear)

    return how


def memory_on(guest: HungGuest, name: str) -> None:
    """Have it answer to its memory addresses again, and look at its queue."""
    guest.configure(name, COMMAND, 2, guest.config(name, COMMAND, 2) | MEMORY)
    guest.notify(name)


def _master_on(guest: HungGuest, name: str) -> None:
    guest.configure(name, COMMAND, 2, guest.config(name, COMMAND, 2) | MASTER)
    guest.common(name, STATUS, 1, guest.device(name).status | DRIVER_OK)
    guest.notify(name)


def _disabled(guest: HungGuest, name: str) -> bool:
    device = guest.device(name)
    return device.disabled and not device.status & DRIVER_OK


def _unstale(guest: HungGuest, name: str) -> None:
    _move(guest, name, NATIVE >> 32)
    guest.notify(name)


# -- the rings ---------------------------------------------------------------------------------------------------------


def elsewhere(field: int) -> Do:
    """Tell the device another address for one part of queue 0, where no RAM is; the others stay as they are."""

    def how(guest: HungGuest, name: str) -> None:
        at = guest.part(name, "common")
        low, high = NOWHERE & 0xFFFF_FFFF, NOWHERE >> 32
        guest.registers((2, at + SELECT, 0), (4, at + field, low), (4, at + field + 4, high), (2, at + ENABLE, 1))

    return how


def _deaf(guest: HungGuest, name: str) -> None:
    """Have the device want no kick for a long time."""
    guest.poke(name, "<H", guest.available_event(name), (available(guest, name) + FAR) & 0xFFFF)


def _silent(guest: HungGuest, name: str) -> None:
    """Have the driver want no interrupt for a long time."""
    guest.poke(name, "<H", guest.used_event(name), (guest.queue(name).used_idx + FAR) & 0xFFFF)


def _far_index(guest: HungGuest, name: str) -> None:
    """Put the driver's index where it cannot be while a request is out, and kick. The next head is one that cannot be
    either, so that the device stops there, and not at whatever the ring held before."""
    queue = guest.queue(name)
    index = guest.peek("<H", queue.avail + 2)
    guest.poke(name, "<H", queue.avail + 4 + 2 * (index % queue.num), queue.num + 5)
    guest.poke(name, "<H", queue.avail + 2, (index + queue.num + 0x100) & 0xFFFF)
    guest.notify(name)


def _used_index(guest: HungGuest, name: str) -> None:
    """The device has used a request whose interrupt is held back: spoil its entry and the index, and let it go."""
    guest.until(lambda: guest.queue(name).used_idx == available(guest, name))
    queue = guest.queue(name)
    last = queue.used + 4 + 8 * ((queue.used_idx - 1) % queue.num)
    guest.poke(name, "<I", last, queue.num + 5)
    guest.poke(name, "<H", queue.used + 2, (queue.used_idx + queue.num + 0x100) & 0xFFFF)
    vector_mask(False)(guest, name)


def _stray_buffer(guest: HungGuest, name: str) -> None:
    """Have the oldest pending request's last buffer but one where no RAM is; the device is then due a kick."""
    queue = guest.queue(name)
    assert queue.last_avail_idx is not None
    head = guest.peek("<H", queue.avail + 4 + 2 * (queue.last_avail_idx % queue.num))
    at = queue.desc + head * DESCRIPTOR_BYTES
    if guest.peek("<H", at + 12) & INDIRECT:
        at = guest.peek("<Q", at)
    guest.put_back(name)  # the event index: so far nobody has looked at it again
    guest.poke(name, "<Q", at + DESCRIPTOR_BYTES, NOWHERE)


def _stray_buffer_taken(guest: HungGuest, name: str) -> None:
    _stray_buffer(guest, name)
    guest.notify(name)


def _pending(guest: HungGuest, name: str) -> bool:
    return available(guest, name) != guest.queue(name).last_avail_idx


def _done_untold(guest: HungGuest, name: str) -> bool:
    """The device has used what the driver waits for: its used index is ahead of the driver's word."""
    queue = guest.queue(name)
    return queue.used_idx == queue.last_avail_idx == available(guest, name)


# -- interrupts --------------------------------------------------------------------------------------------------------


def _function_mask(on: bool) -> Do:
    def how(guest: HungGuest, name: str) -> None:
        at = guest.capability(name, MSIX) + 2
        control = guest.config(name, at, 2)
        guest.configure(name, at, 2, control | 1 << 14 if on else control & ~(1 << 14))

    return how


def vector_mask(on: bool) -> Do:
    """Mask, or unmask, its queue. Vector 1 is queue 0's; 16 bytes an entry, its control last (PCI 3.0, 6.8.2)."""

    def how(guest: HungGuest, name: str) -> None:
        guest.registers((4, guest.bar(name, 1) + 16 + 12, int(on)))

    return how


def _after_another(guest: HungGuest, name: str) -> str:
    """The first to ask is killed by the kernel, with the generator's lock in its hands."""
    guest.oops(name)
    return guest.ask(name)


# -- a process ---------------------------------------------------------------------------------------------------------


def _clear_entry(guest: HungGuest, name: str) -> None:
    at = guest.spin()
    for each in (at, at + 8):
        guest.poke(name, ">Q", each, 0)


def _empty_root(guest: HungGuest, name: str) -> None:
    """Linux's page of zeros is an empty directory."""
    at = guest.spin()
    guest.poke(name, ">Q", at, guest.peek(">Q", at) & ~RPDB_MASK | guest.zeros())


def _release(guest: HungGuest, _: str) -> str:
    return guest.release()


# -- all of them -------------------------------------------------------------------------------------------------------


def _drain(guest: HungGuest, name: str) -> None:
    """Take all that the generator may give: it holds back what is asked for then."""
    guest.machine.shell(f"head -c {2 * RNG_BYTES} /dev/hwrng >/dev/null 2>&1 </dev/null &")
    guest.until(lambda: guest.queue(name).used_idx == RNG_BYTES // RNG_BUFFER)


_ROWS = (
    Way("not-io", "mmio-not-io", "its registers' leaves lose the I/O attribute", _leaves(lambda pte: pte & ~PTE_ATT),
        undo=_put_back, ends=(0,), sure="medium"),
    Way("wrong-address", "mmio-wrong-address", "its registers' leaves lead to where no device is",
        _leaves(lambda pte: pte & ~PTE_RPN | NOWHERE), undo=put_back_and_kick, sees=_pending),
    Way("stale", "mmio-stale", "its registers are moved, and the kernel's entries lead to the old place",
        lambda guest, name: _move(guest, name, NOWHERE >> 32),
        undo=_unstale, sees=_moved),
    Way("reset", "device-reset", "it is reset and the driver not told", _reset,
        sees=lambda guest, name: guest.device(name).status == 0),
    Way("bad-head", "device-needs-reset", "a head that cannot be is made available: QEMU gives it up", _bad_head,
        sees=_broken),
    Way("far-index", "ring-index-impossible", "the driver's index is far ahead while a request is out", _deaf,
        then=_far_index, sees=_broken, beside=("device-needs-reset",)),
    Way("used-index", "ring-index-impossible", "the device's index and last entry are spoilt before the driver looks",
        vector_mask(True), then=_used_index, says="out of range"),
    Way("used-not-ram", "ring-not-ram", "the device has its used ring where no RAM is", elsewhere(DEVICE)),
    Way("table-not-ram", "ring-not-ram", "the device has its descriptor table where no RAM is", elsewhere(DESC),
        beside=("device-needs-reset",)),
    Way("silent", "used-not-taken", "the index from which on the driver wants an interrupt is far ahead", _silent,
        sees=_done_untold, sure="medium"),
    Way("function-masked", "interrupt-not-taken", "MSI-X is masked for the whole device", _function_mask(True),
        undo=_function_mask(False), sees=_done_untold),
    Way("vector-masked", "interrupt-not-taken", "its queue's MSI-X vector is masked", vector_mask(True),
        undo=vector_mask(False), sees=_done_untold),
    Way("memory-off", "available-not-taken", "it does not answer to its memory addresses: kicks are lost",
        command(MEMORY), undo=memory_on, sees=_pending),
    Way("deaf", "available-not-notified", "the index from which on the device wants a kick is far ahead", _deaf,
        undo=put_back_and_kick, sees=_pending),
    Way("stray-buffer", "buffer-not-ram", "a pending request's buffer is where no RAM is", _deaf,
        then=_stray_buffer, sees=_pending, beside=("device-needs-reset",)),
    Way("stray-buffer-taken", "device-needs-reset", "the same, and the device has found out", _deaf,
        then=_stray_buffer_taken, sees=_broken),
    Way("not-master", "device-disabled", "it may not access memory: bus mastering is off", command(MASTER),
        undo=_master_on, sees=_disabled),
    Way("spent", "available-not-taken", "the generator gave what it may, and takes no more", _drain, sees=_pending,
        of="generator", sure="low"),
    Way("empty-root", "page-not-mapped", "the entry of a process that runs leads to an empty directory", _empty_root,
        undo=_put_back, ask=_release, of="process"),
    Way("no-entry", "process-entry-cleared", "the process table's entry of a process that runs is cleared",
        _clear_entry, ask=_release, of="process", ends=KILLED, sure="medium"),
    Way("not-mapped", "mmio-page-not-mapped", "its registers' leaves are cleared", _leaves(lambda _: 0),
        sees=_pending, says="Unable to handle kernel data access", of="generator", alone=True, ask=_after_another),
)  # fmt: skip
WAYS: Mapping[str, Way] = MappingProxyType({way.name: way for way in _ROWS})
"""Every way by its name. At the last one the reader dies of an oops in the kernel, with the
generator's lock; to others it gives no more."""


@contextmanager
def hung_guest(
    ways: Iterable[Way] = _ROWS,
    progress: Callable[[float], None] | None = None,
    *,
    healing: bool = False,
    kind: Kind = PSERIES,
) -> Iterator[HungGuest]:
    """Boot a guest for these ways; nothing is done to it yet. ``progress`` is as ``Machine.wait_ready`` has it; in one
    that is ``healing`` QEMU looks for kicks that were lost whenever it goes on, as it does by default."""
    disks = [way.name for way in ways if way.of == "disk"]
    with guest_with(disks, progress, healing=healing, kind=kind) as guest:
        yield guest
