"""A gdb attached to a stub: attach and leave, physical reads, the RAM map, the monitor.

What gdb itself may touch is bounded by gdb itself: writes are off, and its memory regions (``mem``)
hold the guest's RAM, read-only, and only while the stub's reads are physical. So neither a habit of
gdb's nor a mistake here can read a device.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from inspector.errors import ConnectError, ProtocolError, ReplyTimeout, TargetLost, ToolMissing
from inspector.gdbmi import launch, preflight, reading
from inspector.gdbmi.endpoint import Endpoint
from inspector.gdbmi.monitor import parse_mtree
from inspector.gdbmi.records import MiError, Reply, quote
from inspector.gdbmi.transport import Transport
from inspector.memory.physical import Clock, RamMap


@dataclass(frozen=True, slots=True)
class Cpu:
    """A vCPU: QEMU's number, gdb's thread, and the stub's thread id (the number plus one)."""

    number: int
    thread: int
    tid: int


@dataclass(frozen=True, slots=True)
class Started:
    """A gdb that waits to be told whom to attach to: its version, and whether launch.LEAVE is in place in it."""

    version: str
    guarded: bool


class GdbSession:
    """An attached gdb. Made by :func:`attach`; :meth:`close` leaves the guest as it was found."""

    def __init__(
        self, transport: Transport, started: Started, stub: preflight.StubFacts, endpoint: Endpoint, clock: Clock
    ) -> None:
        self.transport = transport
        self.stub = stub
        self.endpoint = endpoint
        self.where = str(endpoint)
        self.clock = clock
        self.found_running = stub.found_running
        self.ram = RamMap(())
        self.cpus: tuple[Cpu, ...] = ()
        self.register_numbers: dict[str, int] = {}
        self.gdb_version = started.version
        self.guarded = started.guarded
        """Whether gdb lets the guest go by itself, should this program be killed; so does one that has Python."""
        self._in_bulk = self.guarded and reading.files_may_grow()
        self.attached = False
        self.attached_at = stub.met_at
        """When the stub was met, by the monotonic clock: the guest stands from about then on."""
        self.ready = False
        """Whether reads are physical and gdb's regions hold the RAM map of this stop."""
        self._regions: list[tuple[int, int]] = []
        self._closed = False

    # commands

    def command(self, text: str, limit: float | None = None) -> Reply:
        """One MI command. Raises MiError, ReplyTimeout, TargetLost."""
        return self.transport.command(text, limit)

    def console(self, command: str, limit: float | None = None) -> str:
        """What one console command prints; not for words from outside (see console.py)."""
        return self.command(_console(command), limit).text()

    def packet(self, body: str, limit: float | None = None) -> str:
        """The stub's answer to a packet of no other use to gdb."""
        return _received(self.console(f"maintenance packet {body}", limit))

    def monitor(self, command: str, limit: float | None = None) -> str:
        """What QEMU's monitor prints for ``command``."""
        return self.console(f"monitor {command}", limit)

    def monitors(self, commands: list[str]) -> list[str | None]:
        """What QEMU's monitor prints for several commands, sent in one go; None for one that gdb refused."""
        texts = [_console(f"monitor {command}") for command in commands]
        return [
            None if reply.result == b"error" and self._refused(text, reply) else reply.text()
            for text, reply in zip(texts, self.transport.batch(texts), strict=True)
        ]

    def _refused(self, text: str, reply: Reply) -> bool:
        try:
            self.transport.check(text, reply)
        except MiError:
            return True
        return False

    # attaching

    def connect(self, held: preflight.Held, limit: float) -> None:
        """Attach gdb, to a stub that is held for it, and make the session ready."""
        stopped = self.transport.submit(_console(f"set ${launch.FOUND_STOPPED} = {int(self.found_running is False)}"))
        select = f"-target-select remote {held.facts.gdb_address or launch.SOCKET_NAME}"
        selected = self.transport.submit(select)
        held.hand_over()
        try:
            self.transport.finish(stopped)
            self.transport.check(select, self.transport.finish(selected, select, limit + 2))
        except MiError as refused:
            raise ConnectError(
                f"gdb could not attach to {self.where} ({' '.join(refused.message.split())});"
                " another client may have been faster, so try again"
            ) from refused
        self.attached = True
        self.make_ready()
        self.cpus = self._threads()
        names = self.command("-data-list-register-names").payload().get("register-names", [])
        for number, name in enumerate(names):
            if name:
                self.register_numbers.setdefault(str(name), number)

    def make_ready(self) -> None:
        """After a stop: physical reads on, and gdb's regions and ``ram`` as the machine has them now."""
        if self.ready:
            return
        mode, tree = (_console(text) for text in ("maintenance packet Qqemu.PhyMemMode:1", "monitor info mtree -f"))
        first, second = self.transport.batch([mode, tree])
        if (said := _received(self.transport.check(mode, first).text())) != "OK":
            raise ProtocolError(
                f"{self.where} does not switch to physical reads (it said {said!r}); use qemu-system-ppc64 4.1 or later"
            )
        ram = parse_mtree(self.transport.check(tree, second).text())
        if not ram.total:
            raise ProtocolError(f"{self.where} names no RAM in 'info mtree -f'; is it qemu-system-ppc64?")
        if self._regions == ram.spans():
            self._all(["enable mem"])
        else:
            self._regions = []
            regions = [f"mem {start} {end if end < 1 << 64 else 0} ro" for start, end in ram.spans()]
            self._all(["delete mem", launch.REFUSE_ALL, *regions])
            self._regions = ram.spans()
        self.ram = ram
        self.ready = True

    def make_virtual(self) -> None:
        """Before the guest runs, or is left: no reads by gdb at all, and the stub's mode as others expect it.

        With every region disabled gdb refuses every address, as long as there is one (gdb/memattr.c)."""
        self.ready = False
        self._all(["disable mem", "maintenance packet Qqemu.PhyMemMode:0"])

    def _all(self, commands: list[str]) -> list[Reply]:
        texts = [_console(command) for command in commands]
        replies = self.transport.batch(texts)
        return [self.transport.check(text, reply) for text, reply in zip(texts, replies, strict=True)]

    def _threads(self) -> tuple[Cpu, ...]:
        """The vCPUs. The stub's thread id is QEMU's cpu_index plus one (``cpu_gdb_index``)."""
        cpus = []
        for thread in self.command("-thread-info").payload().get("threads", []):
            tid = re.search(r"(\d+)$", str(thread.get("target-id", "")))
            if tid is not None:
                cpus.append(Cpu(int(tid[1]) - 1, int(thread["id"]), int(tid[1])))
        if not cpus:
            raise ProtocolError(f"{self.where} names no vCPU; is it qemu-system-ppc64?")
        return tuple(sorted(cpus, key=lambda cpu: cpu.number))

    def halted(self) -> dict[int, bool]:
        """Which vCPUs wait for an interrupt, by number (QEMU's gdbstub, ``handle_query_thread_extra``); one that the
        stub says nothing of is absent."""
        asked = [_console(f"maintenance packet qThreadExtraInfo,p1.{cpu.tid:x}") for cpu in self.cpus]
        found = {}
        for cpu, reply in zip(self.cpus, self.transport.batch(asked), strict=True):
            try:
                said = bytes.fromhex(_received(reply.text())).decode("ascii", "replace")
            except ValueError:
                continue
            if "halted" in said or "running" in said:
                found[cpu.number] = "halted" in said
        return found

    # memory

    def read(self, address: int, length: int) -> bytes | None:
        """``length`` bytes of RAM at real address ``address``, or None where gdb or the stub refused."""
        return self.read_runs([(address, length)])[0]

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | None]:
        """The same for many (address, length), sent ahead of each other."""
        if not self.ready:
            self.make_ready()
        # gdb would refuse what is not RAM too, but 13.1 never ends -data-read-memory-bytes between two regions
        held = [run for run in runs if self.ram.covers(*run)]
        if len(held) == len(runs):
            return reading.read_runs(self.transport, runs, self._in_bulk)
        found = iter(reading.read_runs(self.transport, held, self._in_bulk))
        return [next(found) if self.ram.covers(*run) else None for run in runs]

    # leaving

    def close(self) -> None:
        """Leave the guest as it was found: detached and running, or stopped. Safe to call twice.

        A guest that runs, because it was asked to, keeps running."""
        if self._closed:
            return
        self._closed = True
        transport = self.transport
        running = self.clock.running
        resume = self.found_running is not False
        try:
            if running:
                transport.kill()  # gdb would stop the guest to detach from it; a closed socket lets it run
            elif transport.lost is None:
                with suppress(TargetLost, ReplyTimeout, MiError):
                    self.make_virtual()
                    # 'detach' resumes the guest; 'disconnect' just closes, and it stays stopped
                    self.command("-target-detach" if resume else _console("disconnect"))
            abandoned = transport.lost is not None and not transport.guest_gone and not running
        finally:
            transport.close()
        if abandoned:
            preflight.release(self.endpoint, resume)


