"""What every vCPU does: whether it is halted, spins or runs, in whose code; and of those that matter, where that leads.

A vCPU is said to spin only where nothing speaks against it: that it stays near one place is what an idle loop does
too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from inspector.backtrace import LINEAR_MAP, BackTrace, back_trace, code_name
from inspector.errors import InspectorError, TargetError
from inspector.fetching import Fetched, around
from inspector.guest import Guest
from inspector.instructions.decode import WORD
from inspector.instructions.effective import Reach, reach
from inspector.instructions.operations import Kind
from inspector.radix.bits import MSR_HV, MSR_IR, MSR_LE, MSR_PR
from inspector.radix.hindsight import Held
from inspector.radix.prediction import records
from inspector.radix.translation import Access, Translation
from inspector.recordedfaults import Comparison
from inspector.triage.found import ENOUGH
from inspector.triage.leading import Leads
from inspector.triage.samples import Sampling

Mode = Literal["user", "kernel", "firmware", "real", "unknown"]
Doing = Literal["halted", "idle", "spinning", "running", "unknown"]
NEAR = 256
"""Bytes: a loop that only waits is no longer."""
MOST_LOOKS = 8
"""vCPUs that are looked at more closely without being asked about, so that many cost no more than some."""
MOST_NEAR = 64
"""And of those that a finding names or that spin: all the vCPUs of a large guest may wait for one lock, and the guest
stands still meanwhile."""
AROUND = 4
"""Instructions that are told before and after the one at NIP."""
KVM = "kvm"
LOWERS_PRIORITY = frozenset({0x7C21_0B78, 0x7FFF_FB78})
"""``or 1,1,1`` and ``or 31,31,31``: low and very low thread priority, as loops that wait say it (Linux 6.1
``asm/vdso/processor.h``: HMT_low, HMT_very_low)."""
IDLE = frozenset({"arch_cpu_idle", "cpu_idle_poll", "pseries_lpar_idle", "cede_processor", "power_enter_stop"})
IDLE_LOOPS = ("snooze_loop", "shared_cede_loop", "dedicated_cede_loop", "stop_loop", "nap_loop", "fastsleep_loop")
IDLE_STARTS = ("isa300_idle_", "isa206_idle_", "power9_idle_", "power10_idle_", "arch300_idle_", "plpar_hcall_norets")
"""What Linux 6.1 idles in: drivers/cpuidle, arch/powerpc/kernel/idle_book3s.S and platforms/powernv/idle.c; H_CEDE is
a call without results."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One access of an instruction: by the hardware's walk, and by KVM's (None: not asked, as with relocation off).
    ``leads`` says what is at the real address."""

    ea: int
    access: Access
    hardware: Translation
    software: Translation | None
    leads: str


@dataclass(frozen=True, slots=True)
class Look:
    """A vCPU looked at closely, at the last stop: the code around NIP, the fetch of the instruction there, what it
    reaches (None: nothing, or not known) and its access, how it came there, and what its registers recorded of faults,
    held to the tables; but for what was recorded while a KVM guest ran, as the registers do not say whose it was.
    ``known`` is whether the instruction is, ``lowers_priority`` that code here makes way for other threads."""

    code: tuple[Fetched, ...]
    fetch: Asked | None
    reach: Reach | None
    data: Asked | None
    trace: BackTrace
    recorded: tuple[Held, ...]
    lowers_priority: bool = False
    known: bool = True
    missed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Vcpu:
    """A vCPU over the samples: ``doing`` and ``mode`` as it is at the last one. ``lpid`` is of the KVM guest whose code
    it runs, None of any other. ``places`` are the different NIPs that were seen, and ``span`` the bytes between the
    first and the last of them. ``halted`` is in how many samples it was (None: not known). ``ticks`` is what its time
    base went on by (None: not known). ``interrupts`` is how often SRR0, SRR1, HSRR0 or HSRR1 were not as in the sample
    before, so that there was an interrupt in between; how many there were is not known. ``exits`` is in how many
    samples it held what a KVM guest's storage interrupt left (None: it runs no host)."""

    cpu: int
    doing: Doing
    mode: Mode
    nip: int | None
    name: str
    lpid: int | None = None
    samples: int = 1
    places: int = 1
    span: int = 0
    halted: int | None = None
    ticks: int | None = None
    decrementer: int | None = None
    interrupts: int | None = None
    exits: int | None = None
    registers: Mapping[str, int] | None = None
    look: Look | None = None


