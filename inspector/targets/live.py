"""A live guest through QEMU's gdbstub: ``gdb:HOST:PORT`` and ``gdb:unix:PATH``, with or without ``--ram FILE``.

Attaching stops the guest. Closing leaves it as it was found: running, or stopped where it was
stopped. A guest that the user told to ``continue`` and that still runs at the end keeps running,
whichever way it was found; ``interrupt`` and ``step`` are ways of looking, and change nothing about
how it is left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inspector.errors import NotSupported, UsageError
from inspector.gdbmi.console import looking
from inspector.gdbmi.endpoint import parse_endpoint
from inspector.gdbmi.records import MiError
from inspector.gdbmi.registers import RegisterReader, byte_order_of_guest
from inspector.gdbmi.run import GuestControl
from inspector.gdbmi.session import GdbSession, attach
from inspector.memory.physical import Clock, MemorySource, RamMap
from inspector.memory.ramfile import RamFileSource, parse_ram_file
from inspector.memory.tiers import TIERS, TieredSource
from inspector.targets.base import REGISTERS, KeptRegisters, KnownRoots, Registers, RunState, canonical

AUTO = "auto"
"""What ``--source`` says where the fastest way to RAM is to be taken."""

REAL_ONLY = "gdb reads real addresses here, of RAM; 'xlate' tells where an address goes"

GDB_NAMES: Mapping[str, tuple[str, ...]] = {"nip": ("pc",), "pid": ("pidr", "pid")}
"""What gdb calls a register, the newer name first: QEMU 9.0 renamed PIDR from ``pid`` to ``pidr``."""


FOUND = {True: "running", False: "stopped", None: "not known, and taken for running"}
"""How the guest was found, and so will be left."""


class LiveTarget:
    """An attached guest: RAM, registers of every vCPU, and run control. Made by :func:`open_live`.

    ``found_running`` says whether the guest ran when it was found; None where the stub could not tell (QEMU
    8.1 and later), which is taken as running, because that is what gdb's detach leaves."""

    vmcoreinfo: bytes | None = None
    """Not known to a stub; it is looked for in RAM."""

    def __init__(self, name: str, session: GdbSession, clock: Clock, only: str | None = None) -> None:
        self._name = name
        self._session = session
        self._clock = clock
        self._tiers = TieredSource(session, only)
        self._source: MemorySource = self._tiers
        self._file: RamFileSource | None = None
        self._reader = RegisterReader(session)
        self._kept = KeptRegisters(clock)
        self._absent: dict[int, set[str]] = {}
        self._absent_epoch = -1
        self._control = LiveControl(session, self._tiers)

    def use_ram_file(self, text: str) -> None:
        """Read RAM from ``FILE[@ADDR]`` where that holds it. Raises UsageError, FormatError."""
        path, address = parse_ram_file(text)
        gdb = self._tiers.gdb
        file = RamFileSource(path, address, self.ram, gdb, self._clock)
        try:
            file.verify(self.ram, gdb)
        except BaseException:
            file.close()
            raise
        self._file = self._source = file
        self._control.tiers = None

    def settle(self) -> None:
        """Choose the way to RAM now. Raises NotSupported where the only one allowed cannot be taken."""
        if self._file is None:
            self._tiers.settle()

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return self._name

    @property
    def source(self) -> MemorySource:
        """Where the bytes of RAM come from: the RAM file that was given, or the fastest way that can be found."""
        return self._source

    @property
    def ram(self) -> RamMap:
        """What is RAM, as QEMU's ``info mtree -f`` says; read again after every run."""
        return self._session.ram

    @property
    def clock(self) -> Clock:
        """Ticks whenever the guest has run."""
        return self._clock

    @property
    def state(self) -> RunState:
        """What the guest is doing now; a stop that nobody waited for is noticed here."""
        if self._session.transport.lost is None and self._clock.running:
            self._control.notice()
        if self._session.transport.lost is not None:
            return RunState.LOST
        return RunState.RUNNING if self._clock.running else RunState.STOPPED

    @property
    def lost_because(self) -> str | None:
        """Why the state is LOST, in one sentence."""
        return self._session.transport.lost

    @property
    def found_running(self) -> bool | None:
        """Whether the guest ran when it was found; None where that could not be told."""
        return self._session.found_running

    @property
    def standing_since(self) -> float:
        """When it was attached to, by the monotonic clock: it stands still from then on, until it is let run."""
        return self._session.attached_at

    @property
    def cpus(self) -> Sequence[int]:
        """Numbers of the vCPUs, from 0 as QEMU numbers them."""
        return [cpu.number for cpu in self._session.cpus]

    def registers(self, cpu: int, names: Iterable[str] | None = None) -> Registers:
        """Registers of one vCPU: those of ``names`` (None: REGISTERS) that the guest has, and any read before.

        Raises UsageError for a vCPU that is not there, NotSupported while the guest runs, TargetLost."""
        known = next((one for one in self._session.cpus if one.number == cpu), None)
        if known is None:
            raise UsageError(f"there is no vCPU {cpu}; there are {len(self._session.cpus)}, from 0")
        if self._clock.running:
            raise NotSupported("the guest is running, and its registers change; 'interrupt' it first")
        if self._absent_epoch != self._clock.epoch:
            self._absent.clear()
            self._absent_epoch = self._clock.epoch
        values = self._kept.of(cpu)
        absent = self._absent.setdefault(cpu, set())
        wanted = REGISTERS if names is None else tuple(canonical(name) for name in names)
        missing = [name for name in dict.fromkeys(wanted) if name not in values and name not in absent]
        if missing:
            by_gdb = {self._gdb_name(name): name for name in missing}
            found = self._reader.read(known, by_gdb)
            values.update({by_gdb[name]: value for name, value in found.items()})
            absent.update(name for name in missing if name not in values)
        return Registers(cpu, dict(values))

    def _gdb_name(self, name: str) -> str:
        for candidate in GDB_NAMES.get(name, ()):
            if candidate in self._session.register_numbers:
                return candidate
        return name

    @property
    def control(self) -> LiveControl:
        """How to run it."""
        return self._control

    @property
    def known_roots(self) -> KnownRoots:
        """Nothing: a stub knows no roots beyond the registers."""
        return KnownRoots()

    @property
    def machine(self) -> Mapping[str, Any]:
        """Versions, and how the guest was found."""
        session = self._session
        return {
            "stub": session.where,
            "machine": session.stub.machine,
            "qemu": session.stub.version_text,
            "gdb": session.gdb_version,
            "found": FOUND[session.found_running],
            "if_killed": "the guest is let go" if session.guarded else "it may stay stopped: this gdb has no Python",
        }

    def close(self) -> None:
        """Leave the guest as it was found. Safe to call twice, and after the target was lost."""
        try:
            self._session.close()
        finally:
            self._tiers.close()
            if self._file is not None:
                self._file.close()


