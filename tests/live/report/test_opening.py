"""The page opens from the disk, asks for nothing, and shows what a guest says as text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fakes import guest, linux_target
from tests.live.report.browser import Keys, Page
from tests.live.report.pages import Shown, written

pytestmark = pytest.mark.live

EVIL = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def kept_still(page: Page) -> list[str]:
    """What should not have been: complaints, and anything asked for but the page itself."""
    return page.complaints() + [url for url in page.requested() if not url.startswith(("file:", "data:", "blob:"))]


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
    complaints: list[str] = []

    def both_are_told() -> bool:
        complaints.extend(each for each in opened.complaints() if "Content Security Policy" in each)
        return len(complaints) >= 2

    opened.until(both_are_told)
    assert len(complaints) == 2


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


def test_a_page_of_nothing_opens_too(opened: Page, folder: Path) -> None:
    shown = written(folder / "nothing.html", guest(linux_target()), most=0)
    opened.open(shown.path)
    assert opened.table() == []
    assert "no range is as was asked" in opened.text("#table")
    opened.keys("#space canvas", "+", Keys.ARROW_DOWN, Keys.ENTER)
    opened.at("#lanes", 300, 10)
    opened.at("#ram", 300, 100)
    assert "Nothing maps it" in opened.text("#details")
    assert opened.complaints() == []
