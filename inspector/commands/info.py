"""``info``: what this target is, and how it is being read."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from inspector.commands.registry import Answered, Command, Example, Session, no_arguments
from inspector.memory.physical import Traffic

if TYPE_CHECKING:
    from inspector.commands.overlay import Overlay
    from inspector.snapshot.manifest import Content


@dataclass(frozen=True, slots=True)
class Info(Answered):
    """What this target is. Sizes are in bytes. ``overlay`` is the one that it is looked at through, if there is one."""

    topic: ClassVar[str] = "info"
    target: str
    state: str
    source: str
    machine: Mapping[str, Any]
    ram: int
    cpus: tuple[int, ...]
    cpu: int
    roots: str
    symbols: str | None
    epoch: int
    traffic: Traffic
    overlay: Overlay | None = None
    contents: tuple[Content, ...] = ()
    """What is in a snapshot, by its own account."""


def _info(session: Session, _arguments: Namespace) -> Iterator[Info]:
    guest = session.at
    target = guest.target
    roots = guest.roots
    overlay = None
    if guest.whatif is not None:
        from inspector.commands.overlay import state

        overlay = state(guest).on
    guest.memory.expect(target.ram.total)  # so that it can be told what reads go through
    yield Info(
        target=target.name,
        state=target.state.value,
        source=target.source.description,
        machine=target.machine,
        ram=target.ram.total,
        cpus=tuple(target.cpus),
        cpu=guest.cpu,
        roots=f"{roots.explanation} ({roots.how}; {roots.sure})" if roots.state == "radix" else roots.explanation,
        symbols=guest.symbols.path if guest.symbols else None,
        epoch=target.clock.epoch,
        traffic=guest.memory.traffic,
        overlay=overlay,
        contents=tuple(getattr(target, "contents", ())),
    )


COMMANDS = (
    Command(
        "info",
        "what this target is, and how it is read",
        _info,
        no_arguments,
        (Example("info", "where it comes from, its RAM, vCPUs and roots; what is in a snapshot"),),
    ),
)
