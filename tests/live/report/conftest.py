"""One browser and a few pages for all tests of the report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import inspector
from tests.large import raw_guest
from tests.live.report.browser import Page, browser
from tests.live.report.pages import MANY, Shown, small_guest, written


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="session")
def opened(folder: Path) -> Iterator[Page]:
    with browser(folder) as page:
        yield page


@pytest.fixture(scope="session")
def small(folder: Path) -> Shown:
    return written(folder / "small.html", small_guest())


@pytest.fixture(scope="session")
def demo(folder: Path) -> Shown:
    with inspector.open_target("demo") as at:
        return written(folder / "demo.html", at)


@pytest.fixture(scope="session")
def large(folder: Path) -> Shown:
    words = raw_guest(folder / "large.raw", MANY // 2)
    with inspector.open_target(words[0], process_table=int(words[2], 16)) as at:
        return written(folder / "large.html", at)
