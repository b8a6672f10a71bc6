"""Tokens, limits, interrupts and losses, against a gdb that misbehaves on purpose."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.errors import ProtocolError, ReplyTimeout, TargetLost, ToolMissing
from inspector.gdbmi.records import MiError
from inspector.gdbmi.transport import Transport
from tests.gdbmi.fakes import FakeGdb, memory_record, record

Start = Callable[..., Transport]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made = []

    def make(*rules: dict[str, Any], timeout: float = 10.0) -> Transport:
        made.append(Transport(FakeGdb(tmp_path, list(rules)).argv, timeout=timeout))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


def test_a_reply_belongs_to_its_token(start: Start) -> None:
    transport = start(
        {"match": "^-one", "say": record('done,value="1"')}, {"match": "^-two", "say": record('done,value="2"')}
    )
    first, second = transport.submit("-one"), transport.submit("-two")
    assert transport.finish(first).payload() == {"value": "1"}
    assert transport.finish(second).payload() == {"value": "2"}
    assert [reply.line for reply in transport.batch(["-two", "-one"])] == [b'done,value="2"', b'done,value="1"']


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor: nobody can keep off it")
def test_gdb_keeps_to_one_processor_and_we_may_use_all(start: Start) -> None:
    ours = os.sched_getaffinity(0)
    transport = start()
    assert os.sched_getaffinity(transport.pid) == {max(ours)}
    assert os.sched_getaffinity(0) == ours


def test_a_reply_in_single_bytes_is_one_reply(start: Start) -> None:
    transport = start({"match": "^-one", "say": '~"a"\n' + record('done,value="1"'), "pieces": True})
    reply = transport.command("-one")
    assert reply.payload() == {"value": "1"}
    assert reply.text() == "a"


def test_a_token_inside_a_string_is_not_a_reply(start: Start) -> None:
    transport = start({"match": "^-one", "say": '~"TOKEN^done"\n~"\\nTOKEN^done"\n' + record('done,value="1"')})
    assert transport.command("-one").payload() == {"value": "1"}


def test_a_reply_a_second_late_is_still_the_reply(start: Start) -> None:
    transport = start({"match": "^-one", "say": record('done,value="1"'), "delay": 1.0})
    assert transport.command("-one").payload() == {"value": "1"}


def test_a_reply_beyond_the_limit_is_never_taken_for_the_next(start: Start) -> None:
    late = '@"late words"\n' + record('done,value="late"')
    transport = start(
        {"match": "^-one", "say": late, "delay": 0.5},
        {"match": "^-two", "say": '@"words"\n' + record('done,value="2"')},
    )
    with pytest.raises(ReplyTimeout, match="-one"):
        transport.command("-one", limit=0.1)
    reply = transport.command("-two")
    assert reply.payload() == {"value": "2"}
    assert reply.text() == "words"


def test_an_error_is_raised_with_gdbs_words(start: Start) -> None:
    transport = start({"match": "^-one", "say": record('error,msg="No \\"such\\" thing.\\nReally."')})
    with pytest.raises(MiError, match=r'No "such" thing\. Really\.') as caught:
        transport.command("-one")
    assert "\n" not in str(caught.value)
    assert transport.command("-two").result == b"done"


@pytest.mark.parametrize("said", ['TOKEN^done,memory=[{begin="0x0", cont', "TOKEN", "TOKEN^done"])
def test_a_reply_cut_short_by_gdbs_end_loses_the_target(start: Start, said: str) -> None:
    transport = start({"match": "^-one", "say": said, "die": True})
    with pytest.raises(TargetLost) as caught:
        transport.command("-one")
    assert "\n" not in str(caught.value)
    with pytest.raises(TargetLost):
        transport.command("-two")
    transport.close()
    transport.close()


def test_a_garbled_reply_is_refused_and_the_next_is_fine(start: Start) -> None:
    transport = start({"match": "^-one", "say": record('done,memory=[{begin="0x')})
    with pytest.raises(ProtocolError, match="garbled"):
        transport.command("-one").payload()
    assert transport.command("-two").payload() == {}


def test_last_words_are_passed_on(start: Start) -> None:
    transport = start({"match": "^-one", "say": "fatal: no libpython\n", "die": True})
    with pytest.raises(TargetLost, match="fatal: no libpython"):
        transport.command("-one")


@pytest.mark.parametrize("message", ["Remote connection closed", "Remote communication error.  Target disconnected."])
def test_a_closed_connection_loses_the_target(start: Start, message: str) -> None:
    transport = start({"match": "^-one", "say": record(f'error,msg="{message}"')})
    with pytest.raises(TargetLost, match="QEMU"):
        transport.command("-one")
    assert transport.lost is not None


def test_gdb_killed_while_waiting(start: Start) -> None:
    transport = start({"match": "^-one", "delay": 30})
    timer = threading.Timer(0.2, os.kill, (transport.pid, signal.SIGKILL))
    timer.start()
    with pytest.raises(TargetLost, match="signal 9"):
        transport.command("-one")
    timer.join()


def test_an_interrupt_leaves_the_next_command_right(start: Start) -> None:
    """Ctrl-C at every kind of moment: many interrupts, at odd times, while replies arrive byte by byte."""
    data = [bytes([n] * 64) for n in range(200)]
    transport = start(
        *({"match": f"^-read {n}$", "say": memory_record(n, data[n]), "pieces": n % 3 == 0} for n in range(200))
    )

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    interrupted = 0
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(200):
            try:  # around the timer too: a signal is only acted on a little after it came
                signal.setitimer(signal.ITIMER_REAL, 0.00005 + 0.00001 * (number % 90))
                try:
                    reply = transport.command(f"-read {number}")
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                assert data[number].hex() in reply.line.decode()
            except KeyboardInterrupt:
                interrupted += 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 0
    for number in (3, 4, 199):
        assert data[number].hex() in transport.command(f"-read {number}").line.decode()


def test_state_changes_are_noticed_wherever_they_stand(start: Start) -> None:
    stopped = '*stopped,reason="signal-received",stopped-threads="all"\n'
    transport = start(
        {"match": "^-one", "say": stopped + record("done")},
        {"match": "^-two", "say": record("done") + stopped},
    )
    transport.command("-one")
    assert transport.stopped
    transport.stopped = False
    transport.command("-two")
    deadline = time.monotonic() + 10
    while not transport.stopped and time.monotonic() < deadline:
        transport.poll(0.1)
    assert transport.stopped
    transport.stopped = False
    transport.poll()
    transport.command("-three")
    assert not transport.stopped, "an old record was noticed twice"


def test_a_stop_that_came_with_a_reply_is_not_waited_for(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """gdb may have said all that it has to say."""
    transport = start({"match": "^-two", "say": record("done") + '*stopped,reason="signal-received"\n'})
    transport.command("-two")
    monkeypatch.setattr(select, "select", lambda *_: pytest.fail("it waits for more"))
    transport.poll(60.0)
    assert transport.stopped


def test_a_guest_that_goes_while_nobody_asks_is_noticed(start: Start) -> None:
    transport = start({"match": "^-one", "say": record("done") + '=thread-group-exited,id="i1"\n'})
    transport.command("-one")

    def wait() -> None:
        for _ in range(100):
            transport.poll(0.1)

    with pytest.raises(TargetLost, match="QEMU"):
        wait()


def test_scratch_files_hold_what_the_command_wrote(start: Start) -> None:
    transport = start({"match": "dump", "scratch": "00112233"})
    transport.command(f'-interpreter-exec console "dump binary memory {transport.scratch_paths[0]} 0 4"')
    assert transport.scratch(0, 4) == bytes.fromhex("00112233")
    with pytest.raises(ProtocolError, match="fewer"):
        transport.scratch(0, 5)
    with pytest.raises(ProtocolError, match="fewer"):
        transport.scratch(1, 1)


def test_no_command_is_longer_than_a_pipe_takes_at_once(start: Start) -> None:
    transport = start()
    with pytest.raises(ProtocolError, match="one line"):
        transport.submit("-x" * 4096)
    with pytest.raises(ProtocolError, match="one line"):
        transport.submit("-one\n-two")


def test_a_gdb_that_no_longer_reads_is_given_up(start: Start) -> None:
    transport = start({"match": ".", "delay": 30})

    def fill() -> None:
        for _ in range(1000):
            transport.submit("-" + "x" * 500)

    with pytest.raises(ReplyTimeout, match="takes commands"):
        fill()
    transport.kill()


def test_closing_ends_gdbs_input(tmp_path: Path) -> None:
    gdb = FakeGdb(tmp_path, [])
    transport = Transport(gdb.argv)
    transport.command("-one")
    transport.close()
    assert gdb.ended()
    with pytest.raises(TargetLost, match="closed"):
        transport.command("-two")


def test_a_gdb_that_does_not_go_is_killed(start: Start) -> None:
    transport = start({"match": "^-one", "delay": 60})
    transport.submit("-one")
    transport.close(seconds=0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(transport.pid, 0)


def test_a_gdb_that_is_not_installed_is_named_with_the_way_to_get_it() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ToolMissing, match="apt install gdb-multiarch"):
        Transport(["/nonexistent/gdb-multiarch"])
    assert len(os.listdir("/proc/self/fd")) == before
