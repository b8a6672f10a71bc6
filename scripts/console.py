"""A guest's serial console: everything it ever printed, and a way to type into it.

QEMU serves the console on a unix socket; a thread drains it, for a guest whose console nobody reads
stops at its next line. Shell commands are fenced by two lines of a number of their own, so that
their output is told apart from all else on the console."""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
import threading
import time
from pathlib import Path

from inspector.errors import ProtocolError, ReplyTimeout, TargetLost


class Console:
    """The console behind the unix socket at ``path``."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.connect(str(path))
        self._text = bytearray()
        self._ended = False
        self._news = threading.Condition()
        self._number = 0
        self._thread = threading.Thread(target=self._drain, name="console", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let go of the socket and end the thread."""
        with contextlib.suppress(OSError):  # QEMU may have been quicker
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=5)
        self._socket.close()

    @property
    def text(self) -> str:
        """All that was printed so far, with plain newlines."""
        with self._news:
            return self._text.decode("utf-8", "replace").replace("\r", "")

    @property
    def size(self) -> int:
        """Bytes printed so far: a place that :meth:`wait_for` can start from."""
        with self._news:
            return len(self._text)

    def type(self, text: str) -> None:
        """Send ``text`` as it stands; a newline is the enter key."""
        try:
            self._socket.sendall(text.encode())
        except OSError as error:
            raise TargetLost("the guest's console is gone with its QEMU; boot the guest again") from error

    def wait_for(self, pattern: bytes, timeout: float, start: int = 0) -> re.Match[bytes]:
        """The first match of ``pattern`` at or after byte ``start``.

        Raises ReplyTimeout after ``timeout`` seconds, TargetLost where the console ends first."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                if found := wanted.search(bytes(self._text[start:])):
                    return found
                if self._ended:
                    raise TargetLost(f"the guest's console ended with: {self._tail()}; see QEMU's own output for why")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ReplyTimeout(
                        f"the guest did not print {pattern.decode()!r} within {timeout:g} s, its last words being"
                        f" {self._tail()}; give it more time"
                    )
                self._news.wait(left)

    def shell(self, command: str, timeout: float, check: bool = True) -> str:
        """What ``command`` prints in a shell of its own; ProtocolError if it fails and ``check``."""
        self._number += 1
        fence = f"<{self._number}>"
        start = self.size
        # The quotes keep the fence out of the command's own text, should the terminal echo it.
        self.type(f"echo '<'{self._number}'>'; sh -c {shlex.quote(command)} </dev/null; echo '<'{self._number}'>' $?\n")
        try:
            found = self.wait_for(rb"(?s)%b\r?\n(.*?)%b (\d+)\r?\n" % (fence.encode(), fence.encode()), timeout, start)
        except ReplyTimeout as error:
            raise ReplyTimeout(
                f"{command!r} did not end in the guest within {timeout:g} s; does the guest run?"
            ) from error
        output = found[1].decode("utf-8", "replace").replace("\r\n", "\n")
        status = int(found[2])
        if status and check:
            raise ProtocolError(f"{command!r} ended with status {status} in the guest and said {output!r}; mend it")
        return output

    def _tail(self) -> str:
        return repr(bytes(self._text[-200:]).decode("utf-8", "replace"))

    def _drain(self) -> None:
        while True:
            try:
                got = self._socket.recv(65536)
            except OSError:
                got = b""
            with self._news:
                self._text += got
                self._ended = not got
                self._news.notify_all()
            if not got:
                return
