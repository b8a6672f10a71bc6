"""Starting gdb so that nothing but this program tells it what to do, and nothing is written.

No init file, no auto-load, no debuginfod, no history, a clean environment, an empty working
directory. Writes are forbidden in gdb itself before it is connected to anything, and so is every
read: gdb likes to look at memory around the program counter when it attaches, and in virtual mode
that may be a device.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from inspector.gdbmi.reading import READ

REFUSE_ALL = "mem 0xfffffffffffffff0 0xfffffffffffffff8 wo"
"""A region nobody reads. As soon as one region exists, gdb refuses every address outside the regions
(``mem inaccessible-by-default``; gdb/memattr.c), and this one may not be read either."""

FOUND_STOPPED = "inspector_found_stopped"
"""gdb convenience variable: 1 where the guest was stopped when it was found."""

GUARD = "inspector_guard"
"""gdb convenience variable: 1 where :data:`LEAVE` is in place, and with it all that needs a gdb with Python."""

LEAVE = f"""
import gdb, os
def leave(event):
    threads = gdb.selected_inferior().threads()
    if not threads:
        return
    if any(t.is_running() for t in threads):
        os._exit(0)
    try:
        gdb.execute("maintenance packet Qqemu.PhyMemMode:0", to_string=True)
    finally:
        if int(gdb.convenience_variable("{FOUND_STOPPED}") or 0):
            os._exit(0)
gdb.events.gdb_exiting.connect(leave)
gdb.set_convenience_variable("{GUARD}", 1)
"""
"""Runs inside gdb when its standard input ends, so also after ``kill -9`` of this program: the stub's
memory mode, which outlives a connection, goes back to virtual. Then gdb detaches by itself, which
resumes the guest; where it was found stopped gdb is ended instead, and QEMU leaves it stopped.
While the guest runs the mode is virtual already (see run.py) and a closed connection changes nothing."""

SETTINGS: tuple[str, ...] = (
    "set auto-load off",
    "set auto-load safe-path /nonexistent",
    "set debuginfod enabled off",
    "set startup-with-shell off",
    "set confirm off",
    "set pagination off",
    "set width 0",
    "set height 0",
    "set style enabled off",
    "set history save off",
    "set history filename /dev/null",
    "set python print-stack none",
    "set print raw-values on",
    "set sysroot /nonexistent",
    "set auto-solib-add off",
    "set exec-file-mismatch off",
    "set may-write-memory off",
    "set may-write-registers off",
    "set may-insert-breakpoints off",
    "set may-insert-tracepoints off",
    "set may-insert-fast-tracepoints off",
    "set may-call-functions off",
    "set mem inaccessible-by-default on",
    REFUSE_ALL,
    "set stack-cache off",
    "set code-cache off",
    "set tcp auto-retry off",
    "set mi-async on",
    "set endian big",
    f"set ${FOUND_STOPPED} = 0",
    f"python exec({READ!r})",
    f"python exec({LEAVE!r})",
)
"""Given before anything else; one that an older gdb does not know only makes it say so. The byte order is
fixed because gdb does not follow the vCPU's, and a fixed one can be undone (see registers.py)."""

SOCKET_NAME = "stub"


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start gdb: ``argv``, its whole environment, and a working directory of its own."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    directory: str

    def remove_directory(self) -> None:
        """Remove the working directory and the link in it; gdb needs neither once it is connected."""
        with suppress(OSError):
            os.unlink(os.path.join(self.directory, SOCKET_NAME))
        with suppress(OSError):
            os.rmdir(self.directory)


def prepare(gdb: str) -> Launch:
    """Make the directory and put the command line together. ``gdb`` is a program's name or path."""
    directory = tempfile.mkdtemp(prefix="inspector-gdb-")
    argv = [gdb, "-nx", "-nh", "-q", "--interpreter=mi3"]
    for setting in SETTINGS:
        argv += ["-iex", setting]
    env = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": directory,
        "LC_ALL": "C",
        "TERM": "dumb",
    }
    return Launch(tuple(argv), env, directory)


def link_socket(launch: Launch, path: str) -> str:
    """A link to the Unix socket ``path`` in gdb's directory; its full name.

    gdb is then told the link's plain name and never sees the path: ``target remote`` takes text up to the
    end of the line, runs it as a command where it begins with ``|`` and as HOST:PORT where it holds a colon."""
    link = os.path.join(launch.directory, SOCKET_NAME)
    os.symlink(os.path.abspath(path), link)
    return link
