"""Guests under QEMU, for live tests, ``scripts/run live``, fixtures and benches.

    with Machine("pseries-p9") as machine:
        machine.wait_ready()
        print(machine.shell("cat /proc/cpuinfo"))
        machine.target, machine.ram_file, machine.vmlinux    # for the inspector

A machine lives in a folder of its own under the temporary folder, listens on 127.0.0.1 or on a unix
socket only, and is gone with its folder when the ``with`` ends; should this process be killed, the
kernel kills its QEMU. No wait is without a limit. Errors are those of inspector/errors.py."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from inspector.doctor import install_line
from inspector.errors import ConnectError, NotSupported, ReplyTimeout, TargetLost, ToolMissing, UsageError
from scripts import devicetree, initramfs
from scripts.console import Console
from scripts.guestpackages import GuestFiles, guest_files
from scripts.kinds import KINDS, Kind
from scripts.qmp import PATIENCE, Qmp
from scripts.workfolder import WorkFolder

EMULATOR_PACKAGE = "qemu-system-ppc"
BOOTS_IN = 300.0
"""Seconds for a guest to get ready, on a machine that may be slow and busy; it takes some ten."""
QUIET = ("nowatchdog", "workqueue.watchdog_thresh=0", "rcupdate.rcu_cpu_stall_suppress=1")
"""Of the kernel's command line: what a guest that is given little time would print in the midst of what it is asked."""
POWERNV_TREE_AT, POWERNV_TREE_SIZE = 0x0100_0000, 0x10_0000
"""Where QEMU puts a powernv machine's device tree, and how large it may be (QEMU 7.2, include/hw/ppc/pnv.h:
PNV_FDT_ADDR, and hw/ppc/pnv.c: FDT_MAX_SIZE)."""