class LiveControl(GuestControl):
    """Run control, and gdb's console for what only looks."""

    def __init__(self, session: GdbSession, tiers: TieredSource | None = None) -> None:
        super().__init__(session)
        self.tiers = tiers

    def resume(self) -> None:
        """Let every vCPU run, and return at once; a way to RAM that also works meanwhile is looked for before.

        Raises NotSupported where it runs already."""
        if self.tiers is not None and not self.tiers.cheap:
            self.poll()
            self.tiers.settle()
        super().resume()

    def notice(self) -> None:
        """See whether a running guest has stopped by itself, or is gone."""
        from inspector.errors import TargetLost

        try:
            self.poll()
        except TargetLost:
            return

    def monitor(self, commands: Sequence[str]) -> list[str]:
        """What QEMU's monitor prints for commands that only look; not for words from outside. Raises NotSupported
        while the guest runs."""
        self.poll()
        if self.session.clock.running:
            raise NotSupported("the guest is running, and its monitor is not reached meanwhile; 'interrupt' it first")
        return [said or "" for said in self.session.monitors(list(commands))]

    def console(self, command: str) -> str:
        """What gdb prints for a command that only looks; its memory reads are of RAM, by real address.

        Words are shown in the byte order of the vCPU that gdb has selected; page-table entries are big-endian in
        any case. Raises UsageError for a command that would do more, naming what is allowed, and NotSupported while
        the guest runs."""
        text = looking(command)
        self.poll()
        if self.session.clock.running:
            raise NotSupported("the guest is running, and gdb sees nothing of it meanwhile; 'interrupt' it first")
        try:
            with byte_order_of_guest(self.session):
                return self.session.console(text)
        except MiError as refused:
            message = refused.message
            if "Cannot access memory" in message:
                message += f" ({REAL_ONLY})"
            raise MiError(command, message) from refused


def open_live(
    spec: str,
    *,
    ram_file: str | None = None,
    source: str = AUTO,
    gdb: str = "gdb-multiarch",
    timeout: float = 10.0,
) -> LiveTarget:
    """Attach to the stub at ``spec`` (``gdb:HOST:PORT``, ``gdb:[IPv6]:PORT``, ``gdb:unix:PATH``).

    ``ram_file`` is ``FILE[@ADDR]``, QEMU's shared memory backend; ``source`` the only way to RAM that may be taken (one
    of TIERS), or ``auto``; ``gdb`` the program to use; ``timeout`` the limit in seconds of every wait. Raises
    UsageError, ToolMissing, ConnectError, ProtocolError, WrongArchitecture, FormatError, NotSupported, ReplyTimeout and
    TargetLost; after any of them the guest is as it was."""
    if source not in (AUTO, *TIERS):
        raise UsageError(f"--source takes {AUTO}, {', '.join(TIERS[:-1])} or {TIERS[-1]}, not {source!r}")
    if ram_file is not None and source not in (AUTO, "ram"):
        raise UsageError(f"--ram names a file to read, and --source {source} another way; leave one of them out")
    endpoint = parse_endpoint(spec)
    clock = Clock()
    session = attach(endpoint, clock, gdb=gdb, timeout=timeout)
    target = LiveTarget(spec, session, clock, None if source == AUTO or ram_file is not None else source)
    try:
        if ram_file is not None:
            target.use_ram_file(ram_file)
        elif source != AUTO:
            target.settle()
    except BaseException:
        target.close()
        raise
    return target
