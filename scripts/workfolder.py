"""Folders for running machines, which hold files of RAM: a gigabyte each must not stay behind.

A folder belongs to the process that holds the lock on its file ``owner``. One whose owner was killed
before it could clean up is removed by whoever makes the next."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = "ppc64-guest-"
LONGEST = 70
"""A unix socket's path has room for 107 bytes (sockaddr_un, unix(7)); what is in the folder needs some."""


class WorkFolder:
    """A new folder, ours until :meth:`remove`."""

    def __init__(self, place: Path | None = None) -> None:
        place = place or Path(tempfile.gettempdir())
        if len(str(place)) > LONGEST or "," in str(place):  # a comma ends a word of QEMU's
            place = Path("/tmp")
        sweep(place)
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        # Locked before it gets its name: nobody finds an 'owner' that is not held by a living process.
        new = self.path / "owner.new"
        self._lock = os.open(new, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        new.rename(self.path / "owner")

    def remove(self) -> None:
        """Remove the folder and all in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def sweep(place: Path) -> None:
    """Remove the folders in ``place`` whose owners are gone; those of other users are theirs to remove."""
    for folder in place.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), abandoned(folder / "owner") as gone:
            if gone:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def abandoned(owner: Path) -> Iterator[bool]:
    """Whether nobody holds the lock on ``owner``; it is held meanwhile. OSError if it is not there."""
    lock = os.open(owner, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(lock)