def attach(endpoint: Endpoint, clock: Clock, *, gdb: str = "gdb-multiarch", timeout: float = 10.0) -> GdbSession:
    """Start gdb, look at the stub once it has started, and attach: the guest is stopped once, and for no longer.

    Raises ToolMissing, ConnectError, ProtocolError, WrongArchitecture, ReplyTimeout, TargetLost. Whatever is
    raised, gdb is gone and the guest is as it was."""
    start = launch.prepare(gdb)
    transport: Transport | None = None
    session: GdbSession | None = None
    held: preflight.Held | None = None
    try:
        transport = Transport(start.argv, env=start.env, cwd=start.directory, timeout=timeout)
        import pygdbmi.gdbmiparser  # noqa: F401  # takes as long as gdb's own start, and meanwhile

        path = launch.link_socket(start, endpoint.path) if endpoint.path is not None else None
        started = _settled(transport, timeout)  # first, for from the look at the stub on the guest stands
        held = preflight.probe(endpoint, path, min(timeout, preflight.LIMIT))
        session = GdbSession(transport, started, held.facts, endpoint, clock)
        session.connect(held, timeout)
        return session
    except BaseException:
        if held is not None:
            held.let_go()  # nothing happens where it was handed over; else the stub would answer nobody but this one
        if session is not None and session.attached:
            session.close()
        elif transport is not None:
            transport.close()  # gdb's standard input ends, and LEAVE does what is left to do
            if session is not None and session.found_running is not False:
                preflight.release(endpoint, resume=True)  # it was held for a gdb that did not come
        raise
    finally:
        start.remove_directory()


def _settled(transport: Transport, limit: float) -> Started:
    """Wait until gdb has started, and give it its last settings. Raises ToolMissing where it knows no ppc64."""
    send, finish = transport.submit, transport.finish
    known = send("-gdb-set architecture powerpc:common64")
    rest = [send("-gdb-set architecture auto")]
    rest += [send(_console(f"set {name} {max(2, int(limit))}")) for name in ("remotetimeout", "tcp connect-timeout")]
    guard = send(f"-data-evaluate-expression ${launch.GUARD}")
    version = send(_console("show version"))
    if finish(known, "set architecture").result == b"error":
        raise ToolMissing("a gdb that knows 64-bit PowerPC", "apt install gdb-multiarch")
    for token in rest:
        finish(token)
    guarded = finish(guard).line == b'done,value="1"'
    found = re.search(r"(\d+\.\d[\w.-]*)\s*$", finish(version).text().split("\n", 1)[0])
    return Started(found[1] if found else "", guarded)


def _console(command: str) -> str:
    return f"-interpreter-exec console {quote(command)}"


def _received(text: str) -> str:
    """The packet in what ``maintenance packet`` prints: ``received: "…"``."""
    found = re.search(r'received: "(.*)"', text, re.DOTALL)
    return found[1] if found else ""
