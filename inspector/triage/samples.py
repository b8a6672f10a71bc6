"""The registers of every vCPU, a few times over a second or two, and how long the guest stood still for that."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace

from inspector.errors import InspectorError
from inspector.gdbmi.monitor import Ticks, parse_ticks
from inspector.guest import Guest
from inspector.targets.base import CORE, GENERAL, TRANSLATION
from inspector.triage.held import Refusals
from inspector.triage.interrupts import hidden

MOST = 9
"""Samples; each stops the guest for some hundredths of a second."""
DEFAULT_SECONDS = 2.0
CLOSER, APART, STANDS = 36, 0.002, 0.15
"""Most further stops where a user's access seems to be stuck, how long the guest runs in between, and for how many
seconds it may have stood, all in all, for one more. By one stop at which it has its page a program whose kernel fetches
that again and again is told from one that is stuck; and by one that is about to make the access again, without its
page, one that is."""
CLOSER_LEAST = 24
"""So many of these in any case while what they are for was not seen, however slow the machine: a vCPU that is stuck was
met about to make its access again at a quarter of all stops (QEMU 7.2), and a KVM guest's storage interrupt was in the
registers at half of them, where KVM has the MMU read its kernel's code (QEMU 7.2 and Linux 6.1, without success)."""
STATE = ("pid", "lpidr", "lpcr", "amr", "iamr", "dar", "dsisr", "srr0", "srr1")
LAST_FAULT = ("hsrr0", "hsrr1", "hdar", "hdsisr", "asdr")
"""What a hypervisor storage interrupt leaves in a vCPU's registers until the next (Power ISA 3.0B, book III, 6.5.16):
its guest's NIP and MSR, its EA, the cause, and the guest real address. The host's own external interrupts take the
first two as well, and so does entering a guest (Linux 6.1, ``kvmhv_vcpu_entry_p9``)."""
CLOCKS = "info registers -a"
"""The monitor's words for every vCPU's registers, which the time base and the decrementer are among."""
WANTED = (*GENERAL, *CORE, *STATE, *LAST_FAULT)
AT_ENDS = (*WANTED, *TRANSLATION)
"""What is asked for at the first stop and at the last, at which the roots are found too: once is faster than twice."""


@dataclass(frozen=True, slots=True)
class RingMark:
    """What moves in a queue's rings, out of RAM: ``avail`` and ``used`` are their indices, the flags and event indices
    who is to be told (virtio 1.2, 2.7). ``device`` is QEMU's name for the device."""

    device: str
    queue: int
    avail: int
    avail_flags: int
    used_event: int
    used: int
    used_flags: int
    avail_event: int


@dataclass(frozen=True, slots=True)
class PackedMark:
    """What moves in a packed ring, out of RAM (virtio 1.2, 2.8): a checksum of all its descriptors, for no index is in
    it; and of the driver's and of the device's event area the flags and the place."""

    device: str
    queue: int
    descriptors: int
    driver_flags: int
    driver_place: int
    device_flags: int
    device_place: int


Mark = RingMark | PackedMark


@dataclass(frozen=True, slots=True)
class Sample:
    """The registers at one stop, by vCPU and canonical name, as far as they are known; ``at`` is in seconds from the
    first sample. ``halted`` says of a vCPU whether it waits for an interrupt, where that is known; ``rings`` and
    ``packed`` are those of virtio devices; ``ticks`` are the vCPUs' clocks, asked for at the first and at the last
    stop. ``refused`` says by the register that names an access (DAR, SRR0) at how many of all stops the tables refused
    it just as it is recorded: 0 where they allowed it at any, nothing where it was not held to them. ``again`` says at
    how many of these it was about to be made again."""

    at: float
    cpus: Mapping[int, Mapping[str, int]]
    halted: Mapping[int, bool] = field(default_factory=dict)
    rings: tuple[RingMark, ...] = ()
    ticks: Mapping[int, Ticks] = field(default_factory=dict)
    refused: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    again: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    packed: tuple[PackedMark, ...] = ()

    @property
    def marks(self) -> tuple[Mark, ...]:
        """Of every queue that was watched."""
        return (*self.rings, *self.packed)


