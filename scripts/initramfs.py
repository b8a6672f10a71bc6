"""The first root file system of a Linux guest: busybox, the modules it needs, and an init of ours.

The archive is cpio in the "newc" form, uncompressed, as the kernel unpacks it
(Linux, Documentation/driver-api/early-userspace/buffer-format.rst)."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

READY = "GUEST-READY"
"""What init prints once the guest can be asked."""

MODULES = ("virtio_pci", "virtio_blk", "virtio-rng", "virtio_balloon")
"""Loaded at boot where the kernel has them as modules: real BARs for the tables to map."""

INIT = f"""\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /root
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t debugfs debug /sys/kernel/debug
mount -t tracefs trace /sys/kernel/tracing
dmesg -n 1
for module in /modules/*.ko; do
    [ -e "$module" ] && insmod "$module"
done
# Some processes, so that the process table holds more than one.
sleep 1000000 &
sleep 1000000 &
sh -c 'while :; do sleep 1000000; done' &
stty -F /dev/hvc0 -echo
cd /root
export HOME=/root PATH=/bin
echo {READY} >/dev/hvc0
# Behind a pipe the shell is not interactive: no prompt, no echo. One that ends is followed by another,
# because the kernel panics when its first process ends.
while :; do
    sh </dev/hvc0 2>&1 | cat >/dev/hvc0
done
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive: its path without a leading slash, its st_mode, its bytes."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str) -> Entry:
    """An empty directory that everyone may read."""
    return Entry(path, stat.S_IFDIR | 0o755)


def program(path: str, data: bytes) -> Entry:
    """A file that everyone may run."""
    return Entry(path, stat.S_IFREG | 0o755, data)


def node(path: str, major: int, minor: int) -> Entry:
    """A character device."""
    return Entry(path, stat.S_IFCHR | 0o600, b"", (major, minor))


def newc(entries: Iterable[Entry]) -> bytes:
    """A cpio archive in the newc form: headers of ASCII hex, names and data padded to 4 bytes.

    Owner, group and times are zero, so that the same entries give the same bytes."""
    pieces: list[bytes] = []
    for number, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.path.encode() + b"\0"
        if len(entry.data) >= 1 << 32:
            raise ValueError(f"{entry.path} has {len(entry.data)} bytes; the newc form holds less than 4 GiB a file")
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, *entry.device, len(name), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        pieces += [header, name, bytes(-(len(header) + len(name)) % 4), entry.data, bytes(-len(entry.data) % 4)]
    return b"".join(pieces)


def module_order(wanted: Iterable[str], modules: Mapping[str, bytes]) -> list[str]:
    """``wanted`` and all they depend on, each after what it needs; what is not there is left out.

    ``modules`` maps a module's name to its file's bytes; names are the same with - and _, as modprobe
    has it. The dependencies are the "depends=" string of the file's .modinfo section."""
    files = {name.replace("-", "_"): name for name in modules}
    order: list[str] = []

    def add(name: str, above: tuple[str, ...]) -> None:
        key = files.get(name.replace("-", "_"))
        if key is None or key in order or key in above:
            return
        for needed in module_depends(modules[key]):
            add(needed, (*above, key))
        order.append(key)

    for name in wanted:
        add(name, ())
    return order


def module_depends(data: bytes) -> list[str]:
    """The modules that the module in ``data`` says it needs."""
    found = re.search(rb"\0depends=([^\0]*)\0", data)
    return [name for name in found[1].decode().split(",") if name] if found else []


def build(
    busybox: Path,
    modules: Path | None = None,
    extra: Mapping[str, bytes] | None = None,
    init: str = INIT,
    wanted: Iterable[str] = (),
) -> bytes:
    """The archive: ``busybox`` as /bin/busybox, the kernel modules of folder ``modules`` that
    :data:`MODULES` and ``wanted`` name (with all they need), and ``extra`` programs by path."""
    have = {path.stem: path.read_bytes() for path in modules.glob("*.ko")} if modules else {}
    loaded = module_order((*MODULES, *wanted), have)
    more = {path.lstrip("/"): data for path, data in (extra or {}).items()}
    folders = {"bin", "dev", "modules"} | {str(up) for path in more for up in PurePosixPath(path).parents} - {"."}
    entries = [
        *(directory(name) for name in sorted(folders)),  # a folder sorts before what is in it
        node("dev/console", 5, 1),
        program("init", init.encode()),
        program("bin/busybox", busybox.read_bytes()),
        *(program(f"modules/{at:02}-{name}.ko", have[name]) for at, name in enumerate(loaded)),
        *(program(path, data) for path, data in more.items()),
    ]
    return newc(entries)
