"""A guest with a disk for every way to hang it, and the means: its RAM, its tables, its devices' registers.

A way is tried on a disk of its own, so that one guest serves for many. RAM is changed in the file that QEMU shares;
registers and BARs by QEMU's test socket (``-qtest``: docs/devel/testing, QEMU 7.2), which works beside TCG; PCI's
configuration by the guest's own sysfs."""

from __future__ import annotations

import mmap
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import inspector
from inspector.devices import of_monitor
from inspector.errors import ProtocolError, ReplyTimeout, TargetLost
from inspector.virtio.layout import sizes
from inspector.virtio.state import DeviceState, QueueState
from scripts.guests import Machine
from scripts.incontext import PR, special, state
from scripts.kinds import KINDS, Kind
from scripts.qmp import PATIENCE

PSERIES = KINDS["pseries-p9"]
BRIDGE = (
    *("-device", "pnv-phb,chip-id=0,index=0,id=phb", "-device", "pnv-phb-root-port,bus=phb,id=slot0"),
    *("-device", "pcie-pci-bridge,bus=slot0,id=bridge"),
)
"""What powernv has devices behind: a port takes but one."""
SPARE = "spare"
"""The disk that nothing is ever done to: that it answers shows that the guest as a whole still does."""
RNG = "rng"
PACKED = "packed-"
"""What the name of a disk begins with whose rings are packed."""
PAGE, PAGES = 65536, 16
"""Of the guest, and so many of them are on a disk."""
SAME = 4
"""Looks that find the same process on a vCPU are no chance."""
SLOT = r"$(readlink -f $d | sed 's/.*0000:\([^/]*\)\/v.*/\1/')"
"""In the guest's shell, the place on PCI of /sys/block/$d."""
LINEAR = (1 << 60) - 1
"""Of an address in Linux's linear map: the real address."""
RNG_BUFFER = 128
"""Bytes that Linux asks it for at once (virtio-rng.c of 6.1: a cache line)."""
RNG_BYTES, RNG_PERIOD = 0x4000, 86_400_000
"""The random number generator gives so many bytes in so many milliseconds, and then takes no more buffers."""


class QTest:
    """A client of QEMU's test socket: reads and writes real addresses, and so devices' registers."""

    def __init__(self, path: Path, timeout: float = PATIENCE) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def ask(self, *words: str | int) -> str:
        """What is answered to one line after its "OK". Raises ProtocolError, TargetLost."""
        line = " ".join(word if isinstance(word, str) else f"{word:#x}" for word in words)
        said = b""
        try:
            self._socket.sendall(line.encode() + b"\n")
            while not said.endswith(b"\n"):
                some = self._socket.recv(4096)
                if not some:
                    raise TargetLost("QEMU closed its test socket; boot the guest again")
                said += some
        except TimeoutError:
            raise ReplyTimeout(f"QEMU's test socket did not answer {line!r}; boot the guest again") from None
        if not said.startswith(b"OK"):
            raise ProtocolError(f"QEMU's test socket answered {said.decode().strip()!r} to {line!r}; mend that line")
        return said.decode()[2:].strip()

    def write(self, size: int, address: int, value: int) -> None:
        """Write ``size`` bytes to a register, in the CPUs' default byte order (big-endian)."""
        self.ask({1: "writeb", 2: "writew", 4: "writel", 8: "writeq"}[size], address, value)

    def little(self, size: int, address: int, value: int) -> None:
        """The same for a little-endian register, as PCI's and virtio's are."""
        self.write(size, address, int.from_bytes(value.to_bytes(size, "little"), "big"))


@dataclass(frozen=True, slots=True)
class Disk:
    """One disk: its name here and in QEMU, in the guest ("vda"), its place on PCI, and the real addresses of the leaves
    that map its registers."""

    name: str
    node: str
    slot: str
    leaves: tuple[int, ...]

    @property
    def folder(self) -> str:
        """In the guest's sysfs."""
        return f"/sys/bus/pci/devices/0000:{self.slot}"


