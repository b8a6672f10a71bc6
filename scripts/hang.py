"""A KVM guest that hangs as virtio guests once did: KVM's software walk refuses tables that the hardware accepts.

    with hang() as hung:
        hung.machine, hung.guest      # the host, which runs, and the guest, which comes no further

The guest loads from a device's address, which no memory slot holds. KVM must emulate that, so it looks for the
instruction by a walk of its own. The leaf of the guest's code has a page-number bit below its size: the MMU (QEMU 7.2)
passes over it, and the walk ends with EINVAL (Linux 6.1, ``kvmppc_mmu_walk_radix_tree``). KVM then has the guest try
again, for ever, and tells nobody.

python -P -m scripts.hang [WORDS…]     (scripts/run hang) boots it, and runs the inspector on the host with WORDS, which
are "triage" where none are given"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from inspector.errors import InspectorError, ReplyTimeout
from scripts.guestpackages import guest_files
from scripts.guests import Machine
from scripts.incontext import HV, special
from scripts.live import Progress, asks_for_help, leave, look, say
from scripts.monitor import COMPILER, VIRTUAL
from scripts.qmp import PATIENCE
from scripts.scene import CODE, DEVICE, DEVICE_EA, IO, KvmGuest, Layout, Leaf, Slot, scene
from scripts.system import ensure, guest_tools, suite_tools

USAGE = """\
usage: scripts/run hang [OPTIONS] [COMMAND WORDS…]

Boots a KVM host under QEMU, and in it a guest that hangs: KVM's walk of its tables fails where the hardware's succeeds.
Attaches to the host, and stops it afterwards. No words: 'triage' says what keeps the guest.
Options and no command, as in --cpu 0: the REPL.
"""
UNASKED = ("triage",)
"""What the inspector is asked where nothing is said."""

HOST_TOOLS = (COMPILER, "fdtput")
"""What a KVM host wants beside what every guest does: the monitor's compiler, and its device tree's editor."""

PID, OTHER_PID = 5, 7
"""Of the process that hangs, and of one that does not."""
STRAY = 0x8000
"""A bit of a real page number that a leaf of 64K has no use for."""
NIP = 0x2100
"""EA of the guest's load."""
ELSEWHERE = DEVICE + 0x10_0000
"""Where those who do not hang have what is DEVICE_EA to the one that does."""

HEALTHY = Layout(
    "healthy",
    (Slot(0, 0x100_0000),),
    0x40_0000,
    (Leaf(PID, 0, 0, 16, CODE), Leaf(PID, DEVICE_EA, ELSEWHERE, 16, IO)),
)
"""Another guest, with the same PID and EAs: its load from a device is emulated."""
HUNG = Layout(
    "hung",
    (Slot(0, 0x100_0000),),
    0x40_0000,
    (
        Leaf(PID, 0, STRAY, 16, CODE),
        Leaf(PID, DEVICE_EA, DEVICE, 16, IO),
        Leaf(OTHER_PID, 0, 0, 16, CODE),
        Leaf(OTHER_PID, DEVICE_EA, ELSEWHERE, 16, IO),
    ),
)
LAST_FAULT = ("hsrr0", "hsrr1", "hdar", "hdsisr", "asdr")
"""What a hypervisor storage interrupt leaves in its vCPU's registers until the next one: the guest's NIP and MSR, its
EA, the cause, and the guest real address. The first two are taken by the host's own external interrupts as well."""
CANARY = 0x7FFF
"""What KVM puts into HDSISR before it enters a guest on an early POWER9, which QEMU 7.2 is one of: some leave HDSISR as
it was (Linux 6.1, ``kvmhv_vcpu_entry_p9``: ``HDSISR_CANARY``)."""


@dataclass(frozen=True, slots=True)
class Hung:
    """The host, which runs, and its guest that hangs; ``healthy`` is the other one, at rest."""

    machine: Machine
    guest: KvmGuest
    healthy: KvmGuest

    def holding(self) -> int | None:
        """The vCPU whose registers hold the guest's last storage interrupt, while the host is stopped; None where the
        host's own interrupts have just taken its place."""
        for cpu in range(self.machine.kind.cpus):
            where, state, ea, _, at = (special(self.machine, name, cpu) for name in LAST_FAULT)
            if (where, ea, at) == (NIP, DEVICE_EA, DEVICE) and not state & HV:
                return cpu
        return None

    def stopped(self, limit: float = PATIENCE) -> int:
        """Stop the host where a vCPU's registers hold that interrupt; which one. Raises ReplyTimeout where none does
        within ``limit`` seconds."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            self.machine.pause()
            cpu = self.holding()
            if cpu is not None:
                return cpu
            self.machine.cont()
            time.sleep(0.02)
        raise ReplyTimeout(f"the guest did not hang within {limit:g} s; boot it again")


def load(pid: int) -> str:
    """What a monitor is told to have this process load from the device."""
    return f"load {pid:x} {DEVICE_EA:x} 0 {VIRTUAL:x} 0"


@contextmanager
def hang(progress: Callable[[float], None] | None = None) -> Iterator[Hung]:
    """Boot the host, and leave it running with a guest that hangs. ``progress`` is as ``Machine.wait_ready`` has it."""
    with closing(scene((HEALTHY, HUNG), progress=progress)) as host:
        healthy, guest = host.guests
        for each, pid in ((healthy, PID), (guest, OTHER_PID)):
            assert each.monitor.ask(load(pid))[-1].startswith("ok")
        guest.monitor.tell(load(PID))
        hung = Hung(host.machine, guest, healthy)
        hung.stopped()
        host.machine.cont()
        yield hung


def main(words: list[str]) -> int:
    """Exit status: the inspector's own; 2 the words were wrong; 3 no guest could be booted."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        if asks_for_help(words):
            print(USAGE, end="")
            return 0
        ensure([*guest_tools(), *(tool for tool in suite_tools() if tool.program in HOST_TOOLS)], say)
        guest_files(say)
        say("booting a KVM host, and a guest in it that hangs")
        with ExitStack() as stack:
            with Progress() as progress:
                hung = stack.enter_context(hang(progress))
            return look(hung.machine, words or [*UNASKED])
    except KeyboardInterrupt:
        say("stopped before the guest was ready")
        return 128 + signal.SIGINT
    except InspectorError as error:
        say(str(error))
        return error.exit_status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
