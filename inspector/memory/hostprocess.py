"""Which process on this machine serves a connection: QEMU, for a stub that is local.

A TCP connection has two rows in ``/proc/net/tcp``, a Unix socket's are named in ``/proc/net/unix``
(proc(5)); each row has the inode under which its owner holds it. Only processes of our own user are
looked at. What is found is a candidate: whoever uses it compares its memory with the guest's.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

SOCKET = re.compile(r"socket:\[(\d+)]")
ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Served:
    """OS process ids that may serve the connection, likeliest first; ``why`` there are none."""

    pids: tuple[int, ...]
    why: str = ""


def of_client(client: int, unix_path: str = "", listener: int = 0) -> Served:
    """Who serves the process ``client``, our child, at the other end of its connection.

    ``unix_path`` is the server's name for its Unix socket, where it is one; ``listener`` the process that began to
    listen there, 0 where unknown: it need not be the one that serves."""
    inodes = _named(unix_path) if unix_path else _opposite(client)
    if not inodes and not listener:
        return Served((), "its stub is not on this machine, or in a network of its own")
    pids, denied = _owners(inodes, {os.getpid(), client})
    if listener and listener not in (os.getpid(), client) and listener not in pids:
        pids.append(listener)
    if pids:
        return Served(tuple(sorted(pids, key=lambda pid: "qemu" not in _name(pid))))
    if denied:
        return Served((), "no process of this user that the kernel lets it look into serves the stub")
    return Served((), "no process of this user serves the stub")


def _owners(inodes: set[int], without: set[int]) -> tuple[list[int], bool]:
    """The processes of our user that hold one of the sockets, and whether one could not be looked into."""
    found = []
    denied = False
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in without:
            continue
        with suppress(OSError):
            if os.stat(f"/proc/{name}").st_uid != os.geteuid():
                continue
            try:
                if inodes & set(_sockets(int(name))):
                    found.append(int(name))
            except PermissionError:
                denied = True
    return found, denied


def _sockets(pid: int) -> Iterator[int]:
    """Inodes of the sockets that a process holds. Raises OSError."""
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):
            if found := SOCKET.fullmatch(os.readlink(f"/proc/{pid}/fd/{name}")):
                yield int(found[1])


def _opposite(client: int) -> set[int]:
    """Inodes of the sockets at the other ends of the TCP connections of ``client``."""
    try:
        own = set(_sockets(client))
        rows = [row for name in ("tcp", "tcp6") for row in _rows(client, name)]
    except OSError:
        return set()
    ends = {(there, here) for here, there, state, inode in rows if inode in own and state == ESTABLISHED}
    return {inode for here, there, _, inode in rows if (here, there) in ends and inode}


def _rows(pid: int, name: str) -> Iterator[tuple[tuple[str, int], tuple[str, int], str, int]]:
    """(local address, remote address, state, inode) of every TCP socket in the network of ``pid``."""
    with suppress(FileNotFoundError), open(f"/proc/{pid}/net/{name}", encoding="ascii", errors="replace") as file:
        for line in list(file)[1:]:
            words = line.split()
            if len(words) > 9:
                yield parse_address(words[1]), parse_address(words[2]), words[3], int(words[9])


def parse_address(text: str) -> tuple[str, int]:
    """``0100007F:1F90`` as (``127.0.0.1``, 8080): words of 32 bits in the machine's order, the port in plain hex.

    An IPv4 address that is written as an IPv6 one (a socket that serves both) is given as the IPv4 one."""
    from ipaddress import IPv6Address, ip_address

    digits, _, port = text.partition(":")
    raw = bytes.fromhex(digits)
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    address = ip_address(raw)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address), int(port, 16)


def _named(path: str) -> set[int]:
    """Inodes of the Unix sockets that are bound to ``path``, listening or serving."""
    inodes = set()
    with suppress(OSError), open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words = line.rstrip("\n").split(None, 7)
            if len(words) == 8 and words[7] == path:
                inodes.add(int(words[6]))
    return inodes


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