def words(names: Iterable[str], *, healing: bool = False, kind: Kind = PSERIES) -> tuple[str, ...]:
    """QEMU's words for disks of these names, the generator and the test socket; on a machine of this kind.

    With ioeventfd, as is QEMU's default, it looks into every queue when a stopped machine goes on, as if it had been
    kicked, and a lost kick is mended by whoever stops the machine to look (seen with QEMU 7.2): ``healing``."""
    io = f"ioeventfd={'on' if healing else 'off'}"
    said = ["-qtest", "unix:{directory}/qtest,server=on,wait=off", "-qtest-log", "none"]
    bare = kind.machine != "pseries"
    said += BRIDGE if bare else ()
    for number, name in enumerate(names, 1):
        drive = f"file={{directory}}/disk,if=none,id=of-{name},format=raw,readonly=on,file.locking=off"
        place = f",bus=bridge,addr={number:#x}" if bare else ""
        layout = ",packed=on,disable-legacy=on" if name.startswith(PACKED) else ""
        device = f"virtio-blk-pci,drive=of-{name},id={name},num-queues=1,{io}{layout}{place}"
        said += ["-drive", drive, "-device", device]
    place = ",bus=bridge,addr=0x1f" if bare else ""
    said += ["-device", f"virtio-rng-pci,id={RNG},{io},max-bytes={RNG_BYTES},period={RNG_PERIOD}{place}"]
    return tuple(said)