@dataclass
class Sampling:
    """How samples were taken. ``stood`` is how many seconds the guest stood still meanwhile, None of a recorded one;
    ``why_one`` says why there is one only."""

    asked: float
    samples: list[Sample] = field(default_factory=list)
    stood: float | None = None
    why_one: str = ""

    @property
    def seconds(self) -> float:
        """From the first sample to the last."""
        return self.samples[-1].at if self.samples else 0.0


def found_running(guest: Guest) -> bool | None:
    """Whether a live guest ran when it was attached to; None where that could not be told."""
    found: bool | None = getattr(guest.target, "found_running", False)
    return found


def no_marks() -> tuple[Mark, ...]:
    """Of no device."""
    return ()


def taken(
    guest: Guest,
    seconds: float | None,
    marks: Callable[[], tuple[Mark, ...]] = no_marks,
    clock: Callable[[], float] = time.monotonic,
    meanwhile: Callable[[], object] = no_marks,
) -> Sampling:
    """Sample a guest for so many ``seconds``; None are DEFAULT_SECONDS, or none where it could not be told that it ran
    when it was found. It is let run in between only if it ran when it was found, or runs now. It is stopped afterwards,
    for the caller to look at, as :func:`standing` has it. ``marks`` is called at every stop, and ``meanwhile`` once
    while it runs. Of a recorded guest they are the samples that were recorded with it, where any were."""
    from inspector.triage.recorded import sampling_of

    recorded = sampling_of(guest)
    if recorded is not None:
        return recorded
    ran_before = found_running(guest)
    may_run = guest.target.control is not None and (bool(ran_before) or (ran_before is None and seconds is not None))
    sampling = Sampling(DEFAULT_SECONDS if seconds is None else seconds)
    if guest.target.control is None:
        sampling.why_one = "one moment is all that was recorded"
    elif not may_run:
        known = "was stopped when it was found" if ran_before is False else "may have been stopped when it was found"
        sampling.why_one = f"the guest {known}, and so is not let run"
    elif not sampling.asked:
        sampling.why_one = "no time was given to it"
    begun = clock()
    ran = 0.0
    refusals = Refusals(guest)

    def sample(*, ticks: bool = False) -> Sample:
        return _sample(guest, clock() - begun, marks, refusals, ticks=ticks)

    count = 1 if sampling.why_one else MOST
    with _ready_again(guest):
        for number in range(count):
            guest.progress("looking at the guest", number, count)
            if number:
                until = begun + sampling.asked * number / (count - 1)
                if number == 1:
                    _ = guest.roots  # found while it stands, for what looks at it while it runs
                if number == count - 1:
                    ran += _looked_closer(guest, refusals, sampling, clock, begun + ran)
                    ran += _looked_behind(guest, sampling, clock, begun + ran, sample)
                if not sampling.why_one:
                    doing = meanwhile if number == 1 else no_marks
                    ran += _let_run(guest, until, sampling, clock, doing, glance=number < count - 1)
            last = number == count - 1 or bool(sampling.why_one)
            sampling.samples.append(sample(ticks=last or not number))
            if sampling.why_one:
                break
    guest.progress("looking at the guest", 1, 1)
    sampling.samples = [refusals.noted(each) for each in sampling.samples]
    if guest.target.control is not None:
        sampling.stood = clock() - begun - ran
    return sampling


def _sample(
    guest: Guest, at: float, marks: Callable[[], tuple[Mark, ...]], refusals: Refusals, *, ticks: bool
) -> Sample:
    control = guest.target.control
    known = dict(_registers(guest, AT_ENDS if ticks else WANTED))
    if control is None:
        return _marked(Sample(at, known), marks())
    clocks = parse_ticks(control.monitor([CLOCKS])[0]) if ticks else {}
    halted = control.halted()
    refusals.look(known, halted)
    return _marked(Sample(at, known, halted, ticks=clocks), marks())


