"""What is handed to gdb's console, and what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import UsageError
from inspector.gdbmi.console import looking


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        ("info registers msr pc", "info registers msr pc"),
        ("i r", "info r"),
        ("x/4gx 0x2740000", "x/4gx 0x2740000"),
        ("x /i $pc", "x /i $pc"),
        ("p $r1 == 3", "print $r1 == 3"),
        ("p/x ($r1 & 0xff) << 4", "print/x ($r1 & 0xff) << 4"),
        ("print $r1 <= 3 || $r2 != 4", "print $r1 <= 3 || $r2 != 4"),
        ("p sizeof(long)", "print sizeof(long)"),
        ("p *(long *) $r3", "print *(long *) $r3"),
        ("ptype long", "ptype long"),
        ("show version", "show version"),
        ("thread 2", "thread 2"),
        ("thread", "thread"),
        ("monitor info mtree -f", "monitor info mtree -f"),
        ("mon print/x $pid", "monitor print/x $pid"),
        ("monitor gva2gpa 0xc000000000000000", "monitor gva2gpa 0xc000000000000000"),
        ("  bt 3 ", "backtrace 3"),
    ],
)
def test_what_looks_is_passed_on(command: str, sent: str) -> None:
    assert looking(command) == sent


@pytest.mark.parametrize(
    "command",
    [
        "", "   ", "set var $r1 = 1", "set endian little", "print $r1 = 1", "p $r1=1", "p $r1 += 1", "p $r1 <<= 1",
        "p ++$r1", "p $r1++", "p --$r1", "output $r1 = 1", "x/x $r1 = 4", "info line ($r1 = 3)",
        'p system("true")', 'p $_shell("true")', 'p ($_shell)("true")', "call main()", "p a [1] ()",
        "continue", "c", "stepi", "si", "jump *0", "return", "finish", "until", "kill", "detach", "disconnect",
        "break *0", "hbreak *0", "watch *0", "tbreak x", "delete", "delete mem", "mem 0 0x1000 rw", "enable mem",
        "load", "restore f binary 0", "dump binary memory f 0 1", "append memory f 0 1", "generate-core-file",
        "maintenance packet X0,1:0", "maint packet k", "target remote | true", "monitor quit", "monitor system_reset",
        "monitor x/4gx 0x6030203180000", "monitor xp 0", "monitor stop", "monitor cpu 1", "monitor memsave 0 1 f",
        "monitor", "monitor\tquit", "shell true", "!true", "| info registers | cat", "pipe info reg | cat", "source f",
        "python print(1)", "py 1", "guile 1", "define x", "document x", "alias a=b", "file x", "symbol-file x",
        "thread apply all continue", "thread name x", "t a a c", "frame apply all p $r1=1", "frame function x",
        "info registers\nset var $r1 = 1", "info registers\rk", "compile code 1", "record", "tstart", "edit", "make",
        "with x -- continue", "!", "#", "-exec-continue", "1-exec-run", "cd /", "quit", "faas set var $r1=1",
    ],
)  # fmt: skip
def test_what_may_do_more_is_refused_with_what_is_allowed(command: str) -> None:
    with pytest.raises(UsageError, match="info, x, print") as caught:
        looking(command)
    assert "\n" not in str(caught.value)


@given(st.text())
def test_whatever_is_passed_on_is_one_line_and_begins_with_a_known_word(command: str) -> None:
    try:
        sent = looking(command)
    except UsageError:
        return
    assert sent.isprintable()
    assert sent.split()[0].split("/")[0].rstrip("0123456789") != ""