def seen(guest: Guest, sampling: Sampling, leads: Leads, near: Iterable[int], every: bool) -> tuple[Vcpu, ...]:
    """Every vCPU of a guest that stands at the last sample; those of ``near``, and then those that spin, are looked at
    closely first, MOST_NEAR at most, and others until there are MOST_LOOKS, or ``every`` one."""
    found = [_seen(guest, sampling, cpu) for cpu in sorted(sampling.samples[-1].cpus)]
    named, spin = set(near), {each.cpu for each in found if each.doing == "spinning"}
    order = sorted(found, key=lambda each: (each.cpu not in named, each.cpu not in spin, each.cpu))
    most = max(MOST_LOOKS, min(len(named | spin), MOST_NEAR))
    closely = {each.cpu for each in (order if every else order[:most])}
    return tuple(_closely(guest, each, leads) if each.cpu in closely else each for each in found)


# -- over the samples --------------------------------------------------------------------------------------------------


def _seen(guest: Guest, sampling: Sampling, cpu: int) -> Vcpu:
    samples = [each for each in sampling.samples if cpu in each.cpus]
    known = samples[-1].cpus[cpu]
    halts = [each.halted[cpu] for each in samples if cpu in each.halted]
    nips = [nip for each in samples if (nip := each.cpus[cpu].get("nip")) is not None]
    nip, msr = known.get("nip"), known.get("msr")
    clocks = [each.ticks[cpu] for each in samples if cpu in each.ticks]
    ticks = clocks[-1].time_base - clocks[0].time_base if len(clocks) > 1 else None
    mode: Mode = "unknown" if nip is None or msr is None else _mode(guest, cpu, nip, msr, known)
    privilege = {each.cpus[cpu].get("msr", 0) & MSR_PR for each in samples}
    span = max(nips) - min(nips) if nips else 0
    name = ""
    if nip is not None and mode in ("kernel", "user"):
        name = code_name(guest, nip, user=mode == "user", relocation=bool((msr or 0) & MSR_IR))
    doing: Doing = "running"
    if halts and halts[-1]:
        doing = "halted"
    elif _idle(name):
        doing = "idle"
    elif len(samples) < 2:
        doing = "unknown"
    elif len(nips) == len(samples) >= ENOUGH and span < NEAR and len(privilege) == 1 and not any(halts) and ticks:
        doing = "spinning"
    return Vcpu(
        cpu,
        doing,
        mode,
        nip,
        name,
        lpid=_partition(guest, known),
        samples=len(samples),
        places=len(set(nips)),
        span=span,
        halted=sum(halts) if halts else None,
        ticks=ticks,
        decrementer=clocks[-1].decrementer if clocks else None,
        interrupts=_interrupts([each.cpus[cpu] for each in samples]),
        exits=_exits(guest, [each.cpus[cpu] for each in samples]),
        registers=known,
    )


def _mode(guest: Guest, cpu: int, nip: int, msr: int, known: Mapping[str, int]) -> Mode:
    """Whose code it is. With relocation off it is the kernel's where the kernel may execute the same in its linear map,
    as its handlers begin; firmware where it may not, or where big-endian code runs before there are any tables."""
    if msr & MSR_PR:
        return "user"
    if msr & MSR_IR:
        return "kernel"
    if guest.roots.state != "radix":
        return "real" if guest.roots.state == "hash-mmu" or msr & MSR_LE else "firmware"
    try:
        fetch = guest.translate(LINEAR_MAP | nip, access="x", cpu=cpu, lpid=_partition(guest, known) or 0, pid=0)
    except TargetError:
        raise
    except InspectorError:
        return "real"
    return "kernel" if fetch.ok else "firmware"


