"""The REPL: a prompt, the status at the bottom; whatever happens to a command or the target, the session goes on."""

from __future__ import annotations

import sys

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.defaults import create_output

from inspector.commands.registry import Session
from inspector.interrupts import Interrupts
from inspector.render.style import Style, counted, safe
from inspector.targets.base import RunState
from inspector.ui import toolbar
from inspector.ui.completer import WordCompleter
from inspector.ui.execute import OWN, Executor
from inspector.ui.history import open_history
from inspector.ui.keys import bindings
from inspector.ui.vocabulary import vocabulary

PROMPT = "inspector> "
RUNNING_PROMPT = "inspector (running)> "
OVERLAY_PROMPT = "inspector (overlay)> "
RUNNING_OVERLAY_PROMPT = "inspector (overlay, running)> "
STOPPING = frozenset({"interrupt", "continue", "c", "reattach"})
"""Commands that say themselves that the guest stopped in them."""


def repl(session: Session, style: Style) -> int:
    """Read command lines from the terminal and answer them until the user leaves. The exit status, 0.

    Raises BrokenPipeError where standard output is a pipe that nobody reads any more."""
    with Interrupts() as interrupts:
        Repl(session, style, interrupts).run()
    return 0


class Repl:
    """A session at a terminal."""

    def __init__(self, session: Session, style: Style, interrupts: Interrupts) -> None:
        self.session = session
        self.interrupts = interrupts
        self.executor = Executor(session, style, interrupts)
        self.status = toolbar.NO_TARGET
        self._prompt: PromptSession[str] = PromptSession(
            history=open_history(),
            completer=WordCompleter(vocabulary(lambda: session, OWN)),
            complete_while_typing=False,
            complete_in_thread=False,  # keys typed on meanwhile wait for the completion, and do not undo it
            auto_suggest=AutoSuggestFromHistory(),
            enable_history_search=True,
            enable_suspend=True,
            key_bindings=bindings(),
            bottom_toolbar=self._toolbar,
            color_depth=None if style.colour else ColorDepth.DEPTH_1_BIT,
            # Answers may go to a file while the user types at the terminal.
            output=None if sys.stdout.isatty() or not sys.stderr.isatty() else create_output(always_prefer_tty=True),
        )

    def run(self) -> None:
        """Prompt and answer until the user leaves."""
        self.refresh()
        self._greet()
        while True:
            try:
                text = self._prompt.prompt(self._message)
            except EOFError:
                return
            except KeyboardInterrupt:
                text = self._on_interrupt()
            if not self.executor.execute(text):
                return
            self.refresh()

    def refresh(self) -> None:
        """Look how the target stands: for the toolbar, which only draws what was found here."""
        before, guest = self.status, self.session.guest
        ran = guest is not None and guest.target.clock.running
        ran = ran or (before.state is RunState.RUNNING and not STOPPING & self.executor.ran)
        try:
            with self.interrupts.armed():
                self.status = toolbar.gather(guest)
        except KeyboardInterrupt:
            return
        if ran and self.status.state is RunState.STOPPED:
            where = "" if self.status.nip is None else f" at NIP {self.status.nip:#x}"
            self.executor.say(f"the guest has stopped by itself{where}")
        lost = before.state is not RunState.LOST and self.status.state is RunState.LOST
        if lost and not self.executor.lost and self.session.guest is not None:
            self.executor.complain(self.status.because or f"{safe(self.status.target)} is lost")
            self.executor.say("'reattach' opens it again")

    def _on_interrupt(self) -> str:
        """What Ctrl-C on an empty line asks for, as a command line."""
        guest = self.session.guest
        if guest is not None and guest.running:
            return "interrupt"
        self.executor.say("nothing runs; Ctrl-D or 'quit' leaves")
        return ""

    def _greet(self) -> None:
        guest = self.session.guest
        if guest is None:
            return
        self.executor.say(
            f"{safe(guest.target.name)}: {guest.target.state.value}, {counted(len(guest.target.cpus), 'vCPU')}; "
            "'help' lists the commands, Tab completes, Ctrl-D leaves"
        )

    def _message(self) -> str:
        running = self.status.state is RunState.RUNNING
        if self.status.whatif == toolbar.OVERLAY:
            return RUNNING_OVERLAY_PROMPT if running else OVERLAY_PROMPT
        return RUNNING_PROMPT if running else PROMPT

    def _toolbar(self) -> str:
        """Drawn at every key: nothing here may wait."""
        return "\n".join(toolbar.lines(self.status, get_app().output.get_size().columns))
