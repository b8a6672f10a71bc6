"""Causes as data: what each means, what to do, and the signature that it is known by. Pure, over the evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from inspector.linux.regions import region_of
from inspector.triage.evidence import Evidence, Owner, Storage, Stuck

Confidence = Literal["high", "medium", "low"]
CONFIDENCES: tuple[Confidence, ...] = ("high", "medium", "low")
IO_REGIONS = frozenset({"ISA I/O", "PHB I/O", "ioremap"})
"""Of Linux's kernel: what is mapped there are devices."""
ENOUGH = 3
"""Samples that hold the same are no chance any more."""


@dataclass(frozen=True, slots=True)
class Found:
    """That a cause's signature is there: how sure that is, where, and by which evidence, a sentence each."""

    confidence: Confidence
    cpu: int | None = None
    lpid: int | None = None
    pid: int | None = None
    nip: int | None = None
    ea: int | None = None
    ra: int | None = None
    walker: str | None = None
    errno: str | None = None
    device: str | None = None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a guest comes no further: ``meaning`` and ``advice`` are sentences."""

    slug: str
    title: str
    meaning: str
    advice: str
    signature: Callable[[Evidence], Iterable[Found]]


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause that was found, or one of the two ways of finding none."""

    cause: Cause
    found: Found

    @property
    def ok(self) -> bool:
        """Whether there is nothing wrong."""
        return self.cause.slug == HEALTHY


# -- KVM's own walk ----------------------------------------------------------------------------------------------------


def _software_walk(evidence: Evidence) -> Iterator[Found]:
    """A storage interrupt at an address with nothing behind it, which KVM must emulate, by an instruction that the
    hardware fetches and KVM's walk does not find."""
    for last in evidence.storage:
        for owner in last.owners:
            if _unbacked(owner) and owner.fetch.ra is not None and not owner.walk.ok:
                yield _walk_failed(last, owner)


def _unbacked(owner: Owner) -> bool:
    """Whether the host has nothing behind the guest real address, rather than an entry that cannot be read."""
    return not owner.data.ok and owner.data.stage == 2 and owner.data.cause == "not-present"


def _walk_failed(last: Storage, owner: Owner) -> Found:
    walk = owner.walk
    confidence: Confidence = "medium"
    if owner.loads is False:
        confidence = "low"
    elif last.seen >= ENOUGH and last.canaries < last.seen:
        confidence = "high"
    return Found(
        confidence,
        last.cpu,
        owner.lpid,
        owner.pid,
        last.nip,
        last.ea,
        last.guest_real,
        walk.walker,
        walk.errno,
        None,
        (
            f"vCPU {last.cpu} holds the guest's last storage interrupt{_times(last)}: at NIP {last.nip:#x}"
            f"{_instruction(owner.text)}, of EA {last.ea:#x}, guest real {last.guest_real:#x}",
            f"the tables of LPID {owner.lpid}, PID {owner.pid} lead that EA there, and the host has nothing behind it "
            f"({owner.data.reason}): it is a device's, and KVM has to emulate the access",
            f"to emulate it KVM looks for the instruction: its walk of {last.nip:#x} reads {len(walk.steps)} entries "
            f"and ends in {walk.errno} ({walk.cause}): {walk.reason}",
            f"the hardware's walk of {last.nip:#x} goes well and ends at {owner.fetch.ra:#x}",
            f"walkers that would find it: {', '.join(owner.passing)}"
            if owner.passing
            else "no variant of KVM's walk that is known here would find it",
        ),
    )


def _times(last: Storage) -> str:
    if last.samples == 1:
        return ", which KVM is about to enter it at again" if last.canaries else ""
    canary = f"; in {last.canaries} of them KVM is about to enter it again" if last.canaries else ""
    return f" in {last.seen} of {last.samples} samples{canary}"


def _instruction(text: str) -> str:
    return f" ({text})" if text else ""


# -- the access at NIP -------------------------------------------------------------------------------------------------


