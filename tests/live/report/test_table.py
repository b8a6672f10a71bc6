"""The table of ranges: sorted by clicks, and as quick with a hundred thousand of them."""

from __future__ import annotations

import pytest

from inspector.mappings.order import first_rows
from inspector.mappings.select import Selection
from tests.live.report.browser import Keys, Page
from tests.live.report.pages import MANY, WX_EA, WX_PID, Shown, point

pytestmark = pytest.mark.live


@pytest.mark.parametrize(("number", "by", "clicks"), [(3, "ra", 1), (2, "size", 2)])
def test_columns_sort_both_ways(opened: Page, demo: Shown, number: int, by: str, clicks: int) -> None:
    opened.open(demo.path)
    heads = opened.all("#table [role=columnheader]")
    for _ in range(clicks):
        opened.run("arguments[0].querySelector('button').click()", heads[number])
    sort = [head.get_attribute("aria-sort") for head in heads]
    assert sort[number] == ("ascending" if clicks == 1 else "descending")
    assert [each for each in sort if each != "none"] == [sort[number]]
    expected = demo.ranges.take(first_rows(demo.ranges, by))
    shown = opened.table()
    assert len(shown) > 10
    assert shown[0][1] == f"{int(expected.ea[0]):#018x}"
    places = zip(demo.ranges.pid.tolist(), demo.ranges.ea.tolist(), strict=True)
    sizes = dict(zip(places, demo.ranges.size.tolist(), strict=True))
    if by == "ra":
        assert [row[3] for row in shown] == [f"{ra:#x}" for ra in expected.ra[: len(shown)].tolist()]
    else:
        told = [sizes[int(row[0]), int(row[1], 16)] for row in shown]
        assert told == sorted(told, reverse=True)
        assert told[:3] == expected.size[:3].tolist()


def test_a_row_leads_to_the_maps(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    opened.run("report.filter({ rights: 'w&x' })")
    opened.report("draw()")
    opened.click("#table .rows .line")
    assert opened.report("pid()") == WX_PID
    assert f"{WX_EA + 0x50000:#018x}" in opened.text("#details")
    x, y = point(opened, "space", WX_EA + 0x5_8000)
    assert 0 < y < 24 * 15
    assert x > 0


def test_a_hundred_thousand_ranges(opened: Page, large: Shown) -> None:
    opened.open(large.path)
    count = len(large.ranges)
    assert count >= MANY
    for fields, selection in [
        ({"page": "12"}, Selection(shifts={12})),
        ({"pid": "1", "rights": "w"}, Selection(pids={1}, rights="w")),
        ({"ra": "0x100000000..0x200000000000"}, Selection(ra=[(1 << 32, 1 << 45)])),
    ]:
        opened.run("report.filter(arguments[0])", fields)
        expected = selection.mask(large.ranges).nonzero()[0].tolist()
        assert 0 < len(expected) < count
        assert opened.report("matching()") == expected
        assert opened.text("#count").startswith(f"{len(expected):,} of {count:,} ranges")
    opened.run("report.filter({})")
    shown = opened.table()
    assert len(shown) < 100, "only the rows that are seen are in the page"
    assert shown[0][1] == f"{int(large.ranges.ea[0]):#018x}"
    opened.run("const table = document.getElementById('table'); table.scrollTop = table.scrollHeight")
    last = opened.table()[-1]
    assert (last[0], last[1]) == ("1", f"{int(large.ranges.ea[-1]):#018x}")
    opened.run("const table = document.getElementById('table'); table.scrollTop = table.scrollHeight / 2")
    middle = opened.table()
    eas = [f"{ea:#018x}" for ea in large.ranges.ea.tolist()]
    first = eas.index(middle[0][1])
    assert abs(first - count / 2) < 100
    assert [row[1] for row in middle] == eas[first : first + len(middle)]
    opened.keys("#table", Keys.END, Keys.ENTER)
    assert opened.report("selected()") == count - 1
    assert opened.complaints() == []
