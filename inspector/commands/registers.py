"""``regs`` and ``cpu``: what the vCPUs' registers hold, and which vCPU is followed."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.errors import UnknownRegister
from inspector.guest import Guest
from inspector.radix.fields import Decoded
from inspector.radix.registers import register_format
from inspector.targets.base import CORE, FAULT, GENERAL, MMU, REGISTERS, canonical

GROUPS: Sequence[tuple[str, Sequence[str]]] = (
    ("where it is", CORE),
    ("where addresses go", MMU),
    ("why one did not", FAULT),
    ("general", GENERAL),
)
"""The registers as 'regs' lists them, under what they are for."""

IDENTITY = ("nip", "msr", "pid", "lpidr")


@dataclass(frozen=True, slots=True)
class RegisterGroup:
    """Registers under one head: (name, value), None where it is unknown."""

    head: str
    values: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class RegisterFile(Answered):
    """Registers of one vCPU. ``decoded`` holds those that are to be shown bit by bit; ``several`` says that other
    vCPUs are shown too."""

    topic: ClassVar[str] = "registers"
    cpu: int
    groups: tuple[RegisterGroup, ...]
    decoded: tuple[tuple[str, Decoded], ...] = ()
    several: bool = False


@dataclass(frozen=True, slots=True)
class Cpu:
    """One vCPU in a line; ``chosen`` is the one whose registers are followed. None is unknown."""

    cpu: int
    chosen: bool
    nip: int | None
    msr: int | None
    pid: int | None
    lpid: int | None


@dataclass(frozen=True, slots=True)
class CpuList(Answered):
    """vCPUs, each in a line."""

    topic: ClassVar[str] = "registers"
    cpus: tuple[Cpu, ...]


def cpu_of(guest: Guest, cpu: int) -> Cpu:
    """One vCPU in a line."""
    known = guest.registers(cpu, IDENTITY)
    return Cpu(cpu, cpu == guest.cpu, known.get("nip"), known.get("msr"), known.get("pid"), known.get("lpidr"))


def _groups(names: Sequence[str], everything: bool) -> list[tuple[str, Sequence[str]]]:
    if not names:
        return list(GROUPS if everything else GROUPS[:-1])
    plain = [canonical(name) for name in names]
    for name in plain:
        if name not in REGISTERS:
            raise UnknownRegister(name, 0, False)
    return [("", tuple(dict.fromkeys(plain)))]


def _regs(session: Session, arguments: Namespace) -> Iterator[RegisterFile]:
    guest = session.at
    groups = _groups(arguments.name, arguments.all)
    cpus = list(guest.target.cpus) if arguments.every else [guest.cpu]
    wanted = [name for _, names in groups for name in names]
    for cpu in cpus:
        known = guest.registers(cpu, wanted)
        shown = tuple(RegisterGroup(head, tuple((name, known.get(name)) for name in names)) for head, names in groups)
        decoded = []
        for name in wanted if arguments.bits else ():
            value, form = known.get(name), register_format(name)
            if value is not None and form is not None:
                decoded.append((name, form.decode(value)))
        yield RegisterFile(cpu, shown, tuple(decoded), len(cpus) > 1)


def _regs_arguments(parser: Parser) -> None:
    parser.add_argument("name", nargs="*", metavar="REGISTER", help="these alone, as in: regs msr lpcr")
    parser.add_argument("--all", action="store_true", help="the general registers too")
    parser.add_argument("--every", action="store_true", help="of every vCPU")
    parser.add_argument("--bits", action="store_true", help="each bit by bit")


def _cpu(session: Session, arguments: Namespace) -> Iterator[CpuList]:
    guest = session.at
    if arguments.number is None:
        yield CpuList(tuple(cpu_of(guest, cpu) for cpu in guest.target.cpus))
        return
    guest.choose_cpu(session.value(arguments.number))
    yield CpuList((cpu_of(guest, guest.cpu),))


def _cpu_arguments(parser: Parser) -> None:
    parser.add_argument("number", nargs="?", metavar="N", help="follow this one from now on")


COMMANDS = (
    Command(
        "regs",
        "the vCPU's registers, and what each bit of them says",
        _regs,
        _regs_arguments,
        (
            Example("regs", "the registers that decide where addresses go, and those that say why one did not"),
            Example("regs msr lpcr --bits", "two of them, bit by bit"),
            Example("regs nip pid --every", "where every vCPU is, and whose process runs on it"),
        ),
        "A register whose value the target does not know is shown as ?; --set NAME=VALUE gives it one. Bits are "
        "counted as Linux counts them, from the least significant, and beside it as IBM does, from the other end.",
    ),
    Command(
        "cpu",
        "the vCPUs, or which one's registers are followed",
        _cpu,
        _cpu_arguments,
        (
            Example("cpu", "every vCPU: where it is, in which mode, and in whose address space"),
            Example("cpu 0", "follow vCPU 0 from now on"),
        ),
        "The choice holds for the rest of the session; for one command, --cpu N does the same.",
    ),
)
