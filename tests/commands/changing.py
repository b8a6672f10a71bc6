"""A fake guest whose tables change under a session."""

from __future__ import annotations

import shlex
from typing import Any

from inspector.commands.registry import Result, run
from tests.commands.asking import objects, session
from tests.fakes import PID, FakeControl, FakeTarget, guest, linux_target


class Live:
    """A session on a fake guest whose tables a test changes as the guest would."""

    def __init__(self, target: FakeTarget | None = None) -> None:
        self.target = target or linux_target()
        self.control = FakeControl(self.target)
        self.guest = guest(self.target)
        self.session = session(self.guest)

    def ask(self, words: str) -> list[Result]:
        return list(run(self.session, shlex.split(words)))

    def told(self, words: str, kind: str | None = None) -> list[dict[str, Any]]:
        found = objects(self.ask(words))
        return found if kind is None else [each for each in found if kind in each]

    def entry_of(self, ea: int, pid: int = PID) -> int:
        """Where the leaf of ``ea`` is."""
        at = self.guest.translate(ea, pid=pid).steps[-1].address
        assert at is not None
        return at

    def put(self, address: int, word: int) -> None:
        """Write it, as a guest that runs."""
        self.target.source.put_word(address, word)
        self.target.clock.tick()
