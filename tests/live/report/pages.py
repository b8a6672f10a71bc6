"""Pages for the browser: of small guests whose every range is known, and what a test asks of the maps in them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inspector.guest import Guest
from inspector.mappings.audit.run import audit
from inspector.mappings.ranges import Ranges
from inspector.reporting import contents, write
from tests.fakes import PROCESS_TABLE_AT, USER_DATA, USER_PAGES_AT, MiB, guest, linux_target
from tests.live.report.browser import Page
from tests.radix.trees import Bump, Tree

WX_PID, WX_EA, WX_RA = 9, 0x3000_0000, USER_PAGES_AT + 12 * MiB
MANY = 100_000


@dataclass(frozen=True)
class Shown:
    """A page on the disk, and the ranges that it shows."""

    path: Path
    ranges: Ranges
    pids: list[int]


def written(path: Path, at: Guest, **options: Any) -> Shown:
    spaces = at.spaces()
    write(str(path), contents(at, spaces, audit(spaces), **options), force=True)
    return Shown(path, spaces.ranges, [root.pid for root in spaces.roots if root.pid is not None])


def small_guest() -> Guest:
    """The pseries guest, and PID 9 with a page that may be written and executed, between two that may not."""
    target = linux_target()
    tree = Tree(target.source.put_word, Bump(56 * MiB))
    target.source.put_word(PROCESS_TABLE_AT + 16 * WX_PID, tree.descriptor)
    for page in range(16):
        rights = USER_DATA | (1 if page == 5 else 0)
        tree.map(WX_EA + page * 0x10000, (WX_RA + page * 0x10000) | rights, 16)
    return guest(target)


def point(page: Page, name: str, place: int) -> tuple[float, float]:
    """Where a place of a map is, in pixels of its canvas."""
    page.report("draw()")
    x, y = page.run("return report.pointOf(arguments[0], arguments[1])", name, place)
    return x, y


def colour_of(page: Page, legend: str, label: str) -> tuple[int, ...]:
    """The first colour of a swatch of the legend of this map."""
    found = page.run(
        "const swatch = Array.from(document.querySelectorAll(arguments[0])).find((each) =>"
        " each.innerText.startsWith(arguments[1]));"
        "const canvas = swatch.querySelector('canvas');"
        "return Array.from(canvas.getContext('2d').getImageData(10, 5, 8, 1).data)",
        f"#{legend}-legend .swatch",
        label,
    )
    pixels = [tuple(found[at : at + 3]) for at in range(0, len(found), 4)]
    return min(pixels, key=sum)


def choose_pid(page: Page, pid: int, shown: Shown) -> None:
    page.run(
        "const chooser = document.getElementById('process'); chooser.value = arguments[0];"
        "chooser.dispatchEvent(new Event('change'))",
        str(shown.pids.index(pid)),
    )
    assert page.report("pid()") == pid
