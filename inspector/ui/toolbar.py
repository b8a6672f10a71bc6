"""The line at the bottom: what is looked at, and how it stands.

What it shows is gathered once before each prompt, so that drawing it never waits for the target.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from inspector.errors import InspectorError, TargetLost
from inspector.guest import Guest
from inspector.radix.registers import describe_msr
from inspector.render.style import safe
from inspector.targets.base import RunState

SHOWN = ("nip", "pid", "lpidr", "msr")
STANDING = (RunState.STOPPED, RunState.RECORDED)
GAP = "  "
OVERLAY, RECORDED_WHAT_IF = "overlay", "what-if"
SHORTEST_NAME = 8
"""A target's name is not cut shorter than this: other things are left out instead."""


@dataclass(frozen=True, slots=True)
class Status:
    """How a target stands. A register that is None is unknown, or not asked for as the guest runs."""

    target: str
    cpu: int
    state: RunState
    nip: int | None = None
    pid: int | None = None
    lpid: int | None = None
    msr: int | None = None
    symbol: str | None = None
    """NIP by name, with a kernel image."""
    because: str | None = None
    """Why the target is lost, in a sentence."""
    whatif: str = ""
    """Where what is shown is as it would be, by an overlay or in a snapshot of one: a word for it."""


NO_TARGET = Status("no target", 0, RunState.LOST)


def gather(guest: Guest | None) -> Status:
    """How ``guest`` stands now. Asks a standing target for at most four registers, once an epoch; a running one for
    none. Never raises InspectorError."""
    if guest is None:
        return NO_TARGET
    status = _gathered(guest)
    return replace(status, whatif=_whatif(guest, status.state))


def _whatif(guest: Guest, state: RunState) -> str:
    if guest.whatif is not None:
        return OVERLAY
    return RECORDED_WHAT_IF if state is RunState.RECORDED and "whatif" in guest.target.machine else ""


def _gathered(guest: Guest) -> Status:
    target = guest.target
    state = RunState.RUNNING if target.clock.running else RunState.STOPPED
    try:
        state = target.state
        if state is RunState.RUNNING and target.control is not None:
            target.control.wait(0)  # a stop that nobody waited for is noticed here
            state = target.state
        if state not in STANDING:
            return Status(target.name, guest.cpu, state, because=getattr(target, "lost_because", None))
        known = guest.registers(names=SHOWN)
    except TargetLost as error:
        return Status(target.name, guest.cpu, RunState.LOST, because=str(error))
    except InspectorError:
        return Status(target.name, guest.cpu, state)
    nip = known.get("nip")
    return Status(
        target.name,
        guest.cpu,
        state,
        nip,
        known.get("pid"),
        known.get("lpidr"),
        known.get("msr"),
        None if nip is None else _symbol(guest, nip),
    )


def _symbol(guest: Guest, nip: int) -> str | None:
    named = guest.symbols.name_of(nip) if guest.symbols else None
    return named and (f"{named[0]}+{named[1]:#x}" if named[1] else named[0])


def lines(status: Status, width: int) -> list[str]:
    """One line of at most ``width`` columns, or two where one does not hold it all.

    NIP's name is left out where there is no room for it beside the target's."""
    plain, second = _first(status), _second(status)
    named = _first(status, named=True)
    target = safe(status.target)
    for first in (named, plain):
        whole = GAP.join([target, *first, *second])
        if _columns(whole) <= width:
            return [whole]
    rest = GAP.join(["", *named])
    if _columns(target + rest) > width:
        rest = GAP.join(["", *plain])
    name = _shortened(target, max(SHORTEST_NAME, width - _columns(rest)))
    both = [_cut(name + rest, width)]
    if second:
        both.append(_cut(GAP.join(second), width))
    return both


def _first(status: Status, named: bool = False) -> list[str]:
    if status == NO_TARGET:
        return ["'reattach' opens it again"]
    if status.state is RunState.LOST:
        return [f"vCPU {status.cpu}", "lost: 'reattach' opens it again"]
    where = f" at {safe(status.symbol)}" if named and status.symbol else ""
    return [f"vCPU {status.cpu}", status.state.value + where, *([status.whatif] if status.whatif else [])]


def _second(status: Status) -> list[str]:
    if status.state not in STANDING:
        return []
    return [
        f"PID {_number(status.pid)} LPID {_number(status.lpid)}",
        f"NIP {'unknown' if status.nip is None else f'{status.nip:#x}'}",
        "MSR unknown" if status.msr is None else describe_msr(status.msr),
    ]


def _number(value: int | None) -> str:
    return "unknown" if value is None else str(value)


def _columns(text: str) -> int:
    from prompt_toolkit.utils import get_cwidth

    return get_cwidth(text)


def _cut(text: str, width: int) -> str:
    """The beginning of ``text`` that fits, marked where it was cut."""
    if _columns(text) <= width:
        return text
    while text and _columns(text) > width - 1:
        text = text[:-1]
    return text + "…" if width > 0 else ""


def _shortened(text: str, width: int) -> str:
    """``text`` with its middle left out: both the kind of a target and the end of its path tell it from others."""
    if _columns(text) <= width:
        return text
    head, tail = text[: len(text) // 2], text[len(text) // 2 :]
    while _columns(head) + _columns(tail) + 1 > width and (head or tail):
        if len(head) > len(tail) or not tail:
            head = head[:-1]
        else:
            tail = tail[1:]
    return f"{head}…{tail}"