class HungGuest:
    """A running guest, and what may be done to it."""

    def __init__(self, machine: Machine, names: Iterable[str]) -> None:
        self.machine = machine
        self.disks: dict[str, Disk] = {}
        self._asked = 0
        self._spinning = ""
        self._before: dict[str, list[tuple[str, int, int]]] = {}
        self._find((*names, RNG))

    def _find(self, names: Iterable[str]) -> None:
        """Every disk's names and leaves. The guest stands still for it."""
        devices = {each.path.split("/")[-2]: each for each in self._devices()}
        said = self.machine.shell(f"cd /sys/block; for d in vd*; do echo {SLOT} $d; done")
        nodes = dict(line.split() for line in said.splitlines())
        with inspector.open_target(self.machine.target) as seen:
            spaces = seen.spaces((0,))
            for name in names:
                device = devices[name]
                (bar,) = [each for each in device.bars if each.number == 4]
                assert bar.real is not None
                rows = spaces.columns.take(spaces.index.lookup(bar.real, bar.real + bar.size))
                walks = [seen.translate(int(ea), pid=0) for ea in rows.ea]
                leaves = tuple(dict.fromkeys(walk.steps[-1].address for walk in walks))
                self.disks[name] = Disk(name, nodes.get(device.slot, ""), device.slot, leaves)

    def _devices(self) -> tuple[DeviceState, ...]:
        return of_monitor(lambda lines: [self.machine.hmp(line) for line in lines]).devices

    # --- what it looks like -----------------------------------------------------------------------------------------

    def device(self, name: str) -> DeviceState:
        """A device as QEMU says it is now."""
        (found,) = [each for each in self._devices() if each.path.split("/")[-2] == name]
        return found

    def queue(self, name: str) -> QueueState:
        """Its first queue."""
        return self.device(name).queues[0]

    def part(self, name: str, which: str) -> int:
        """The real address of one part of its registers, as "common" or "notify"."""
        parts = [part for bar in self.device(name).bars for part in bar.parts]
        (found,) = [part for part in parts if part.name.startswith(f"virtio-pci-{which}-")]
        return found.start

    def bar(self, name: str, number: int) -> int:
        """The real address of a BAR."""
        (found,) = [bar.real for bar in self.device(name).bars if bar.number == number]
        assert found is not None
        return found

    # --- RAM and registers --------------------------------------------------------------------------------------------

    @contextmanager
    def ram(self) -> Iterator[mmap.mmap]:
        """All RAM, to be changed."""
        with open(self.machine.ram_file, "r+b") as file, mmap.mmap(file.fileno(), 0) as ram:
            yield ram

    def peek(self, form: str, address: int) -> int:
        """One number of RAM; ``form`` is struct's."""
        with self.ram() as ram:
            (found,) = struct.unpack_from(form, ram, address)
        return int(found)

    def poke(self, name: str, form: str, address: int, value: int) -> None:
        """Write one number to RAM, and remember what was there as ``name``'s."""
        self._before.setdefault(name, []).append((form, address, self.peek(form, address)))
        with self.ram() as ram:
            struct.pack_into(form, ram, address, value)

    def put_back(self, name: str) -> None:
        """Have RAM again as it was before what was poked as ``name``'s."""
        with self.ram() as ram:
            for form, address, value in reversed(self._before.pop(name, [])):
                struct.pack_into(form, ram, address, value)

    def registers(self, *writes: tuple[int, int, int]) -> None:
        """Write little-endian registers: (bytes, real address, value) each."""
        with QTest(self.machine.directory / "qtest") as qtest:
            for size, address, value in writes:
                qtest.little(size, address, value)

    def notify(self, name: str) -> None:
        """Kick its first queue, as the driver would."""
        self.registers((2, self.part(name, "notify"), 0))

    def common(self, name: str, offset: int, size: int, value: int) -> None:
        """Write a field of its common configuration."""
        self.registers((size, self.part(name, "common") + offset, value))

    def config(self, name: str, offset: int, size: int) -> int:
        """A little-endian field of its PCI configuration."""
        said = self.machine.shell(f"od -An -v -tx1 -N{offset + size} {self.disks[name].folder}/config").split()
        return int("".join(reversed(said[offset:])), 16)

    def configure(self, name: str, offset: int, size: int, value: int) -> None:
        """Write it: by the guest's own sysfs, of which its drivers hear nothing."""
        octal = "".join(f"\\{byte:03o}" for byte in value.to_bytes(size, "little"))
        self.machine.shell(
            f"printf '{octal}' | dd of={self.disks[name].folder}/config bs={size} seek={offset // size} conv=notrunc "
            "2>/dev/null"
        )

    def capability(self, name: str, number: int) -> int:
        """The offset of a capability in its PCI configuration (PCI 3.0, 6.7). Raises ProtocolError without it."""
        at = self.config(name, 0x34, 1)
        while at:
            if self.config(name, at, 1) == number:
                return at
            at = self.config(name, at + 1, 1)
        raise ProtocolError(f"{name} has no PCI capability {number:#x}; look at QEMU's version")

    # --- its rings (virtio 1.2, 2.7) ----------------------------------------------------------------------------------

    def used_event(self, name: str) -> int:
        """Where the driver says from which used index on it wants an interrupt: the end of the available ring."""
        queue = self.queue(name)
        return queue.avail + sizes(queue.num)["avail"] - 2

    def available_event(self, name: str) -> int:
        """Where the device says from which available index on it wants a kick: the end of the used ring."""
        queue = self.queue(name)
        return queue.used + sizes(queue.num)["used"] - 2

    # --- asking it for something --------------------------------------------------------------------------------------

    def ask(self, name: str, after: int = 0) -> str:
        """Have the guest read a page of a disk, or from the generator, in the background; a word to ask with how that
        went. It is another page each time: a reader that hangs keeps what was read before it in the page cache. Of the
        generator it is more than its driver has kept. ``after`` so many seconds, this returns before."""
        self._asked += 1
        mark = f"/tmp/asked-{self._asked}"
        read = f"dd if=/dev/{self.disks[name].node} of=/dev/null bs={PAGE} count=1 skip={self._asked % PAGES}"
        if name == RNG:
            read = f"head -c {2 * RNG_BUFFER} /dev/hwrng"
        self.machine.shell(f"(sleep {after}; {read} >/dev/null 2>&1; echo $? >{mark}) </dev/null >/dev/null 2>&1 &")
        return mark

    def spin(self) -> int:
        """Start a process that computes on the last vCPU until :meth:`release`; the real address of its entry in the
        process table. The machine is left standing at an instruction of that process."""
        cpu = self.machine.kind.cpus - 1
        self._asked += 1
        mark = f"/tmp/asked-{self._asked}"
        loop = f"while [ ! -e {mark}.go ]; do n=0; while [ $n -lt 9999 ]; do n=$((n+1)); done; done"
        self.machine.shell(
            f"(taskset {1 << cpu:x} sh -c 'echo $$ >{mark}.task; {loop}'; echo $? >{mark}) </dev/null >/dev/null 2>&1 &"
        )
        self._spinning = mark
        task = self.machine.shell(f"until [ -s {mark}.task ]; do sleep 0.1; done; cat {mark}.task")
        self.machine.computes(int(task))
        pids: list[int] = []
        deadline = time.monotonic() + PATIENCE
        while len(pids) < SAME or len(set(pids[-SAME:])) > 1:
            if time.monotonic() > deadline:
                raise ReplyTimeout("the process that computes was not seen to; boot the guest again")
            self.machine.cont()
            time.sleep(0.05)
            self.machine.pause()
            if state(self.machine, cpu) & PR:
                pids.append(special(self.machine, "pid", cpu))
        with inspector.open_target(self.machine.target) as seen:
            (found,) = [each.address for each in seen.processes() if each.pid == pids[-1]]
        return int(found)

    def zeros(self) -> int:
        """The real address of Linux's page of zeros."""
        with inspector.open_target(self.machine.target, vmlinux=str(self.machine.vmlinux)) as seen:
            return int(seen.symbol_value("empty_zero_page")) & LINEAR

    def release(self) -> str:
        """Have the machine go on, and that process end; a word to ask with how it went."""
        self.machine.cont()
        self.machine.shell(f"touch {self._spinning}.go")
        return self._spinning

    def outcome(self, mark: str) -> int | None:
        """The exit status of what was asked for; None while it has not ended."""
        said = self.machine.shell(f"cat {mark} 2>/dev/null", check=False).strip()
        return int(said) if said else None

    def answers(self, name: str, seconds: float = PATIENCE) -> bool:
        """Whether a read goes well, within ``seconds`` at most."""
        mark = self.ask(name)
        return self.until(lambda: self.outcome(mark) is not None, seconds) and self.outcome(mark) == 0

    def comes_not(self, mark: str, times: int = 4) -> bool:
        """Whether what was asked for has not ended although the spare disk has answered ``times`` later reads, with
        half a second between them."""
        for _ in range(times):
            if not self.answers(SPARE):
                raise ReplyTimeout("the guest's healthy disk does not answer either; boot it again")
            if self.outcome(mark) is not None:
                return False
            time.sleep(0.5)
        return True

    def oops(self, name: str) -> None:
        """Have the guest use a device that is sure to make its kernel stumble, and wait until that has been told: on
        the console, where it would otherwise be in the midst of what the shell answers."""
        start = self.machine.console.size
        self.ask(name, after=1)
        self.machine.console.wait_for(b"end trace", PATIENCE, start)
        size, deadline = -1, time.monotonic() + PATIENCE
        while size != (size := self.machine.console.size):  # it has some words more
            if time.monotonic() > deadline:
                raise ReplyTimeout("the guest's kernel does not cease to tell of its stumbling; boot the guest again")
            time.sleep(2)
        self.machine.shell("dmesg -n 1")

    def until(self, done: Callable[[], bool], seconds: float = PATIENCE) -> bool:
        """Wait for ``done`` at most so long; whether it is."""
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def has_said(self, words: str) -> bool:
        """Whether these words are among the kernel's messages, or come to be."""
        return self.until(lambda: bool(int(self.machine.shell(f"dmesg | grep -cF '{words}'", check=False))))


@contextmanager
def guest_with(
    names: Iterable[str],
    progress: Callable[[float], None] | None = None,
    *,
    healing: bool = False,
    kind: Kind = PSERIES,
) -> Iterator[HungGuest]:
    """Boot a guest with a disk of each of these names, and the spare one; :func:`words` says what ``healing`` is."""
    disks = (*names, SPARE)
    with Machine(replace(kind, devices=words(disks, healing=healing, kind=kind))) as machine:
        machine.wait_ready(progress=progress)
        yield HungGuest(machine, disks)
