"""The ways to a live guest's RAM, fastest first, and the choice among them.

1. ``ram``       the file of QEMU's shared memory backend, which QEMU itself names
2. ``process``   the memory of QEMU's process on this machine
3. ``pmemsave``  files that QEMU writes on this machine
4. ``gdb``       GDB/MI

A way is taken only after samples were compared with what the stub says; why the faster ones were not
taken is kept and told. Looking for one costs some 15 ms, so it is put off until much is to be read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from inspector.errors import FormatError, MemoryReadError, NotSupported
from inspector.gdbmi.monitor import Backend, parse_host_address, parse_memdevs, parse_string
from inspector.gdbmi.records import MiError
from inspector.gdbmi.session import GdbSession
from inspector.memory.gdb import GdbMemory
from inspector.memory.hostprocess import Served, of_client
from inspector.memory.physical import BatchSource, Range, one_by_one
from inspector.memory.pmemsave import PmemsaveSource
from inspector.memory.process import Block, ProcessSource
from inspector.memory.ramfile import RamFileSource
from inspector.memory.samples import compare

TIERS = ("ram", "process", "pmemsave", "gdb")

SOON_BYTES = 256 << 10
SOON_READS = 200
"""After so much a faster way is looked for: gdb has then taken about as long as that takes."""

CHECK_BYTES = 4096
"""How much pmemsave is tried on."""

WHAT = {"ram": "no shared RAM file", "process": "not QEMU's memory", "pmemsave": "no pmemsave"}


class _Unusable(Exception):
    """A way that cannot be taken here, and why."""


class TieredSource:
    """A :class:`~inspector.memory.physical.MemorySource` that goes the fastest way there is.

    ``only`` names one of TIERS and allows no other; None allows all. Reads work while the guest runs where the way
    in use lets them."""

    def __init__(self, session: GdbSession, only: str | None = None) -> None:
        self.session = session
        self.only = only
        self.gdb = GdbMemory(session)
        self.tier = "gdb"
        """The way in use."""
        self.why_not: dict[str, str] = {}
        """Why faster ways are not in use."""
        self._inner: RamFileSource | ProcessSource | PmemsaveSource | GdbMemory = self.gdb
        self._open: list[RamFileSource | ProcessSource] = []
        self._settled = only == "gdb"
        self._ram: tuple[Range, ...] = ()
        self._epoch = session.clock.epoch
        self._reads = self._bytes = 0

    @property
    def description(self) -> str:
        """What is in use, and why nothing faster is."""
        if not self._settled:
            return f"{self._inner.description}, until enough is read to look for a faster way"
        if self.only is not None:
            return self._inner.description
        reasons = "; ".join(f"{WHAT[tier]}: {why}" for tier, why in self.why_not.items())
        return f"{self._inner.description}{f' ({reasons})' if reasons else ''}"

    @property
    def cheap(self) -> bool:
        """Whether a read costs about a memory copy."""
        return self._inner.cheap

    @property
    def gap(self) -> int:
        """Up to this many bytes between two runs are read along."""
        return 0 if isinstance(self._inner, RamFileSource | ProcessSource) else self._inner.gap

    @property
    def windows(self) -> list[tuple[int, memoryview]]:
        """RAM that lies in this process, with the shared file only; see PhysicalMemory.windows."""
        return self._inner.windows if isinstance(self._inner, RamFileSource) else []

    def read(self, address: int, length: int) -> bytes:
        """``length`` bytes at real address ``address``. Raises Unreadable, TargetLost, ReplyTimeout."""
        if self._epoch != self.session.clock.epoch:
            self._look_again()
        if not self._settled:
            self._count(1, length)
        return self._inner.read(address, length)

    def read_runs(self, runs: Sequence[tuple[int, int]]) -> list[bytes | MemoryReadError]:
        """Many (address, length) at once, each its bytes or why not. Raises TargetLost, ReplyTimeout."""
        if self._epoch != self.session.clock.epoch:
            self._look_again()
        if not self._settled:
            self._count(len(runs), sum(length for _, length in runs))
        inner = self._inner
        return inner.read_runs(runs) if isinstance(inner, BatchSource) else one_by_one(inner.read, runs)

    def expect(self, length: int) -> None:
        """About so many bytes will be read: look for a faster way if that is worth it."""
        if self._epoch != self.session.clock.epoch:
            self._look_again()
        if not self._settled and self._bytes + length >= SOON_BYTES:
            self.settle()

    def settle(self) -> None:
        """Choose now. Nothing happens while the guest runs, for there is nothing to compare with.

        Raises NotSupported where only one way is allowed and cannot be taken, TargetLost."""
        if self._settled or self.session.clock.running:
            return
        self.why_not = {}
        self._ram = self.session.ram.ranges
        served: list[Served] = []

        def server() -> Served:
            if not served:
                facts = self.session.stub
                served.append(of_client(self.session.transport.pid, facts.unix_path, facts.listener))
            return served[0]

        for tier in TIERS if self.only is None else (self.only,):
            try:
                self._inner = self._try(tier, server)
            except _Unusable as error:
                self.why_not[tier] = str(error)
            except MiError as error:
                self.why_not[tier] = f"QEMU's monitor refused: {error.message.strip()}"
            else:
                self.tier = tier
                break
        else:
            raise NotSupported(
                f"--source {self.only} cannot be used here ({self.why_not[str(self.only)]});"
                " leave it out, and the fastest way there is will be taken"
            )
        self._settled = True

    def close(self) -> None:
        """Close what is open of it. Safe to call twice."""
        while self._open:
            self._open.pop().close()
        self._inner, self.tier = self.gdb, "gdb"

    def _count(self, reads: int, length: int) -> None:
        self._reads += reads
        self._bytes += length
        if self._reads >= SOON_READS or self._bytes >= SOON_BYTES:
            self.settle()

    def _look_again(self) -> None:
        """After the guest has run: where RAM was plugged in or out, what was found is no longer to be trusted."""
        self._epoch = self.session.clock.epoch
        if self._ram and not self.session.clock.running and self._ram != self.session.ram.ranges:
            self.close()
            self._settled = self.only == "gdb"
            self._ram = ()

    def _try(
        self, tier: str, server: Callable[[], Served]
    ) -> RamFileSource | ProcessSource | PmemsaveSource | GdbMemory:
        if tier == "ram":
            return self._shared_file()
        if tier == "process":
            return self._process(server())
        if tier == "pmemsave":
            return self._pmemsave()
        return self.gdb

    # the shared RAM file

    def _shared_file(self) -> RamFileSource:
        """The files of the shared backends, one over the other, gdb below them. Raises _Unusable."""
        backends = parse_memdevs(self.session.monitor("info memdev"))
        shared = [each for each in backends if each.shared]
        if not shared:
            raise _Unusable("QEMU's memory backend is not shared (share=on)" if backends else "QEMU names no backend")
        below: RamFileSource | None = None
        why = ""
        held = 0
        for backend in shared:
            file = None
            try:
                file = self._file_of(backend, below)
                if not file.verify(self.session.ram, self.gdb):
                    raise _Unusable(f"{file.path} holds nothing yet that would tell it from another")
            except (_Unusable, FormatError, MemoryReadError) as error:
                why = why or str(error)
                if file is not None:
                    file.close()
                continue
            self._open.append(file)
            held += file.size
            below = file
        if below is None or 2 * held < self.session.ram.total:
            while self._open:
                self._open.pop().close()
            raise _Unusable(why or "only a small part of the RAM is shared")
        return below

    def _file_of(self, backend: Backend, below: RamFileSource | None) -> RamFileSource:
        path, offset = (
            self.session.monitor(f"qom-get /objects/{backend.id} {name}") for name in ("mem-path", "offset")
        )
        name = parse_string(path)
        if not name or not os.path.isabs(name) or "\0" in name:
            raise _Unusable(f"backend {backend.id!r} has no file with a whole name")
        if offset.strip().isdigit() and int(offset):
            raise _Unusable(f"backend {backend.id!r} begins in the middle of its file")
        places = [r for r in self.session.ram.ranges if r.name.rpartition("/")[2] == backend.id]
        if not places:
            raise _Unusable(f"backend {backend.id!r} is not in the guest's address space")
        try:
            found = os.stat(name)
        except OSError as bad:
            raise _Unusable(f"{name}: {bad.strerror}") from bad
        if not stat.S_ISREG(found.st_mode) or found.st_size != backend.size:
            raise _Unusable(f"{name} is not the file that QEMU opened")
        return RamFileSource(name, places[0].start, self.session.ram, below or self.gdb, self.session.clock)

    # QEMU's process

    def _process(self, served: Served) -> ProcessSource:
        """The memory of whoever serves the stub. Raises _Unusable."""
        if not served.pids:
            raise _Unusable(served.why)
        blocks = self._blocks()
        why = ""
        for pid in served.pids:
            source = None
            try:
                source = ProcessSource(pid, blocks, self.gdb, self.session.clock)
                verdict = compare(source, self.gdb, [(block.start, block.end) for block in blocks])
                if verdict.differ is None:
                    self._open.append(source)
                    return source
                why = why or f"process {pid} holds something else at {verdict.differ:#x}"
            except OSError as bad:
                why = why or f"reading process {pid} is not permitted ({bad.strerror})"
            except MemoryReadError as error:
                why = why or error.why
            if source is not None:
                source.close()
        raise _Unusable(why)

    def _blocks(self) -> list[Block]:
        """Where QEMU keeps each range of RAM: asked for its first and last byte, which have to fit together."""
        ranges = self.session.ram.ranges
        asked = [f"gpa2hva {at:#x}" for r in ranges for at in (r.start, r.end - 1)]
        said = iter(self._answers(asked))
        blocks = []
        for r in ranges:
            first, last = (parse_host_address(next(said) or "") for _ in range(2))
            if first is not None and last is not None and last - first == r.size - 1:
                blocks.append(Block(r.start, r.size, first))
        if not blocks:
            raise _Unusable("QEMU does not say where it keeps the RAM")
        return blocks

    def _answers(self, commands: Sequence[str]) -> Iterator[str | None]:
        left = iter(commands)
        while some := list(islice(left, 32)):
            yield from self.session.monitors(some)

    # pmemsave

    def _pmemsave(self) -> PmemsaveSource:
        """Files written by a QEMU that is on this machine. Raises _Unusable."""
        facts = self.session.stub
        if self.session.endpoint.path is None and not facts.gdb_address.startswith(("127.", "[::1]")):
            raise _Unusable("QEMU is not on this machine")
        source = PmemsaveSource(self.session, self.gdb)
        start, end = self.session.ram.spans()[0]
        if why := source.check(start, min(CHECK_BYTES, end - start)):
            raise _Unusable(why)
        return source
