"""One line of the REPL: run, shown, and whatever goes wrong said in a sentence, so that the session goes on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from types import MappingProxyType

from inspector.commands.line import Line, parse_line
from inspector.commands.registry import Session, run
from inspector.errors import InspectorError, TargetLost, UsageError
from inspector.interrupts import Interrupts
from inspector.render import show
from inspector.render.style import Style, safe
from inspector.ui import progress
from inspector.ui.bugs import Bugs
from inspector.ui.pager import Paged

OWN: Mapping[str, str] = MappingProxyType(
    {
        "reattach": "close the target and open it again, as after it was lost",
        "quit": "leave; a live guest is left as it was found (Ctrl-D does the same)",
        "exit": "the same as quit",
    }
)
"""What the REPL understands beside the registry's commands."""

STDIN = "-"


class Executor:
    """Runs lines in a session. Answers go to standard output, all else to standard error."""

    def __init__(self, session: Session, style: Style, interrupts: Interrupts) -> None:
        self.session = session
        self.interrupts = interrupts
        self._style = style
        self.ran: set[str] = set()
        """The commands that the last :meth:`execute` ran."""
        self.lost = False
        """Whether in it the user was told that the target is lost."""
        self._bugs = Bugs()

    @property
    def style(self) -> Style:
        """The style, as wide as the terminal is now."""
        if not sys.stdout.isatty():
            return self._style
        return replace(self._style, width=shutil.get_terminal_size().columns)

    def execute(self, text: str) -> bool:
        """Run what was typed, or pasted in several lines, until one is interrupted. False is for leaving."""
        self.ran.clear()
        self.lost = False
        for line in text.splitlines():
            try:
                if not self._line(line):
                    return False
            except TargetLost as error:
                self.lost = True
                self.complain(str(error))
                if self.session.reopen is not None and "reattach" not in str(error):
                    self.say("'reattach' opens it again")
            except InspectorError as error:
                self.complain(str(error))
            except KeyboardInterrupt:
                self.say("interrupted")
                return True
            except BrokenPipeError:
                raise
            except (Exception, SystemExit) as error:
                self.complain(self._bugs.tell(error, line))
        return True

    def _line(self, text: str) -> bool:
        line = parse_line(text)
        if line is None:
            return True
        name = line.words[0]
        self.ran.add(name)
        if name == "help" and self._help(line):
            return True
        if name not in OWN:
            self._answer(line)
            return True
        if len(line.words) > 1:
            raise UsageError(f"{name} takes no words after it; 'help {name}' says what it does")
        if name != "reattach":
            return False
        overlaid = self.session.guest is not None and self.session.guest.whatif is not None
        with self.interrupts.armed():
            guest = self.session.reattach()
        lost = ", and its overlay is gone" if overlaid else ""
        self.say(f"{safe(guest.target.name)} is open again, {guest.target.state.value}{lost}")
        return True

    def _answer(self, line: Line, after: Iterable[str] = ()) -> None:
        """Run a command of the registry and show what it answers as it comes, and the lines ``after`` it."""
        style, json = self.style, self.session.json or line.json
        paged = sys.stdout.isatty() and STDIN not in line.words
        results = run(self.session, line.words)
        # Ctrl-C ends what is armed: to close the command, and then to wait for the pager's reader, is not cut short.
        with Paged(sys.stdout, paged) as page, closing(results), self.interrupts.armed():
            for result in results:
                for each in show.json_lines(result) if json else show.text(result, style):
                    page.write(each)
            for each in after:
                page.write(each)

    def _help(self, line: Line) -> bool:
        """Help on the REPL's own commands. Whether that was all that was asked for."""
        if len(line.words) == 1 and not (line.json or self.session.json):
            style = self.style
            own = (f"  {style('name', f'{name:<10}')} {summary}" for name, summary in OWN.items())
            self._answer(line, (style("head", "at this prompt"), *own))
            return True
        if len(line.words) == 1:
            return False
        if line.words[1] not in OWN:
            return False
        print(f"{line.words[1]}: {OWN[line.words[1]]}")
        return True

    def say(self, text: str) -> None:
        """Tell the user something that is no answer."""
        self._tell("dim", text)

    def complain(self, text: str) -> None:
        """Tell the user what went wrong."""
        self._tell("bad", text)

    def _tell(self, kind: str, text: str) -> None:
        progress.clear()
        sys.stdout.flush()
        if sys.stderr.isatty():
            sys.stderr.write("\r\x1b[K")  # where the terminal has echoed ^C
        for line in self.style.wrap(text, kind=kind):
            print(line, file=sys.stderr)
        sys.stderr.flush()