def _marked(sample: Sample, marks: tuple[Mark, ...]) -> Sample:
    rings = tuple(each for each in marks if isinstance(each, RingMark))
    return replace(sample, rings=rings, packed=tuple(each for each in marks if isinstance(each, PackedMark)))


def _looked_closer(
    guest: Guest, refusals: Refusals, sampling: Sampling, clock: Callable[[], float], stands_since: float
) -> float:
    """Stop it a few more times to see whether an access is refused each time; for how many seconds it ran meanwhile. It
    has stood for as long as it would have since ``stands_since``, had it not run."""
    ran = 0.0
    for number in range(CLOSER):
        cpus = refusals.doubtful
        if not cpus or sampling.why_one:
            break
        if clock() - stands_since - ran > STANDS and (number >= CLOSER_LEAST or not refusals.not_gone_back):
            break
        ran += _let_run(guest, clock() + APART, sampling, clock, no_marks, glance=True)
        refusals.look(dict(_registers(guest, WANTED, cpus)), guest.control.halted())
    return ran


def _looked_behind(
    guest: Guest, sampling: Sampling, clock: Callable[[], float], stands_since: float, sample: Callable[[], Sample]
) -> float:
    """Take a few more samples where each so far shows KVM reading an instruction and none the interrupt that it is read
    for, until one does; for how many seconds it ran meanwhile. ``stands_since`` is as :func:`_looked_closer` has it."""
    ran = 0.0
    for number in range(CLOSER):
        if not hidden(sampling.samples) or sampling.why_one:
            break
        if clock() - stands_since - ran > STANDS and number >= CLOSER_LEAST:
            break
        ran += _let_run(guest, clock() + APART, sampling, clock, no_marks, glance=True)
        sampling.samples.append(sample())
    return ran


def _let_run(
    guest: Guest,
    until: float,
    sampling: Sampling,
    clock: Callable[[], float],
    meanwhile: Callable[[], object],
    *,
    glance: bool,
) -> float:
    """Let it run until then, and stop it again, for a glance where RAM can be read while it runs too; for how many
    seconds it ran. To be told to go and to stop counts as standing still: it is not known at which moment the guest
    heard of it."""
    begun = clock()
    try:
        guest.control.resume()
        begun = clock()
        meanwhile()
        if guest.control.wait(max(0.0, until - clock())):
            sampling.why_one = "the guest stopped by itself"
    finally:
        ended = clock()
        if guest.running:
            guest.control.interrupt(glance=glance and guest.memory.source.cheap)
    return ended - begun


@contextmanager
def _ready_again(guest: Guest) -> Iterator[None]:
    """However it is cut short, a guest that then stands, as it may for a glance, is ready for all that follows."""
    try:
        yield
    except BaseException:
        control = guest.target.control
        if control is not None and not guest.running:
            with suppress(InspectorError):
                control.interrupt()
        raise


def stands_since(guest: Guest, alone: bool) -> float:
    """Since when (:func:`time.monotonic`) a guest stands still for what is done to it from now on: one that does not
    run since it was attached to, if that is ``alone`` what it was attached to for."""
    attached: float | None = getattr(guest.target, "standing_since", None) if alone and not guest.running else None
    return time.monotonic() if attached is None else attached


def ran_since(begun: float, sampling: Sampling) -> float:
    """For how many seconds of those since then (:func:`time.monotonic`), in which it was sampled, the guest was let
    run; 0 of a recorded one."""
    return 0.0 if sampling.stood is None else time.monotonic() - begun - sampling.stood


@contextmanager
def standing(guest: Guest) -> Iterator[None]:
    """The guest stopped within, and running again afterwards where it runs now."""
    if not guest.running:
        yield
        return
    guest.control.interrupt()
    try:
        yield
    finally:
        if not guest.running:
            guest.resume()


def _registers(
    guest: Guest, asked: Iterable[str], cpus: Iterable[int] | None = None
) -> Iterator[tuple[int, Mapping[str, int]]]:
    for cpu in guest.target.cpus if cpus is None else cpus:
        known = guest.registers(cpu, asked)
        yield cpu, {name: value for name in WANTED if (value := known.get(name)) is not None}
