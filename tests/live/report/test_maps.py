"""The maps of address spaces and of RAM: colours, zoom, and the ways between them."""

from __future__ import annotations

import pytest

from tests.fakes import KERNEL, PID, PROCESS_TABLE_AT, USER_DATA_EA, USER_PAGES_AT, MiB
from tests.live.report.browser import Keys, Page
from tests.live.report.pages import WX_EA, WX_PID, WX_RA, Shown, choose_pid, colour_of, point

pytestmark = pytest.mark.live


def test_rights_are_seen_and_the_filter_dims_the_rest(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    choose_pid(opened, WX_PID, small)
    colours = {name: colour_of(opened, "space", name) for name in ("rw-", "rwx")}
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


def test_owners_are_seen_and_the_filter_dims_what_others_own(opened: Page, small: Shown) -> None:
    opened.open(small.path)

    def at(ra: int) -> tuple[int, int, int]:
        x, y = point(opened, "ram", ra)
        return opened.pixel("#ram", x, y - 3)

    places = {f"PID {WX_PID}": WX_RA + 0x3_8000, "linear map only": 8 * MiB}
    for label, ra in places.items():
        assert at(ra) == colour_of(opened, "ram", label)
    opened.run("report.filter({ pid: arguments[0] })", str(WX_PID))
    assert at(places[f"PID {WX_PID}"]) == colour_of(opened, "ram", f"PID {WX_PID}")
    assert at(places["linear map only"]) != colour_of(opened, "ram", "linear map only")
    opened.run("report.filter({ pid: '4' })")
    assert at(places[f"PID {WX_PID}"]) != colour_of(opened, "ram", f"PID {WX_PID}")


def test_colours_may_tell_page_sizes_instead(opened: Page, small: Shown) -> None:
    opened.open(small.path)
    opened.run("report.select(0)")
    opened.keys("body", Keys.ESCAPE)
    place = point(opened, "space", 7 * MiB // 2)
    before = opened.pixel("#space", place[0], place[1] - 3)
    assert before == colour_of(opened, "space", "r-x")
    opened.run(
        "const chooser = document.getElementById('scheme'); chooser.value = 'page';"
        "chooser.dispatchEvent(new Event('change'))"
    )
    assert opened.text("#space-legend").split() == ["4K", "64K", "2M", "1G", "512G"]
    after = opened.pixel("#space", place[0], place[1] - 3)
    assert after == colour_of(opened, "space", "2M")
    assert after != before


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
    for words in (f"{USER_DATA_EA:#018x}", f"{ra:#x}", "rw-", f"of\nPID {PID}", "user", "3×64K", "Mapped there too: 1"):  # noqa: RUF001
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
    assert opened.find("#details .mappers button").text == f"{KERNEL + ra:#018x}"
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