def _partition(guest: Guest, known: Mapping[str, int]) -> int | None:
    """LPID of the KVM guest whose code a host's vCPU runs."""
    if guest.roots.flat or known.get("msr", 0) & MSR_HV:
        return None
    return known.get("lpidr") or None


def _idle(name: str) -> bool:
    symbol = name.partition("+")[0].lstrip(".")
    return symbol in IDLE or symbol.startswith((*IDLE_LOOPS, *IDLE_STARTS))


def _interrupts(known: Sequence[Mapping[str, int]]) -> int | None:
    """Between how many samples an interrupt came, at least; None of one sample, or where nothing would tell."""
    marks = [tuple(each.get(name) for name in ("srr0", "srr1", "hsrr0", "hsrr1")) for each in known]
    if len(marks) < 2 or not any(value is not None for mark in marks for value in mark):
        return None
    return sum(one != other for one, other in pairwise(marks))


def _exits(guest: Guest, known: Sequence[Mapping[str, int]]) -> int | None:
    """In how many samples it held a KVM guest's storage interrupt (HSRR1[HV] is 0); None of what is no host."""
    if guest.roots.flat or not any(each.get("msr", 0) & MSR_HV for each in known):
        return None
    return sum(bool(each.get("hdsisr") and each.get("hsrr1")) and not each["hsrr1"] & MSR_HV for each in known)


# -- closely -----------------------------------------------------------------------------------------------------------


def _closely(guest: Guest, vcpu: Vcpu, leads: Leads) -> Vcpu:
    known = vcpu.registers or {}
    nip, msr = vcpu.nip, known.get("msr")
    if nip is None or msr is None:
        return vcpu
    missed: list[str] = []
    code: tuple[Fetched, ...] = ()
    try:
        code = tuple(around(guest, nip, AROUND, AROUND, little=bool(msr & MSR_LE), cpu=vcpu.cpu))
    except TargetError:
        raise
    except InspectorError as error:
        missed.append(f"the code was not looked at: {error}")
    here = next((each.instruction for each in code if each.address == nip), None)
    reached = None if here is None else reach(here, known.get)
    data = None
    if reached is not None and reached.ea is not None and not (reached.hint or reached.real):
        data = _asked(guest, vcpu.cpu, reached.ea, reached.way, leads, missed)
    fetch = _asked(guest, vcpu.cpu, nip, "x", leads, missed) if nip % WORD == 0 else None
    comparison = Comparison(guest, vcpu.cpu, None, None, known)
    recorded = []
    for record in records(known):
        held = comparison.held(record)
        if held.verdict == "agrees" or not (record.doubtful or held.verdict == "other-partition"):
            recorded.append(held)
    words = {each.instruction.word for each in code if each.instruction is not None}
    look = Look(
        code,
        fetch,
        reached,
        data,
        back_trace(guest, vcpu.cpu, known),
        tuple(recorded),
        bool(words & LOWERS_PRIORITY),
        here is not None and here.kind is not Kind.UNKNOWN,
        tuple(missed),
    )
    doing = vcpu.doing
    if doing == "spinning" and any(_idle(frame.name) for frame in look.trace.frames[:3]):
        doing = "idle"
    return replace(vcpu, doing=doing, look=look)


def _asked(guest: Guest, cpu: int, ea: int, access: Access, leads: Leads, missed: list[str]) -> Asked | None:
    try:
        hardware = guest.translate(ea, access=access, cpu=cpu)
        software = guest.translate(ea, walker=KVM, cpu=cpu) if hardware.relocation else None
    except TargetError:
        raise
    except InspectorError as error:
        missed.append(f"{ea:#x} was not looked up: {error}")
        return None
    return Asked(ea, access, hardware, software, "" if hardware.ra is None else leads.says(hardware.ra))
