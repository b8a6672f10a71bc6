"""Making the guest go and stop, and only because the user said so by name.

While the guest runs, the stub's reads are virtual again and gdb may read nothing: a killed gdb then
leaves a running guest and a stub as others expect it.
"""

from __future__ import annotations

from time import monotonic

from inspector.errors import NotSupported, ReplyTimeout, UsageError
from inspector.gdbmi.records import MiError
from inspector.gdbmi.registers import CORE, RegisterReader
from inspector.gdbmi.session import Cpu, GdbSession

STEP_SECONDS = 2
"""After this long gdb asks the stub again, which stops the guest: a halted vCPU has then not stepped."""
STEPS_TRIED = 4
"""How often in all the stub is asked for a step that executes nothing: with QEMU 7.2 one in some 4,000 does."""


class GuestControl:
    """Run control of one session. Each run ticks the clock, so that nothing read before is trusted."""

    def __init__(self, session: GdbSession) -> None:
        self.session = session

    def resume(self) -> None:
        """Let every vCPU run, and return at once. Raises NotSupported where it runs already."""
        session = self.session
        self.poll(ready=False)
        if session.clock.running:
            raise NotSupported("the guest runs already; 'interrupt' stops it")
        if session.ready:
            session.make_virtual()
        session.transport.sync()
        session.transport.stopped = False
        session.clock.tick()
        session.clock.running = True
        try:
            session.command("-exec-continue --all")
            session.transport.sync()  # gdb says ^running before it tells the stub
        except MiError:
            session.clock.running = False
            raise

    def interrupt(self, *, glance: bool = False) -> None:
        """Stop the guest and wait until it has stopped. Nothing happens where it is stopped already.

        For a ``glance`` the stub's reads stay virtual, with gdb reading nothing, and QEMU is not asked for the map of
        RAM anew, which takes most of the time of a short stop; both are made up for by whatever reads through gdb.
        Raises ReplyTimeout, TargetLost."""
        self.poll(ready=not glance)
        if not self.session.clock.running:
            return
        try:
            self.session.command("-exec-interrupt --all")
        except MiError:  # "Inferior not executing": a Ctrl-C came before it was told to
            self.session.transport.stopped = True
        if not self._stopped_within(self.session.transport.timeout, ready=not glance):
            raise ReplyTimeout("the guest did not stop when interrupted; try again, and see whether QEMU hangs")

    def wait(self, seconds: float | None) -> bool:
        """Wait until the guest stops; True where it has. False when ``seconds`` passed first. Raises TargetLost."""
        return self._stopped_within(seconds, ready=True)

    def _stopped_within(self, seconds: float | None, *, ready: bool) -> bool:
        deadline = None if seconds is None else monotonic() + seconds
        while True:
            left = 3600.0 if deadline is None else deadline - monotonic()
            self.poll(max(0.0, left) if self.session.clock.running else 0.0, ready=ready)
            if not self.session.clock.running:
                return True
            if left <= 0:
                return False

    def poll(self, seconds: float = 0.0, *, ready: bool = True) -> None:
        """Notice a stop, waiting up to ``seconds`` for one, and make the session ``ready`` to read."""
        session = self.session
        if session.clock.running:
            if not session.transport.stopped:
                session.transport.poll(seconds)
            if session.transport.stopped:
                session.clock.tick()
                session.clock.running = False
        if ready and not session.clock.running and session.transport.lost is None:
            session.make_ready()

    def halted(self) -> dict[int, bool]:
        """Which vCPUs wait for an interrupt, as far as that is known. Raises NotSupported while the guest runs."""
        self.poll(ready=False)
        if self.session.clock.running:
            raise NotSupported("the guest runs, and its vCPUs halt and go on; 'interrupt' it first")
        return self.session.halted()

    def step(self, number: int) -> None:
        """Run one instruction on vCPU ``number`` and stop again; the other vCPUs stand still meanwhile.

        The stub steps with interrupts and timers held off (QEMU's default ``sstepbits``). The packet is sent
        as it is, because gdb's own ``stepi`` looks for atomic sequences at a virtual address and would want
        breakpoints to step over one; here ``lwarx`` and ``stwcx.`` are stepped like any other instruction, so
        that a reservation may be lost between them.

        QEMU now and then reports a step that executed nothing: its translated code leaves at its first check
        where the kick that started the vCPU comes late, and that counts as stepped (``cpu_tb_exec``,
        accel/tcg/cpu-exec.c, 7.2). A step that leaves NIP and every other register alike is therefore made
        again, at most four times in all: an instruction that branches to itself is as if it ran once.

        Raises UsageError for a vCPU that is not there, NotSupported where the vCPU is halted or the guest
        runs."""
        session = self.session
        self.poll()
        cpu = next((cpu for cpu in session.cpus if cpu.number == number), None)
        if cpu is None:
            raise UsageError(f"there is no vCPU {number}; there are {len(session.cpus)}, from 0")
        if session.clock.running:
            raise NotSupported("the guest runs; 'interrupt' it before stepping")
        registers = RegisterReader(session)
        before = registers.read(cpu, CORE)
        for _ in range(STEPS_TRIED):
            self._step(cpu)
            if registers.read(cpu, CORE) != before:
                return

    def _step(self, cpu: Cpu) -> None:
        """Ask the stub once for a step of ``cpu``, which may have executed nothing."""
        session = self.session
        session.clock.tick()
        session.console(f"set remotetimeout {STEP_SECONDS}")
        try:
            said = session.packet(f"vCont;s:p1.{cpu.tid:x}", session.transport.timeout + 4 * STEP_SECONDS)
        finally:
            session.clock.tick()
            session.console(f"set remotetimeout {max(2, int(session.transport.timeout))}")
            session.console("maintenance flush register-cache")
        if not said.startswith("T05"):
            raise NotSupported(
                f"vCPU {cpu.number} executed nothing in {STEP_SECONDS} s: it is halted, waiting for an interrupt;"
                " 'continue' lets one come"
            )
