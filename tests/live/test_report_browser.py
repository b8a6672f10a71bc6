"""The page of a report in a real browser: it opens from the disk, asks for nothing, and does what it promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import inspector
from inspector.guest import Guest
from inspector.mappings.audit.run import audit
from inspector.mappings.order import first_rows
from inspector.mappings.ranges import Ranges
from inspector.mappings.select import Selection
from inspector.reporting import contents, write
from tests.fakes import KERNEL, PID, PROCESS_TABLE_AT, USER_DATA, USER_DATA_EA, USER_PAGES_AT, MiB, guest, linux_target
from tests.large import raw_guest
from tests.live.browser import Keys, Page, browser
from tests.radix.trees import Bump, Tree

pytestmark = pytest.mark.live

WX_PID, WX_EA, WX_RA = 9, 0x3000_0000, USER_PAGES_AT + 12 * MiB
MANY = 100_000
EVIL = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


@dataclass(frozen=True)
class Shown:
    """A page on the disk, and the ranges that it shows."""

    path: Path
    ranges: Ranges
    pids: list[int]


def written(path: Path, at: Guest, **options: Any) -> Shown:
    spaces = at.spaces()
    write(str(path), contents(at, spaces, audit(spaces), **options), force=True)
    return Shown(path, spaces.ranges, [each.pid for each in spaces.processes])


def small_guest() -> Guest:
    """The pseries guest, and PID 9 with a page that may be written and executed, between two that may not."""
    target = linux_target()
    tree = Tree(target.source.put_word, Bump(56 * MiB))
    target.source.put_word(PROCESS_TABLE_AT + 16 * WX_PID, tree.descriptor)
    for page in range(16):
        rights = USER_DATA | (1 if page == 5 else 0)
        tree.map(WX_EA + page * 0x10000, (WX_RA + page * 0x10000) | rights, 16)
    return guest(target)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def opened(folder: Path) -> Iterator[Page]:
    with browser(folder) as page:
        yield page


@pytest.fixture(scope="module")
def small(folder: Path) -> Shown:
    return written(folder / "small.html", small_guest())


@pytest.fixture(scope="module")
def demo(folder: Path) -> Shown:
    with inspector.open_target("demo") as at:
        return written(folder / "demo.html", at)


@pytest.fixture(scope="module")
def large(folder: Path) -> Shown:
    words = raw_guest(folder / "large.raw", MANY // 2)
    with inspector.open_target(words[0], process_table=int(words[2], 16)) as at:
        return written(folder / "large.html", at)


def kept_still(page: Page) -> list[str]:
    """What should not have been: complaints, and anything asked for but the page itself."""
    return page.complaints() + [url for url in page.requested() if not url.startswith(("file:", "data:", "blob:"))]


# -- opening -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["small", "demo", "large"])
def test_it_opens_from_the_disk_and_asks_for_nothing(opened: Page, request: pytest.FixtureRequest, name: str) -> None:
    shown: Shown = request.getfixturevalue(name)
    opened.open(shown.path)
    assert opened.requested() == [shown.path.as_uri()]
    assert opened.complaints() == []
    assert opened.text("#count").startswith(f"all {len(shown.ranges):,} ranges")
    assert opened.report("rows") == len(shown.ranges)
    assert len(opened.all("#process option")) == len(shown.pids)


def test_what_a_guest_says_is_text(opened: Page, folder: Path) -> None:
    target = linux_target()
    target.name, target.machine = EVIL, {"kind": EVIL, EVIL: EVIL}
    target.ram.ranges = tuple(replace(each, name=EVIL) for each in target.ram.ranges)
    shown = written(folder / "evil.html", guest(target), notes=[EVIL])
    opened.open(shown.path)
    assert opened.driver.title == f"{EVIL}: page tables"
    assert EVIL in opened.text("#title")
    assert EVIL in opened.text("#notes")
    assert opened.text("#about").count(EVIL) >= 3
    assert opened.run("return document.querySelectorAll('img').length") == 0
    assert kept_still(opened) == []


def test_the_policy_stops_what_is_not_its_own(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    opened.run(
        "const add = (name, values) => document.body.append(Object.assign(document.createElement(name), values));"
        "add('script', { textContent: 'document.title = 1' });"
        "add('img', { src: 'https://localhost/x.png' })"
    )
    assert opened.driver.title.endswith("page tables")
    complaints = opened.complaints()
    assert len([each for each in complaints if "Content Security Policy" in each]) == 2


@pytest.mark.parametrize(("width", "height", "mobile"), [(360, 740, True), (1600, 1000, False)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_and_a_desk_by_day_and_night(
    opened: Page, small: Shown, width: int, height: int, mobile: bool, scheme: str
) -> None:
    feature = {"name": "prefers-color-scheme", "value": scheme}
    size = {"width": width, "height": height, "deviceScaleFactor": 2 if mobile else 1, "mobile": mobile}
    opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    opened.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        opened.open(small.path)
        assert opened.run("return document.documentElement.scrollWidth") <= width
        red, green, blue = opened.run(
            "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        assert (red + green + blue < 380) is (scheme == "dark")
        assert opened.pixel("#space", 200, 4) != (0, 0, 0)
    finally:
        opened.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        opened.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


# -- the filter --------------------------------------------------------------------------------------------------------

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


# -- the maps ----------------------------------------------------------------------------------------------------------


def point(page: Page, name: str, place: int) -> tuple[float, float]:
    """Where a place of a map is, in pixels of its canvas."""
    page.report("draw()")
    x, y = page.run("return report.pointOf(arguments[0], arguments[1])", name, place)
    return x, y


def rights_colour(page: Page, label: str) -> tuple[int, ...]:
    """The first colour of a legend's swatch."""
    found = page.run(
        "const swatch = Array.from(document.querySelectorAll('#space-legend .swatch')).find((each) =>"
        " each.innerText.startsWith(arguments[0]));"
        "const canvas = swatch.querySelector('canvas');"
        "return Array.from(canvas.getContext('2d').getImageData(10, 5, 8, 1).data)",
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


def test_rights_are_seen_and_the_filter_dims_the_rest(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    choose_pid(opened, WX_PID, small)
    colours = {name: rights_colour(opened, name) for name in ("rw-", "rwx")}
    plain, written_and_executed = WX_EA + 0x3_8000, WX_EA + 0x5_8000

    def near(place: int) -> set[tuple[int, int, int]]:
        x, y = point(opened, "space", place)
        return {opened.pixel("#space", x + step, y - 3) for step in range(-6, 7)}

    assert near(plain) == {colours["rw-"]}
    assert colours["rwx"] in near(written_and_executed)
    assert len(near(written_and_executed)) == 2, "it is striped"
    opened.run("report.filter({ rights: 'w&x' })")
    assert colours["rw-"] not in near(plain)
    assert colours["rwx"] in near(written_and_executed)


def test_zoom_pan_and_reset(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    opened.report("select(0)")
    opened.keys("#space canvas", "0")
    home = opened.report("window('space')")
    x, y = point(opened, "space", 8 * MiB)
    opened.at("#space", x, y, "in")
    near = opened.report("window('space')")
    assert near["perRow"] == home["perRow"] / 2
    again = point(opened, "space", 8 * MiB)
    assert abs(again[1] - y) <= 15, "what was under the pointer is still about there"
    opened.at("#space", x, y, "out")
    assert opened.report("window('space')")["perRow"] == home["perRow"]
    opened.click("#space button[title='zoom in']")
    opened.click("#space button[title='zoom in']")
    before = opened.report("window('space')")
    assert before["perRow"] == home["perRow"] / 4
    opened.drag("#space", 0, -60)
    assert opened.report("window('space')")["start"] == before["start"] + 4 * before["perRow"]
    opened.at("#space", 300, 100, "double_click")
    assert opened.report("window('space')") == home
    opened.keys("#space canvas", "+")
    assert opened.report("window('space')")["perRow"] == home["perRow"] / 2
    opened.keys("#space canvas", "-", "0")
    assert opened.report("window('space')") == home
    home = opened.report("window('ram')")
    opened.keys("#ram canvas", "+", "+")
    assert opened.report("window('ram')")["perRow"] == home["perRow"] / 4
    opened.click("#ram button[title='show all of it']")
    assert opened.report("window('ram')") == home
    assert opened.complaints() == []


def test_a_place_leads_to_its_memory_and_back(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    choose_pid(opened, PID, small)
    opened.at("#space", *point(opened, "space", USER_DATA_EA + 0x8000))
    details = opened.text("#details")
    ra = USER_PAGES_AT + 0x1_0000
    for words in (f"{USER_DATA_EA:#018x}", f"{ra:#x}", "rw-", f"PID\n{PID}", "user", "3×64K", "Mapped there too: 1"):  # noqa: RUF001
        assert words in details
    row = opened.report("selected()")
    assert small.ranges.ea[row] == USER_DATA_EA
    opened.run(
        "Array.from(document.querySelectorAll('#details button')).find((e) => e.textContent == 'show in RAM').click()"
    )
    assert opened.report("place()") == f"{ra:#x}"
    assert 0 <= point(opened, "ram", ra)[1] <= 32 * 15
    assert "Mapped by 2 ranges" in opened.text("#details")
    assert f"owner\nPID {PID}" in opened.text("#details")
    # The kernel's linear map has it too: there one gets from the list.
    opened.run("document.querySelector('#details .mappers button').click()")
    assert opened.report("pid()") == 0
    assert small.ranges.ea[opened.report("selected()")] <= KERNEL + ra
    assert f"{KERNEL + ra // (2 * MiB) * (2 * MiB):#018x}" in opened.text("#details")
    opened.at("#ram", *point(opened, "ram", PROCESS_TABLE_AT + MiB))
    assert "process or partition table" in opened.text("#details")
    opened.keys("body", Keys.ESCAPE)
    assert opened.run("return document.getElementById('details').hidden")
    assert opened.complaints() == []


def test_hovering_and_the_keyboard_tell_what_is_there(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    choose_pid(opened, PID, small)
    opened.at("#space", *point(opened, "space", USER_DATA_EA + 0x8000), "hover")
    assert f"{USER_DATA_EA:#x} \u2192 {USER_PAGES_AT + 0x1_0000:#x}" in opened.text("#tip")
    opened.keys("#lanes canvas", Keys.ARROW_DOWN)
    assert opened.report("pid()") == WX_PID
    opened.keys("#space canvas", Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    assert f"PID {WX_PID}, rw-" in opened.text("#tip")
    opened.keys("#space canvas", Keys.ENTER)
    assert small.ranges.pid[opened.report("selected()")] == WX_PID


def test_what_is_outside_ram_is_listed(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    opened.click("#outside summary")
    first = opened.find("#outside button")
    assert first.text.startswith("0x200080010000")
    opened.click("#outside button")
    assert "no RAM" in opened.text("#details")
    assert "Mapped by 1 range" in opened.text("#details")


def test_a_register_leads_to_where_it_points(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    opened.click("#registers dd button")
    assert opened.report("pid()") == 0
    assert f"{KERNEL:#018x}" in opened.text("#details")


# -- the table ---------------------------------------------------------------------------------------------------------


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
