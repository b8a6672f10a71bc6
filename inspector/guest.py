"""A guest: its memory, its vCPUs' registers and the roots of its tables. Every command is handed one of these."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING

from inspector import processes, walkers
from inspector import roots as roots_module
from inspector.errors import NotSupported, UnknownRegister, UnknownSymbol, UsageError
from inspector.memory.physical import PhysicalMemory, Range
from inspector.processes import Missed, Process
from inspector.radix import software_walk, walk
from inspector.radix.address import Context
from inspector.radix.bits import PRTB_MASK, PRTS_MASK, table_bytes
from inspector.radix.translation import Access, Translation
from inspector.roots import Roots
from inspector.targets.base import TRANSLATION, Registers, RunControl, RunState, Target

if TYPE_CHECKING:
    from inspector.kvm.shape import HostPages
    from inspector.linux.symbols import Symbols
    from inspector.partitions import Partition
    from inspector.spaces import Spaces
    from inspector.whatif import WhatIf

CHANGING = "the guest is running: what this shows may be changing"


class Guest:
    """An opened guest. A context manager: leaving it leaves a live guest as it was found."""

    def __init__(
        self,
        target: Target,
        *,
        symbols: Symbols | None = None,
        process_table: int | None = None,
        overrides: Mapping[str, int] | None = None,
        cpu: int = 0,
        progress: roots_module.Progress | None = None,
    ) -> None:
        self.target = target
        self.symbols = symbols
        self.process_table_given = process_table
        self.overrides = dict(overrides or {})
        self.cpu = cpu
        self.progress: roots_module.Progress = progress or (lambda _what, _done, _total: None)
        self.whatif: WhatIf | None = None
        self._memory = PhysicalMemory(target.source, target.ram, target.clock)
        self._roots: tuple[int, Roots] | None = None
        self._spaces: tuple[tuple[object, ...], Spaces] | None = None
        self._partition: tuple[tuple[object, ...], Partition] | None = None
        self._check_cpu(cpu)

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave a live guest as it was found. Safe to call twice."""
        self.target.close()

    @property
    def memory(self) -> PhysicalMemory:
        """RAM, behind the guard: as it would be, while a what-if is on. The map is taken anew each time: RAM may be
        plugged in while the guest runs."""
        self._memory.ram = self.target.ram
        return self._memory if self.whatif is None else self.whatif.memory

    # -- what if ---------------------------------------------------------------------------------------------------

    def lay_over(self, pool: Range | None = None, pages: HostPages | None = None) -> WhatIf:
        """From now on look at an overlay over the guest, on which KVM's life cycle can be run: nothing of it is written
        to the guest. New tables are laid in ``pool``, real addresses in RAM or outside of it. The one that is on is
        dropped. Raises UsageError for a pool that cannot hold tables, or lies over some that are in use."""
        from inspector.whatif import WhatIf, refuse_used

        self.lift()
        whatif = WhatIf.over(self, self.memory, pool, pages)
        if pool is not None:
            refuse_used(self, pool)
        self.whatif = whatif
        return whatif

    def lift(self) -> None:
        """Look at the guest itself again, and forget the overlay."""
        self.whatif = self._spaces = self._partition = None

    @property
    def _seen(self) -> tuple[int, int | None]:
        """What was made of the memory is good for as long as this is the same."""
        return self.target.clock.epoch, None if self.whatif is None else self.whatif.version

    # -- registers -------------------------------------------------------------------------------------------------

    def _check_cpu(self, cpu: int) -> None:
        if cpu not in self.target.cpus:
            there = ", ".join(map(str, self.target.cpus))
            raise UsageError(f"there is no vCPU {cpu}; there are: {there}")

    def choose_cpu(self, cpu: int) -> None:
        """Make ``cpu`` the one whose registers are followed. Raises UsageError where it is not there."""
        self._check_cpu(cpu)
        self.cpu = cpu

    def registers(self, cpu: int | None = None, names: Iterable[str] | None = None) -> Registers:
        """Registers of a vCPU (the chosen one), with what was set by hand over them."""
        cpu = self.cpu if cpu is None else cpu
        return self.target.registers(cpu, names).with_values(self.overrides)

    def context(self, cpu: int | None = None) -> Context:
        """What of a vCPU decides where an address goes, its roots included."""
        found = self.roots
        context = self._bare_context(self.cpu if cpu is None else cpu)
        return replace(context, flat=found.flat, process_table=found.process_table, ptcr=found.ptcr or context.ptcr)

    def _bare_context(self, cpu: int) -> Context:
        known = Registers(cpu, self.overrides) if self.running else self.registers(cpu, TRANSLATION)
        return Context(
            cpu=cpu,
            msr=known.get("msr"),
            lpcr=known.get("lpcr"),
            pid=known.get("pid"),
            lpidr=known.get("lpidr"),
            ptcr=known.get("ptcr"),
            amr=known.get("amr"),
            iamr=known.get("iamr"),
            hrmor=known.get("hrmor"),
        )

    # -- roots -----------------------------------------------------------------------------------------------------

    @property
    def roots(self) -> Roots:
        """Where the tables begin. Found once an epoch; while the guest runs, what was found before it ran."""
        epoch = self.target.clock.epoch
        if self._roots and (self._roots[0] == epoch or self.running):
            return self._roots[1]
        evidence = self._evidence()
        before = self._roots[1] if self._roots else None
        found = (roots_module.kept(evidence, before) if before else None) or roots_module.find(evidence)
        self._roots = (epoch, found)
        return found

    def _evidence(self) -> roots_module.Evidence:
        cpus = sorted(self.target.cpus, key=lambda cpu: cpu != self.cpu)
        known = self.target.known_roots
        contexts = [(self._bare_context(cpu), self._nip(cpu)) for cpu in cpus]
        return roots_module.Evidence(
            memory=self.memory,
            contexts=contexts,
            given=self.process_table_given,
            recorded=known.process_table,
            recorded_how=known.how,
            recorded_sure=known.sure,
            symbols=self.symbols,
            progress=self.progress,
        )

    def _nip(self, cpu: int) -> int | None:
        return None if self.running else self.registers(cpu, ("nip",)).get("nip")

    # -- walking ---------------------------------------------------------------------------------------------------

    def translate(
        self,
        ea: int,
        *,
        access: Access | None = None,
        walker: str = walk.WALKER,
        pid: int | None = None,
        lpid: int | None = None,
        nested: tuple[int, int] | None = None,
        guest_real: bool = False,
        cpu: int | None = None,
    ) -> Translation:
        """Where ``ea`` goes, entry by entry, by the chosen vCPU's registers.

        ``pid`` and ``lpid`` ask as if that process or partition ran; ``guest_real`` takes ``ea`` for a real address of
        the partition, in which no process and no software walk has a say. ``nested`` (PTCR, LPID) is of that
        partition's own guest of this LPID, by the partition table that PTCR gives, through three stages. ``access``
        asks whether such an access may proceed. Raises UsageError for an EA of more than 64 bits, for words that do not
        go together and for an access, a walker or a partition that is not there, and UnknownRegister where the answer
        hangs on a register that is not known."""
        if not 0 <= ea < 1 << 64:
            raise UsageError(f"{ea:#x} is no effective address, which has 64 bits and no sign; give a smaller value")
        if access not in (None, "r", "w", "x"):
            raise UsageError(f"{access!r} is no access; ask about 'r', 'w' or 'x', or leave it out")
        if guest_real and pid is not None:
            raise UsageError("a real address is the same for every process; leave --pid out, or --guest-real")
        if guest_real and walker != walk.WALKER:
            raise UsageError(f"{walker} walks from effective addresses only; leave --walker out, or --guest-real")
        if lpid and self.roots.flat:
            self._refuse_made(lpid)
        with self._while_running():
            context, within = walkers.as_whom(self.context(cpu), ea, pid, lpid, nested)
            if guest_real:
                context = context.untranslated()
            if walker == walk.WALKER:
                return self._marked(walkers.hardware(self, context, ea, access, within))
            return self._marked(walkers.software(self, context, ea, software_walk.variant(walker), within))

    @contextmanager
    def _while_running(self) -> Iterator[None]:
        """Say of a register that is needed and not known that it is so because the guest runs, where it does."""
        try:
            yield
        except UnknownRegister as error:
            if not self.running:
                raise
            way = (
                "name a process with --pid N, or 'interrupt' it first"
                if error.name == "pid"
                else "'interrupt' it first"
            )
            raise UsageError(f"the guest is running, so {error.name} of vCPU {error.cpu} is not known; {way}") from None

    def _marked(self, answer: Translation) -> Translation:
        """Say of an answer from a running guest that it may be changing."""
        if not self.memory.changing:
            return answer
        return replace(answer, notes=(*answer.notes, CHANGING))

    def compare(
        self,
        ea: int,
        *,
        access: Access | None = None,
        pid: int | None = None,
        lpid: int | None = None,
        nested: tuple[int, int] | None = None,
        guest_real: bool = False,
        cpu: int | None = None,
    ) -> list[Translation]:
        """The answer of every walker, the hardware's first; with relocation off the hardware's alone, for ``ea`` is
        then a real address, and software walks begin at effective ones."""
        ask = partial(self.translate, ea, pid=pid, lpid=lpid, nested=nested, cpu=cpu)
        hardware = ask(access=access, guest_real=guest_real)
        return [hardware, *(ask(walker=name) for name in software_walk.VARIANTS if hardware.relocation)]

    def _refuse_made(self, lpid: int) -> None:
        """Raises UsageError for a partition that a what-if made beside the guest: its walk would begin at a table."""
        from inspector.partitions import made

        if lpid in made(self):
            raise UsageError(
                f"LPID {lpid} was made by a what-if, and is in no partition table that an address could be translated "
                f"by; 'maps --lpid {lpid} --partition' shows its tree"
            )

    # -- tables ----------------------------------------------------------------------------------------------------

    def process_table(self) -> tuple[int, int]:
        """Real address and size in bytes of the process table that is looked at. Raises UsageError where none is known.

        On a bare machine it is the host's own, of LPID 0."""
        found = self.roots
        if found.state != "radix":
            raise UsageError(found.explanation)
        value = found.process_table
        if value is None:
            value = walkers.process_table_of(self, self.context(), 0)
        if value is None:
            raise UsageError("the partition-table entry of LPID 0 gives no process table; 'roots' shows what was found")
        return value & PRTB_MASK, table_bytes(value & PRTS_MASK)

    def processes(self, missed: Missed | None = None) -> Iterator[Process]:
        """Every live entry of the process table, by PID. Parts that cannot be read are passed over, and told to
        ``missed``: there may be processes in them. Raises UsageError where no process table is known."""
        base, size = self.process_table()
        yield from processes.scan(self.memory, base, size, missed, self.progress)

    def partition(self, lpid: int, nested: tuple[int, int] | None = None) -> Partition:
        """The radix partition ``lpid`` of a bare machine: a KVM guest, or (0) the host itself; with ``nested`` (PTCR,
        LPID) that guest's own guest of this LPID, by the partition table that PTCR gives. Kept for as long as the guest
        stands still. Raises UsageError where there is none, or the hypervisor is out of sight."""
        from inspector import partitions

        key = (self._seen, lpid, nested)
        if self._partition is not None and self._partition[0] == key and not self.memory.changing:
            return self._partition[1]
        found = partitions.partition(self, lpid)
        self._partition = (key, partitions.nested(found, *nested) if nested else found)
        return self._partition[1]

    def spaces(
        self,
        pids: Collection[int] | None = None,
        *,
        lpid: int = 0,
        nested: tuple[int, int] | None = None,
        partition: bool = False,
        composed: bool = True,
        guests: bool = False,
        keep_partial: bool = False,
    ) -> Spaces:
        """All that the processes with these radix PIDs map (None: every process; 0 is the kernel), as columns.

        ``lpid`` are those of a KVM guest, led on to the host's real memory, or with ``composed`` False by the guest's
        own trees alone, to what it calls real. ``partition`` is the partition-scoped tree of ``lpid`` instead: what the
        host has behind the guest's real addresses. ``guests`` adds the partition-scoped trees of all KVM guests to a
        bare machine's own processes, or with ``partition`` asks for them alone. What was swept last is kept for as long
        as the guest stands still. ``nested`` is as :meth:`partition` has it.

        With ``keep_partial`` Ctrl-C gives what there is so far. Raises UsageError where no process table is known, for
        a PID beyond it, and for an LPID that is no radix partition."""
        from inspector.spaces import spaces_of, swept

        key = (
            self._seen,
            None if pids is None else tuple(pids),
            lpid,
            nested,
            partition,
            composed,
            guests,
        )
        if self._spaces is not None and self._spaces[0] == key and not self.memory.changing:
            return self._spaces[1]
        self._spaces = None  # so that what was kept makes room first
        if partition and guests:
            from inspector.partitions import PARTITION_TABLE, of_guests

            missed = Missed(table=PARTITION_TABLE)
            found = spaces_of(self, of_guests(self, missed), missed, keep_partial=keep_partial)
        elif partition:
            one = self.partition(lpid, nested)
            found = spaces_of(self, (one.tree,), within=one.within, composed=composed, keep_partial=keep_partial)
        else:
            within = self.partition(lpid, nested) if lpid else None
            found = swept(self, pids, within=within, composed=composed, guests=guests, keep_partial=keep_partial)
        if not (found.interrupted or found.changing):
            self._spaces = (key, found)
        return found

    # -- running and operands ---------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Let the guest run, its roots found first: a running guest's registers cannot be read. Raises NotSupported
        where it cannot run."""
        control = self.control
        if not self.running:
            _ = self.roots
            control.resume()

    @property
    def control(self) -> RunControl:
        """How the guest is made to run and to stop. Raises NotSupported for one that is recorded."""
        control = self.target.control
        if control is None:
            raise NotSupported(
                f"{self.target.name} is recorded and cannot run or stop, and no gdb looks at it; "
                "for a guest that runs, open gdb:HOST:PORT"
            )
        return control

    @property
    def running(self) -> bool:
        """Whether the guest runs now."""
        return self.target.state is RunState.RUNNING

    def register_value(self, name: str) -> int:
        """The value of a register of the chosen vCPU, for operands. Raises UnknownRegister."""
        return self.registers(names=(name,)).need(name)

    def symbol_value(self, name: str) -> int:
        """The address of a symbol, for operands. Raises UnknownSymbol."""
        if self.symbols is None:
            raise UnknownSymbol(name, None)
        return self.symbols.address(name)
