"""What a guest's own kernel says that its tasks map: /proc/PID/maps and /proc/PID/pagemap (Linux,
Documentation/admin-guide/mm/pagemap.rst), read by its shell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from scripts.guests import Machine
from tests.live.plain_walk import PAGE

PRESENT, SWAPPED = 1 << 63, 1 << 62
FRAME = (1 << 55) - 1

READ = r"""
for task in /proc/[0-9]*; do
    maps=$(cat $task/maps 2>/dev/null)
    [ -n "$maps" ] || continue
    echo task ${task#/proc/} $(tr '\0\n' '  ' <$task/cmdline)
    echo "$maps" | while read range rights rest; do
        first=$((0x${range%-*} >> 16))
        count=$(((0x${range#*-} >> 16) - first))
        echo map $range $rights
        dd if=$task/pagemap bs=8 skip=$first count=$count 2>/dev/null | od -A n -v -t x8
    done
done
"""

TEXT = "the inspector. "
DOUBLED = 20
KHUGEPAGED = "/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs"
HOLDER = f"""
[ ! -e {KHUGEPAGED} ] || echo 4000000000 >{KHUGEPAGED}  # what it makes into large pages by itself comes when it likes
mkfifo /tmp/never
awk 'BEGIN {{ s = "{TEXT}"; for (i = 0; i < {DOUBLED}; i++) s = s s; getline < "/tmp/never"; print length(s) }}' \
    </dev/null >/dev/null 2>&1 &
echo $!
"""
"""A task that holds 15 MiB of a text that is known, and sleeps until someone writes to a pipe, which nobody does."""


@dataclass
class Task:
    """A task with memory of its own: its maps as (start, end, rights), and page frame numbers by address."""

    pid: int
    words: str
    maps: list[tuple[int, int, str]] = field(default_factory=list)
    pages: dict[int, int] = field(default_factory=dict)
    swapped: int = 0

    def rights(self, address: int) -> str:
        """``r-xp`` and the like, or nothing where it maps nothing."""
        return next((rights for start, end, rights in self.maps if start <= address < end), "")


def tasks(machine: Machine) -> dict[int, Task]:
    """Every task that maps anything, by its process id, that of the asking shell among them."""
    found: dict[int, Task] = {}
    task, address = Task(0, ""), 0
    for line in machine.shell(READ, timeout=300).splitlines():
        match line.split():
            case ["task", pid, *words]:
                task = found[int(pid)] = Task(int(pid), " ".join(words))
            case ["map", where, rights]:
                address, end = (int(part, 16) for part in where.split("-"))
                task.maps.append((address, end, rights))
            case values:
                for entry in (int(value, 16) for value in values):
                    if entry & PRESENT:
                        task.pages[address] = entry & FRAME
                    task.swapped += bool(entry & SWAPPED)
                    address += PAGE
    return found


@contextmanager
def holding(machine: Machine) -> Iterator[int]:
    """A task that holds a known text, once it does: its process id."""
    pid = int(machine.shell(HOLDER))
    try:
        asleep = f"grep -q fifo_open /proc/{pid}/stack"
        machine.shell(f"until {asleep}; do sleep 0.1; done", timeout=300)
        yield pid
    finally:
        machine.shell(f"kill {pid}; rm -f /tmp/never", check=False)
