"""gdb as a child process: its pipes, and the tokens that say which answer belongs to which command.

Waiting is for a token, never for a time. A reply whose command was given up (a limit passed, or
Ctrl-C) is recognised by its token when it comes at last, and dropped.
"""

from __future__ import annotations

import fcntl
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from time import monotonic

from inspector.errors import ProtocolError, ReplyTimeout, TargetLost, ToolMissing
from inspector.gdbmi.records import MiError, Reply

SPIN_SECONDS = 0.0003
"""How long to poll for a small read before sleeping. gdb writes an answer in five pieces, and being put to
sleep and woken between them may double its cost: 76 µs against 114 to 170."""

REST_DOUBLINGS = 4
"""After polling in vain, sleep for the next 4 reads, then 16, at most 256: gdb or QEMU wanted the processor
that was polling."""

PIPE_BYTES = 1 << 20
"""Room asked for in gdb's output pipe: the most that an unprivileged process may have by default."""

LINE_LIMIT = 4096
"""Longest command: a pipe takes that much in one piece (PIPE_BUF), so an interrupt cannot cut one."""

READ_BYTES = 16384
F_SETPIPE_SZ = 1031

LOST_WORDS = (
    "Remote connection closed",
    "Remote communication error",
    "Connection reset by peer",
    "Broken pipe",
    "not being run",
    "No registers",
    "without a live selected thread",
)
"""Parts of gdb's messages that mean the guest has gone."""


