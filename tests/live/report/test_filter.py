"""The conditions above the maps mean what those of the command line mean."""

from __future__ import annotations

import pytest

from inspector.mappings.select import Selection
from tests.fakes import MiB
from tests.live.report.browser import Page
from tests.live.report.pages import WX_EA, WX_PID, WX_RA, Shown

pytestmark = pytest.mark.live

CHOSEN: list[tuple[dict[str, str], Selection]] = [
    ({}, Selection()),
    ({"rights": "w&x"}, Selection(rights="w&x")),
    ({"rights": "!r"}, Selection(rights="!r")),
    ({"rights": "u(w|x)"}, Selection(rights="u(w|x)")),
    ({"rights": "pC | !R"}, Selection(rights="pC | !R")),
    ({"rights": "!!(!w | x)u"}, Selection(rights="!!(!w | x)u")),
    ({"ea": "0xc000000000002001"}, Selection(ea=[(0xC000_0000_0000_2001, 0xC000_0000_0000_2002)])),
    ({"ea": "0x10000fff:2"}, Selection(ea=[(0x1000_0FFF, 0x1000_1001)])),
    ({"ea": "0x1000_0000..0x10050000, 0xc008000000000000:1G"},
     Selection(ea=[(0x1000_0000, 0x1005_0000), (0xC008_0000_0000_0000, 0xC008_0000_4000_0000)])),
    ({"ea": "0x1003ffff"}, Selection(ea=[(0x1003_FFFF, 0x1004_0000)])),
    ({"ea": "0x10050000"}, Selection(ea=[(0x1005_0000, 0x1005_0001)])),
    ({"ea": "0xffffffffffffffff"}, Selection(ea=[((1 << 64) - 1, 1 << 64)])),
    ({"ra": "0..16M"}, Selection(ra=[(0, 16 * MiB)])),
    ({"ra": "0x3000001"}, Selection(ra=[(0x300_0001, 0x300_0002)])),
    ({"pid": "0 4"}, Selection(pids={0, 4})),
    ({"page": "16"}, Selection(shifts={16})),
    ({"page": "21", "rights": "x"}, Selection(shifts={21}, rights="x")),
    ({"region": "vmalloc"}, Selection(ea=[(0xC008_0000_0000_0000, 0xC00A_0000_0000_0000)])),
    ({"mode": "0"}, Selection(privileged=False)),
    ({"mode": "1", "changed": "0"}, Selection(privileged=True, changed=False)),
    ({"attribute": "non-idempotent"}, Selection(attributes={0x20})),
    ({"referenced": "1", "changed": "1"}, Selection(referenced=True, changed=True)),
    ({"referenced": "0"}, Selection(referenced=False)),
    ({"rights": "w", "pid": "4", "ra": "0x3000000:2M", "page": "16", "mode": "0"},
     Selection(rights="w", pids={4}, ra=[(0x300_0000, 0x320_0000)], shifts={16}, privileged=False)),
]  # fmt: skip


@pytest.mark.parametrize("name", ["small", "demo"])
def test_the_filter_means_what_the_command_line_means(opened: Page, request: pytest.FixtureRequest, name: str) -> None:
    shown: Shown = request.getfixturevalue(name)
    opened.open(shown.path)
    several = 0
    for fields, selection in CHOSEN:
        opened.run("report.filter(arguments[0])", fields)
        expected = selection.mask(shown.ranges).nonzero()[0].tolist()
        assert opened.report("matching()") == expected, fields
        assert opened.text("#wrong") == ""
        several += 0 < len(expected) < len(shown.ranges)
    assert several > 8, "most of these part the ranges"


def test_it_is_written_by_hand_and_cleared(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    opened.type("rights", "w&x")
    assert opened.text("#count").startswith("1 of ")
    (row,) = opened.table()
    assert row[:4] == [str(WX_PID), f"{WX_EA + 0x50000:#018x}", "64K", f"{WX_RA + 0x50000:#x}"]
    assert row[5].startswith("rwx")
    opened.click("#filter button[type=reset]")
    opened.until(lambda: opened.text("#count").startswith("all "))


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("rights", "w&", "something is missing"),
        ("rights", "(w", "')' is missing"),
        ("rights", "q", "'q' is not known"),
        ("ea", "xyz", "is no number"),
        ("ra", "5:0", "empty range"),
        ("ea", "0x10000000000000000", "more than 64 bits"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_changes(
    opened: Page, small: Shown, name: str, words: str, said: str
) -> None:
    opened.open(small.path)
    opened.run("report.filter({ pid: '0' })")
    before = opened.report("matching()")
    opened.run("report.filter({ pid: '0', [arguments[0]]: arguments[1] })", name, words)
    assert said in opened.text("#wrong")
    assert opened.report("matching()") == before
    opened.run("report.filter({ pid: '0' })")
    opened.type(name, words)
    assert said in opened.text("#wrong")
    assert opened.complaints() == []