def _stuck(evidence: Evidence, matches: Callable[[Stuck], bool]) -> Iterator[Found]:
    for each in evidence.stuck:
        if not matches(each):
            continue
        answer = each.answer
        kind = {"r": "a load", "w": "a store", "x": "the fetch of itself"}[answer.access or "r"]
        times = "" if evidence.samples == 1 else f" in {each.seen} of {evidence.samples} samples"
        yield Found(
            "high" if each.seen >= ENOUGH else "medium",
            each.cpu,
            answer.lpid,
            answer.pid,
            each.nip,
            answer.ea,
            answer.gra,
            answer.walker,
            evidence=(
                f"vCPU {each.cpu} is at NIP {each.nip:#x}{_instruction(each.text)}{times}, which is where SRR0 says "
                "that its last interrupt came from",
                f"{kind} at {answer.ea:#x} by {'user' if each.user else 'privileged'} code would fault now: "
                f"{answer.reason}",
                f"{each.record.registers[0]} {each.record.ea:#x} and {each.record.registers[1]} "
                f"{each.record.bits:#x} record just this",
            ),
        )


def _not_mapped(each: Stuck) -> bool:
    return each.answer.cause in ("not-present", "no-process-table", "process-entry-empty") and each.answer.access != "x"


def _of_a_device(each: Stuck) -> bool:
    region = region_of(each.answer.ea)
    return region is not None and region.name in IO_REGIONS


def _mmio_not_mapped(evidence: Evidence) -> Iterator[Found]:
    yield from _stuck(evidence, lambda each: _not_mapped(each) and _of_a_device(each))


def _page_not_mapped(evidence: Evidence) -> Iterator[Found]:
    yield from _stuck(evidence, lambda each: _not_mapped(each) and not _of_a_device(each))


def _key_closed(evidence: Evidence) -> Iterator[Found]:
    yield from _stuck(evidence, lambda each: each.answer.cause == "key" and each.answer.access != "x")


def _privileged(evidence: Evidence) -> Iterator[Found]:
    yield from _stuck(evidence, lambda each: each.answer.cause == "privilege" and each.user)


def _execute(evidence: Evidence) -> Iterator[Found]:
    causes = ("protection", "guarded", "key")
    yield from _stuck(evidence, lambda each: each.answer.cause in causes and each.answer.access == "x")


# -- none of these -----------------------------------------------------------------------------------------------------


def _again_and_again(evidence: Evidence) -> Iterator[Found]:
    """KVM enters a guest again and again at one instruction whose address has nothing behind it, and its walk does find
    that instruction: what goes wrong then is in the emulation, or in its VMM."""
    for last in evidence.storage:
        if last.seen < ENOUGH or last.seen < last.samples or not 0 < last.canaries < last.seen:
            continue
        for owner in last.owners:
            if _unbacked(owner) and owner.walk.ok:
                yield Found(
                    "low",
                    last.cpu,
                    owner.lpid,
                    owner.pid,
                    last.nip,
                    last.ea,
                    last.guest_real,
                    evidence=(
                        f"the guest comes back to NIP {last.nip:#x}{_instruction(owner.text)}{_times(last)}, for EA "
                        f"{last.ea:#x}, guest real {last.guest_real:#x}, which has nothing behind it",
                        "KVM's walk finds that instruction, so the tables do not explain it: it may be one that KVM "
                        "cannot emulate, or a device that is polled",
                    ),
                )


def _nothing(evidence: Evidence) -> Iterator[Found]:
    """That nothing was found, and what that is worth."""
    said = []
    if evidence.samples == 1:
        said.append(f"one sample only, which cannot show whether it moves: {evidence.sampling.why_one}")
    else:
        cpus = sorted(evidence.sampling.samples[0].cpus)
        still = [cpu for cpu in cpus if cpu not in evidence.moved]
        goes = ", ".join(f"vCPU {cpu}" for cpu in sorted(evidence.moved)) or "no vCPU"
        said.append(f"in {evidence.samples} samples {goes} went on to another NIP")
        if still:
            at = ", ".join(f"vCPU {cpu}" for cpu in still)
            said.append(f"{at} was at the same NIP each time, as one that idles is")
    said.append("no fault that a vCPU recorded of its own NIP is one that the tables would raise now")
    owners = [owner for last in evidence.storage for owner in last.owners]
    if owners and all(owner.walk.ok for owner in owners):
        said.append("KVM's walk finds the instruction of every storage interrupt that a guest left in the registers")
    elif evidence.storage:
        said.append("what a guest's storage interrupt left in the registers is of no process, or has memory by now")
    said.extend(evidence.missed)
    sure: Confidence = "medium" if evidence.moved else "low"
    yield Found(sure, evidence=tuple(said))