class Transport:
    """A running gdb. Every wait has a limit; once ``lost`` is set, every command raises TargetLost."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        """Start ``argv``. Raises ToolMissing where it is not installed."""
        self.timeout = timeout
        self.lost: str | None = None
        self.guest_gone = False
        self.stopped = False
        """Whether gdb has said that the guest stopped since this was last cleared."""
        self._token = 0
        self._chunks: list[bytes] = []
        self._noise = ""
        self._scratch: tuple[int, ...] = (os.memfd_create("inspector-bulk"), os.memfd_create("inspector-bulk"))
        self.scratch_paths = tuple(f"/proc/self/fd/{fd}" for fd in self._scratch)
        """Two files in memory that gdb can open by these names, and write bulk data to."""
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                bufsize=0,
                env=env,
                cwd=cwd,
                pass_fds=self._scratch,
                start_new_session=True,  # so that a terminal's Ctrl-C and hang-up do not reach gdb
                restore_signals=False,  # SIGPIPE stays ignored: gdb must live long enough to let the guest go
            )
        except OSError as bad:
            self._close_scratch()
            raise ToolMissing(argv[0], "apt install gdb-multiarch") from bad
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()
        with suppress(OSError):
            fcntl.fcntl(self._out, F_SETPIPE_SZ, PIPE_BYTES)
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        processors = os.sched_getaffinity(0)
        self._may_spin = len(processors) > 1
        if self._may_spin:
            # One processor for gdb: QEMU's main loop, which gdb wakes and waits for, then comes to run beside it, and
            # this process keeps off it. A read costs 95 µs so, and 160 where gdb wakes QEMU on another processor.
            with suppress(OSError):
                os.sched_setaffinity(self._process.pid, {max(processors)})
        self._rest = self._vain = 0

    @property
    def pid(self) -> int:
        """gdb's process id."""
        return self._process.pid

    # commands

    def submit(self, text: str) -> int:
        """Send one command without waiting; the token to :meth:`finish` it with."""
        if self.lost is not None:
            raise TargetLost(self.lost)
        self._token += 1
        token = self._token
        line = b"%d%s\n" % (token, text.encode())
        if len(line) > LINE_LIMIT or b"\n" in line[:-1]:
            raise ProtocolError(f"a command of {len(line)} bytes does not fit one line; shorten it")
        try:
            os.write(self._in, line)
        except BlockingIOError as full:
            raise ReplyTimeout("gdb no longer takes commands; close this target and open it again") from full
        except OSError:
            self.lose(self._last_words())
        return token

    def finish(self, token: int, what: str = "", limit: float | None = None, quick: bool = False) -> Reply:
        """The reply to ``token``, ``quick`` where one is likely soon. Replies that nobody waits for are dropped.

        Raises ReplyTimeout after ``limit`` seconds (the transport's own where None), TargetLost."""
        deadline = monotonic() + (self.timeout if limit is None else limit)
        spin_until = 0.0
        if quick and self._may_spin:
            if self._rest:
                self._rest -= 1
            else:
                spin_until = monotonic() + SPIN_SECONDS
        want = b"%d^" % token
        chunks = self._chunks
        while True:
            data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            at = _line_start(data, want)
            if at >= 0:
                end = data.find(b"\n", at)
                if end >= 0:
                    if spin_until > monotonic():
                        self._vain = 0
                    return self._take(data, at, at + len(want), end)
            if not self._fill(deadline, spin_until):
                raise ReplyTimeout(
                    f"no answer to {what or 'a command'!r} in time; try again,"
                    " and if it stays silent see whether QEMU hangs"
                )

    def command(self, text: str, limit: float | None = None) -> Reply:
        """Send one command and wait for its reply. Raises MiError, ReplyTimeout, TargetLost."""
        return self.check(text, self.finish(self.submit(text), text, limit))

    def check(self, text: str, reply: Reply) -> Reply:
        """``reply`` unless it is an error. Raises MiError, or TargetLost where the guest has gone."""
        if reply.result == b"error":
            message = reply.error()
            if self.guest_gone or any(words in message for words in LOST_WORDS):
                self.lose("the guest is gone: QEMU closed the connection; start it again and reattach")
            raise MiError(text, message)
        return reply

    def batch(self, texts: Sequence[str], limit: float | None = None) -> list[Reply]:
        """Send several commands at once; their replies in order, errors among them for the caller to :meth:`check`."""
        tokens = [self.submit(text) for text in texts]
        return [self.finish(token, text, limit) for token, text in zip(tokens, texts, strict=True)]

    def poll(self, seconds: float = 0.0) -> None:
        """Notice what gdb has said by itself, waiting up to ``seconds`` for it to say something."""
        if self.lost is None:
            told = any(b"\n" in chunk for chunk in self._chunks)  # with the last reply: there may be no more to come
            self._fill(monotonic() + (0.0 if told else seconds), 0.0)
            data = b"".join(self._chunks)
            whole = data.rfind(b"\n") + 1
            self._notice(data[:whole])
            self._chunks[:] = [data[whole:]]
            if self.guest_gone:
                self.lose("the guest is gone: QEMU closed the connection; start it again and reattach")

    def sync(self) -> None:
        """Wait until gdb has answered everything sent so far."""
        self.finish(self.submit("-list-features"), "-list-features")

    # bulk data beside the records

    def scratch(self, number: int, length: int) -> bytes:
        """The ``length`` bytes that gdb has written to scratch file ``number``. Raises ProtocolError for fewer.

        gdb empties the file whenever it opens it, and has closed it when its result record comes; so what an
        abandoned command left there is never taken for a later one's."""
        found = os.pread(self._scratch[number], length, 0)
        if len(found) != length:
            raise ProtocolError("gdb wrote fewer bytes than it was asked for; run the command again")
        return found

    # the end

    def lose(self, why: str) -> None:
        """Note that the target is gone, and say so. Raises TargetLost."""
        if self.lost is None:
            self.lost = why
        raise TargetLost(self.lost)

    def close(self, seconds: float = 2.0) -> None:
        """Close gdb's standard input and wait; kill it (it is our child) where it does not go."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._close_scratch()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        if self.lost is None:
            self.lost = "this target was closed; open it again"

    def _close_scratch(self) -> None:
        while self._scratch:
            fd, *rest = self._scratch
            self._scratch = tuple(rest)
            os.close(fd)

    def kill(self) -> None:
        """End gdb at once. It sends nothing more: a stopped guest stays stopped, a running one runs on."""
        self._process.kill()
        self._process.wait()

    # reading

    def _fill(self, deadline: float, spin_until: float) -> bool:
        """Read what there is, waiting for it. False when the deadline passed first."""
        chunks = self._chunks
        while True:
            try:
                # One call from C to C: a KeyboardInterrupt is raised before or after it, never between
                # taking bytes off the pipe and keeping them.
                chunks.extend(map(os.read, (self._out,), (READ_BYTES,)))
            except BlockingIOError:
                now = monotonic()
                if now < spin_until:
                    os.sched_yield()  # QEMU or gdb may be waiting for this very processor
                    continue
                if spin_until:
                    self._vain = min(self._vain + 1, REST_DOUBLINGS)
                    self._rest = 4**self._vain
                    spin_until = 0.0
                if now >= deadline or not select.select([self._out], [], [], deadline - now)[0]:
                    return False
                continue
            except OSError:
                self.lose(self._last_words())
            if not chunks[-1]:
                self._notice(b"".join(chunks))
                self.lose(self._last_words())
            return True

    def _take(self, data: bytes, at: int, body: int, end: int) -> Reply:
        """The reply between ``body`` and ``end``; what came before it is looked at, what follows is kept."""
        before = data[:at]
        if len(before) > 8:
            self._notice(before)
            before = _after_last_result(before)
        line = data[body:end].rstrip(b"\r")
        self._chunks[:] = [data[end + 1 :]]
        return Reply(line.partition(b",")[0], line, before)

    def _notice(self, text: bytes) -> None:
        """Run state changes among gdb's records, and plain text that is no record at all."""
        if b"*stopped" in text:
            self.stopped = True
        if b"=thread-group-exited" in text:
            self.guest_gone = True
        for line in text.split(b"\n"):
            if line and line[:1] not in b'~@&=*+^("0123456789':
                self._noise = line[:200].decode("utf-8", "replace")

    def _last_words(self) -> str:
        """Why gdb is gone, as far as that is known."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(0.5)
        status = self._process.returncode
        how = "closed its output" if status is None else f"ended by signal {-status}" if status < 0 else "ended"
        heard = f" (its last words: {self._noise})" if self._noise else ""
        return f"gdb {how} while the guest was being looked at{heard}; reattach"


def _line_start(data: bytes, want: bytes) -> int:
    """Where a line of ``data`` begins with ``want``, or -1."""
    if data.startswith(want):
        return 0
    at = data.find(b"\n" + want)
    return at + 1 if at >= 0 else -1


def _after_last_result(before: bytes) -> bytes:
    """``before`` without what belongs to an earlier, abandoned command: all up to its result record."""
    lines = before.split(b"\n")
    for at in range(len(lines) - 1, -1, -1):
        head = lines[at].partition(b"^")
        if head[1] and head[0].isdigit():
            return b"\n".join(lines[at + 1 :])
    return before
