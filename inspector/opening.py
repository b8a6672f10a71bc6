"""Opens a target by what the user wrote, and gives the guest in it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from inspector.errors import UsageError
from inspector.guest import Guest
from inspector.targets.base import REGISTERS, Target, canonical

if TYPE_CHECKING:
    from inspector.roots import Progress

DEMO = "demo"
DEMO_FILE = "debian-pseries-power9.core.gz"
"""In the folder "demo" of this package."""


def open_target(
    target: str | os.PathLike[str] | Sequence[str],
    *,
    regs: str | os.PathLike[str] | None = None,
    ram: str | os.PathLike[str] | None = None,
    source: str | None = None,
    process_table: int | None = None,
    vmlinux: str | os.PathLike[str] | None = None,
    overrides: Mapping[str, int] | None = None,
    cpu: int | None = None,
    progress: Progress | None = None,
) -> Guest:
    """Open a target and give its guest, to be closed when done (it is a context manager).

    ``target`` is ``gdb:HOST:PORT``, ``gdb:unix:PATH``, a snapshot's or core's path, ``demo``, or one or more
    ``raw:FILE[@ADDR]``. ``regs`` is a register file for raw images, ``ram`` QEMU's shared memory backend file,
    ``source`` the only way to a live guest's RAM that may be taken (``ram``, ``process``, ``pmemsave``, ``gdb``),
    ``process_table`` the registered value with its size field, ``vmlinux`` a kernel image for symbols, ``overrides``
    registers set by hand, ``cpu`` the vCPU whose registers are followed. Raises InspectorError."""
    for name in overrides or {}:
        if canonical(name) not in REGISTERS:
            raise UsageError(f"there is no register {name!r} to set; 'regs' lists those there are")
    names = [os.fspath(target)] if isinstance(target, str | os.PathLike) else list(target)
    symbols = None
    if vmlinux:  # first: a live guest stands still from when it is opened
        from inspector.linux.symbols import Symbols

        symbols = Symbols.open(os.fspath(vmlinux))
    opened = _open(names, _path(regs), _path(ram), source)
    try:
        return Guest(
            opened,
            symbols=symbols,
            process_table=process_table,
            overrides={canonical(name): value for name, value in (overrides or {}).items()},
            cpu=min(opened.cpus, default=0) if cpu is None else cpu,
            progress=progress,
        )
    except BaseException:
        opened.close()
        raise


def _path(given: str | os.PathLike[str] | None) -> str | None:
    return None if given is None else os.fspath(given)


def _open(names: Sequence[str], regs: str | None, ram: str | None, source: str | None) -> Target:
    first = names[0]
    if source is not None and not first.startswith("gdb:"):
        raise UsageError("--source goes with a live guest (gdb:…); whatever is recorded holds its own memory")
    if first.startswith("raw:"):
        if ram:
            raise UsageError("--ram goes with a live guest (gdb:…); a raw image holds its own memory")
        from inspector.targets.raw import open_raw, parse_image

        return open_raw([parse_image(name) for name in names], regs)
    if len(names) > 1:
        raise UsageError("only raw: images may be given more than once")
    if first.startswith("gdb:"):
        if regs:
            raise UsageError("--regs goes with raw: images; a live guest has its own registers (--set changes one)")
        from inspector.targets.live import AUTO, open_live

        return open_live(first, ram_file=ram, source=source or AUTO)
    if regs or ram:
        raise UsageError("--regs goes with raw: images and --ram with a live guest; a snapshot holds its own")
    from inspector.targets.recorded import open_recorded

    if first == DEMO:
        # Not through importlib.resources, whose import alone takes a tenth of what a whole command does.
        return open_recorded(os.path.join(os.path.dirname(__file__), DEMO, DEMO_FILE), DEMO)
    return open_recorded(first)