HEALTHY, UNEXPLAINED = "healthy", "unexplained"

CAUSES: tuple[Cause, ...] = (
    Cause(
        "software-walk-fails",
        "KVM's walk of the guest's tables fails where the hardware's goes well",
        "The guest accesses a device that KVM emulates. For that KVM looks for the instruction by a walk of its own, "
        "in software, which is stricter than the MMU or mistaken; where it fails the guest is sent back to try again, "
        "for ever, and nobody is told.",
        "Mend the entry that the walk refuses in the guest's tables ('compare' shows every walker), or run a host "
        "kernel whose walk accepts it.",
        _software_walk,
    ),
    Cause(
        "mmio-page-not-mapped",
        "a device's page is not mapped",
        "The kernel touches an address where it maps devices, and no entry leads on from there.",
        "Look for who unmapped it, or never mapped it: 'xlate' shows where the walk ends, 'maps' what is there.",
        _mmio_not_mapped,
    ),
    Cause(
        "page-not-mapped",
        "a page that is touched is not mapped, and the interrupt did not map it",
        "The instruction faults, the handler returns to it, and the tables are as they were.",
        "Look at what the handler does with it: 'xlate' shows where the walk ends.",
        _page_not_mapped,
    ),
    Cause(
        "key-closed",
        "a key forbids it (KUAP left closed)",
        "AMR forbids data accesses through key 0: the kernel touches user memory outside of its windows for that.",
        "Look for a path that closes the window too early, or that forgot to open it: 'regs' shows AMR.",
        _key_closed,
    ),
    Cause(
        "privileged-from-user",
        "user code touches a privileged page",
        "The leaf is for privileged code only (EAA[0]), and MSR[PR] is set.",
        "Look at how the page came to be the kernel's, or the vCPU to problem state: 'xlate' shows the leaf.",
        _privileged,
    ),
    Cause(
        "execute-protected",
        "the code's page cannot be executed",
        "The leaf has no execute right, is a device's, or IAMR forbids it (KUEP).",
        "Look at the leaf by 'xlate', and at IAMR by 'regs'.",
        _execute,
    ),
)
"""In the order in which they are told where they are equally sure: what explains most first."""
UNKNOWN = Cause(
    UNEXPLAINED,
    "something comes no further, and nothing in the tables explains it",
    "The same thing is seen again and again, and every walk that it needs goes well.",
    "Look at the device and at who emulates it: 'virtio' shows its queues, 'regs' the vCPUs.",
    _again_and_again,
)
NOTHING = Cause(
    HEALTHY,
    "nothing wrong was found",
    "None of the causes that are known here has left its signature.",
    "If it hangs all the same, sample longer (--seconds), and look at its devices by 'virtio'.",
    _nothing,
)


def diagnosed(evidence: Evidence) -> tuple[Finding, ...]:
    """What is the matter, the most likely first; never empty."""
    found = [Finding(cause, each) for cause in CAUSES for each in _distinct(cause.signature(evidence))]
    if found:
        return tuple(sorted(found, key=lambda each: CONFIDENCES.index(each.found.confidence)))
    found = [Finding(UNKNOWN, each) for each in _distinct(UNKNOWN.signature(evidence))]
    return tuple(found or [Finding(NOTHING, each) for each in NOTHING.signature(evidence)])


def _distinct(found: Iterable[Found]) -> Iterator[Found]:
    """One of those that are of the same access: the guest may have been seen on several vCPUs."""
    told = set()
    for each in sorted(found, key=lambda one: CONFIDENCES.index(one.confidence)):
        what = (each.lpid, each.pid, each.nip, each.ea)
        if what not in told:
            told.add(what)
            yield each