class Machine:
    """One guest: ``kind`` is a name of :data:`scripts.kinds.KINDS` or a Kind of the caller's own.

    ``gdb`` says where the gdbstub listens; ``paused`` keeps the vCPUs from starting; ``append`` adds
    to the kernel's command line; ``devices`` are further QEMU words; ``extra_files`` are programs to
    put into the guest, by path; ``ram_file`` puts the RAM elsewhere than into the machine's folder."""

    def __init__(
        self,
        kind: str | Kind = "pseries-p9",
        *,
        gdb: Literal["tcp", "unix"] = "tcp",
        paused: bool = False,
        append: str = "",
        devices: Sequence[str] = (),
        extra_files: Mapping[str, bytes] | None = None,
        files: GuestFiles | None = None,
        ram_file: Path | None = None,
    ) -> None:
        if isinstance(kind, str):
            if kind not in KINDS:
                raise UsageError(f"there is no guest {kind!r}; there are {', '.join(KINDS)}")
            kind = KINDS[kind]
        self.kind = kind
        self.paused = paused or kind.paused
        self.append = append
        self.devices = tuple(devices)
        self.extra_files = extra_files
        self.files = files
        self.gdb: Literal["tcp", "unix"] = gdb
        self.gdb_address = ""
        """``HOST:PORT`` or ``unix:PATH``, once started."""
        self.directory = Path()
        """The machine's own folder, once started."""
        self._folder: WorkFolder | None = None
        self._ram_file = ram_file
        self._process: subprocess.Popen[bytes] | None = None
        self._console: Console | None = None
        self._qmp: Qmp | None = None

    # --- life ---------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start QEMU; the guest boots on by itself. Raises ToolMissing, ConnectError or TargetLost."""
        if self._process is not None:
            raise UsageError("this machine was started already; make another")
        emulator = shutil.which(self.kind.emulator)
        if emulator is None:
            raise ToolMissing(self.kind.emulator, install_line([EMULATOR_PACKAGE]))
        if self.kind.linux and self.files is None:
            self.files = guest_files()
        self._folder = WorkFolder()
        self.directory = self._folder.path
        try:
            self._launch(emulator)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop QEMU, by its process id, and remove the machine's folder. May be called twice."""
        self.kill()
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        if self._console is not None:
            self._console.close()
            self._console = None
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def kill(self) -> None:
        """End QEMU as ``kill -9`` would; console, log and RAM file stay to be looked at."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(timeout=PATIENCE)

    @property
    def alive(self) -> bool:
        """Whether QEMU is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        assert self._process is not None, "not started"
        return self._process.pid

    # --- what it is made of -------------------------------------------------------------------------------------

    @property
    def target(self) -> str:
        """The gdbstub, as the inspector's targets are written."""
        return f"gdb:{self.gdb_address}"

    @property
    def ram_file(self) -> Path:
        """QEMU's shared memory backend: byte N is real address N."""
        return self._ram_file or self.directory / "ram"

    @property
    def ram_size(self) -> int:
        """Bytes of RAM."""
        return self.kind.memory_mib << 20

    @property
    def vmlinux(self) -> Path:
        """The kernel image. Raises NotSupported for a guest that runs none."""
        if self.files is None:
            raise NotSupported(f"a {self.kind.name} guest runs no kernel; ask one of another kind")
        return self.files.vmlinux

    @property
    def command(self) -> list[str]:
        """QEMU's own words, once started."""
        assert self._process is not None, "not started"
        assert isinstance(self._process.args, list)
        return [str(word) for word in self._process.args]

    @property
    def log(self) -> str:
        """What QEMU itself printed."""
        path = self.directory / "qemu.log"
        return path.read_text(errors="replace").strip() if path.exists() else ""

    @property
    def console(self) -> Console:
        """The serial console."""
        if self._console is None:
            raise TargetLost("this machine is not running; start it")
        return self._console

    # --- asking it ----------------------------------------------------------------------------------------------

    def wait_ready(self, timeout: float = BOOTS_IN, progress: Callable[[float], None] | None = None) -> None:
        """Until the guest can be asked; ``progress`` is called about twice a second with the seconds so far.

        A kind that never runs by itself is ready at once."""
        if self.paused:
            return
        began = time.monotonic()
        while True:
            spent = time.monotonic() - began
            try:
                self.console.wait_for(self.kind.ready, max(0.0, min(0.5, timeout - spent)))
                break
            except ReplyTimeout:
                if spent >= timeout:
                    raise
            except TargetLost as error:
                raise self._died() from error
            if progress is not None:
                progress(spent)
        if self.kind.stop_when_ready:
            self.pause()

    def shell(self, command: str, timeout: float = PATIENCE, check: bool = True) -> str:
        """What ``command`` prints in the guest, in a shell of its own as root.

        Raises ReplyTimeout after ``timeout`` seconds (a guest that stands still answers nothing),
        ProtocolError where it fails and ``check``, TargetLost where QEMU is gone."""
        if not self.kind.linux:
            raise NotSupported(f"a {self.kind.name} guest has no shell; ask one that runs Linux")
        if not self.alive:
            raise self._died()
        return self.console.shell(command, timeout, check)

    def qmp(self, command: str, **arguments: Any) -> Any:
        """What QEMU's control socket returns for ``command``."""
        if not self.alive or self._qmp is None:
            raise self._died()
        return self._qmp.execute(command, arguments)

    def stands(self) -> list[float]:
        """For how many seconds the vCPUs stood still, each time since this was asked last, by QEMU's own events of
        it."""
        self.qmp("query-status")  # what came before its answer is told by now
        assert self._qmp is not None
        stands, since = [], None
        for event in self._qmp.events:
            at = event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6
            if event["event"] == "STOP":
                since = at
            elif event["event"] == "RESUME" and since is not None:
                stands.append(at - since)
                since = None
        self._qmp.events.clear()
        return stands

    def computes(self, task: int, ticks: int = 20) -> None:
        """Wait until this task of the guest, with its children that ended, had so many hundredths of a second of CPU.

        Raises ProtocolError where it ends, ReplyTimeout where it does not run."""
        # behind the name: 12 and 13 are what it spent as a user and in the kernel, 14 and 15 its children
        spent = f"set -- $(sed 's/.*) //' /proc/{task}/stat); echo $((${{12}} + ${{13}} + ${{14}} + ${{15}}))"
        self.shell(
            f"spent() {{ {spent}; }}; goal=$(($(spent) + {ticks})); "
            f"until [ $(spent) -ge $goal ]; do [ -e /proc/{task} ] || exit 1; sleep 0.1; done"
        )

    def kill_group(self, task: int | str) -> None:
        """End a process of the guest's that ``setsid`` began, with all that it began, and wait until they are gone."""
        self.shell(f"kill -9 -{task}; while kill -0 -{task} 2>/dev/null; do sleep 0.1; done")

    def spends(self, seconds: float, limit: float = PATIENCE) -> None:
        """Wait until QEMU itself has had this machine's CPUs for so long: that the guest runs is not yet that it was
        given any time. Raises ReplyTimeout."""
        began, deadline = self._spent(), time.monotonic() + limit
        while self._spent() - began < seconds:
            if time.monotonic() > deadline:
                raise ReplyTimeout(f"QEMU was given less than {seconds:g} s in {limit:g}; end what else runs here")
            time.sleep(0.005)

    def _spent(self) -> float:
        user, system = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def hmp(self, line: str, *, cpu: int | None = None) -> str:
        """What QEMU's human monitor prints for ``line``, asked of vCPU ``cpu`` (the first)."""
        if not self.alive or self._qmp is None:
            raise self._died()
        return self._qmp.hmp(line, cpu=cpu)

    @property
    def status(self) -> str:
        """QEMU's run state: ``running``, ``paused``, ``prelaunch`` …"""
        return str(self.qmp("query-status")["status"])

    @property
    def running(self) -> bool:
        """Whether the vCPUs run."""
        return bool(self.qmp("query-status")["running"])

    def pause(self) -> None:
        """Stop the vCPUs; when this returns they stand."""
        self.qmp("stop")

    def cont(self) -> None:
        """Let the vCPUs run."""
        self.qmp("cont")

    # --- starting -----------------------------------------------------------------------------------------------

    def _launch(self, emulator: str) -> None:
        with ExitStack() as ours, (self.directory / "qemu.log").open("wb") as log:
            sockets = [ours.enter_context(self._listen(name)) for name in ("gdb", "qmp", "console")]
            numbers = [each.fileno() for each in sockets]
            self._process = subprocess.Popen(
                [*tied_to_us(), emulator, *self._words(*numbers)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=numbers,
                start_new_session=True,  # a terminal's Ctrl-C is for us, not for QEMU
            )
        try:
            self._qmp = Qmp(self.directory / "qmp")
            self._console = Console(self.directory / "console")
            if self.kind.page_sizes:
                self._say_page_sizes()
            if not self.paused:
                self.cont()  # only now, so that the console misses nothing
        except (TargetLost, OSError) as error:
            raise self._died() from error

    def _say_page_sizes(self) -> None:
        """Put the radix page sizes into the device tree, which lies in RAM and which nobody has read yet."""
        with open(self.ram_file, "r+b") as ram:
            ram.seek(POWERNV_TREE_AT)
            tree = ram.read(POWERNV_TREE_SIZE)
            edited = devicetree.with_page_sizes(tree, self.kind.page_sizes, self.directory)
            ram.seek(POWERNV_TREE_AT)
            ram.write(edited)

    def _listen(self, name: str) -> socket.socket:
        """A listening socket, made here and handed to QEMU: no port is ever guessed, and nobody comes too early, as
        between QEMU's making of a unix socket and its listening there."""
        tcp = name == "gdb" and self.gdb == "tcp"
        try:
            with ExitStack() as unless_made:
                family = socket.AF_INET if tcp else socket.AF_UNIX
                listener = unless_made.enter_context(socket.socket(family, socket.SOCK_STREAM))
                listener.bind(("127.0.0.1", 0) if tcp else str(self.directory / name))
                listener.listen(1)
                unless_made.pop_all()
        except OSError as error:
            why = f"no socket for QEMU's {name} could be made ({error}); free some and try again"
            raise ConnectError(why) from error
        if name == "gdb":
            place = listener.getsockname()
            self.gdb_address = f"127.0.0.1:{place[1]}" if tcp else f"unix:{place}"
        return listener

    def _words(self, gdb: int, qmp: int, console: int) -> list[str]:
        kind, place = self.kind, self.directory
        words = [
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-monitor", "none", "-S"),
            *("-machine", f"{kind.machine},memory-backend=ram", "-cpu", kind.cpu, "-smp", str(kind.cpus)),
            *("-m", f"{kind.memory_mib}M"),
            *("-object", f"memory-backend-file,id=ram,size={kind.memory_mib}M,mem-path={self.ram_file},share=on"),
            *("-chardev", f"socket,id=gdb,fd={gdb},server=on,wait=off,nodelay=on", "-gdb", "chardev:gdb"),
            *("-chardev", f"socket,id=qmp,fd={qmp},server=on,wait=off", "-mon", "chardev=qmp,mode=control"),
            *("-chardev", f"socket,id=console,fd={console},server=on,wait=off,logfile={place}/console.log"),
            *("-serial", "chardev:console"),
        ]
        if kind.linux:
            assert self.files is not None
            root = initramfs.build(self.files.busybox, self.files.modules, self.extra_files, wanted=kind.modules)
            (place / "initramfs").write_bytes(root)
            append = " ".join(part for part in ("console=hvc0", *QUIET, kind.append, self.append) if part)
            words += ["-kernel", str(self.files.vmlinux), "-initrd", str(place / "initramfs"), "-append", append]
        with (place / "disk").open("wb") as disk:
            disk.truncate(1 << 20)
        return words + [word.replace("{directory}", str(place)) for word in (*kind.devices, *self.devices)]

    def _died(self) -> TargetLost:
        """That QEMU is gone, with its last words."""
        if self._process is None:
            return TargetLost(f"the {self.kind.name} guest is not running; start it")
        try:
            status = self._process.wait(timeout=30)  # its sockets close a moment before it ends
        except subprocess.TimeoutExpired:
            return TargetLost(f"the {self.kind.name} guest's QEMU closed its console; boot it again")
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return TargetLost(f"the {self.kind.name} guest's QEMU ended ({how}) and said {self.log!r}; boot it again")


def tied_to_us() -> list[str]:
    """A prefix that has the kernel kill the program when this process dies, however it dies."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", "--"] if setpriv and os.name == "posix" else []


def booted(
    kind: str = "pseries-p9", timeout: float = BOOTS_IN, progress: Callable[[float], None] | None = None, **options: Any
) -> Machine:
    """A machine that was started and is ready; the caller closes it. ``progress`` is as :meth:`Machine.wait_ready` has
    it."""
    machine = Machine(kind, **options)
    machine.start()
    try:
        machine.wait_ready(timeout, progress)
    except BaseException:
        machine.close()
        raise
    return machine
