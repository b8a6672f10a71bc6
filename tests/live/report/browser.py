"""A headless browser with nothing of its own: no network, no profile that stays, and an end."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

LIMIT = 120.0
"""Seconds that anything may take."""
WORDS = (
    "--headless=new",
    "--no-sandbox",  # as root it does not start with one; what it opens is our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-default-browser-check",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1400,1200",
)


class Page:
    """A report in the browser."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, path: Path) -> Page:
        """Open a page from the disk, and wait until it has drawn itself."""
        self._log("performance")
        self.driver.get(path.as_uri())
        self.until(lambda: self.run("return document.documentElement.dataset.ready"))
        return self

    def _log(self, kind: str) -> list[dict[str, Any]]:
        """What the browser noted of this kind since it was asked last."""
        entries: list[dict[str, Any]] = self.driver.get_log(kind)  # type: ignore[no-untyped-call]
        return entries

    def run(self, script: str, *arguments: object) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def report(self, call: str) -> Any:
        """What the page's own handle for scripts answers."""
        return self.run(f"return report.{call}")

    def until(self, holds: Callable[[], object]) -> None:
        """Wait until ``holds``. Raises TimeoutException."""
        WebDriverWait(self.driver, LIMIT, 0.02).until(lambda _: holds())

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What a person reads there."""
        return str(self.run("return document.querySelector(arguments[0]).innerText", selector))

    def click(self, selector: str) -> None:
        """Click in the middle of it, once it is in sight."""
        element = self.find(selector)
        self.run("arguments[0].scrollIntoView({ block: 'center' })", element)
        element.click()

    def type(self, name: str, words: str) -> None:
        """Write into a field of the filter."""
        field = self.find(f"#filter [name={name}]")
        field.clear()
        field.send_keys(words)

    def at(self, where: str, x: float, y: float, what: str = "click") -> None:
        """Do something with the pointer at a pixel of the canvas in ``where``: click, double_click, in, out."""
        canvas = self.find(f"{where} canvas")
        self.run("arguments[0].scrollIntoView({ block: 'center' })", canvas)
        dx = round(x - canvas.size["width"] / 2)
        dy = round(y - canvas.size["height"] / 2)
        actions = ActionChains(self.driver, duration=20)
        if what in ("in", "out"):
            actions.scroll_from_origin(ScrollOrigin.from_element(canvas, dx, dy), 0, -120 if what == "in" else 120)
        else:
            actions.move_to_element_with_offset(canvas, dx, dy)
            if what != "hover":
                getattr(actions, what)()
        actions.perform()

    def drag(self, where: str, dx: int, dy: int) -> None:
        """Drag the canvas in ``where`` from its middle."""
        canvas = self.find(f"{where} canvas")
        self.run("arguments[0].scrollIntoView({ block: 'center' })", canvas)
        ActionChains(self.driver, duration=20).click_and_hold(canvas).move_by_offset(dx, dy).release().perform()

    def keys(self, selector: str, *keys: str) -> None:
        """Press keys with the focus there."""
        self.run("document.querySelector(arguments[0]).focus()", selector)
        ActionChains(self.driver).send_keys(*keys).perform()

    def pixel(self, where: str, x: float, y: float) -> tuple[int, int, int]:
        """The colour of a pixel of the canvas in ``where``, given in pixels of the page."""
        self.report("draw()")
        red, green, blue = self.run(
            "const canvas = document.querySelector(arguments[0] + ' canvas');"
            "const scale = canvas.width / canvas.clientWidth;"
            "const at = [arguments[1], arguments[2]].map((each) => Math.round(each * scale));"
            "return Array.from(canvas.getContext('2d').getImageData(...at, 1, 1).data).slice(0, 3)",
            where,
            x,
            y,
        )
        return red, green, blue

    def table(self) -> list[list[str]]:
        """The rows of the table that are in the page, cell by cell."""
        self.report("draw()")
        rows: list[list[str]] = self.run(
            "return Array.from(document.querySelectorAll('#table .rows .line'),"
            " (line) => Array.from(line.children, (cell) => cell.textContent))"
        )
        return rows

    def complaints(self) -> list[str]:
        """What the browser's console was told, but for its advice on what only these tests do: to read pixels."""
        told = [entry["message"] for entry in self._log("browser")]
        return [message for message in told if "willReadFrequently" not in message]

    def requested(self) -> list[str]:
        """Every address that the page asked for since it was opened, its own first."""
        events = [json.loads(entry["message"])["message"] for entry in self._log("performance")]
        asked = [each["params"] for each in events if each["method"] == "Network.requestWillBeSent"]
        return [each["request"]["url"] for each in asked if each["documentURL"] == self.driver.current_url]


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser whose profile is in ``folder``; it is gone afterwards, whatever happens."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    assert all(programs), "chromium and chromedriver are needed: scripts/test installs them"
    options = ChromeOptions()
    options.binary_location = str(programs[0])
    for word in (*WORDS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    # With the driver's path given, selenium never looks for one, here or elsewhere.
    service = Service(str(programs[1]), env={**os.environ, "HOME": str(folder), "SE_OFFLINE": "true"})
    driver = Chrome(options=options, service=service)
    process = driver.capabilities.get("goog:processID")
    try:
        driver.set_page_load_timeout(LIMIT)
        driver.set_script_timeout(LIMIT)
        yield Page(driver)
    finally:
        with suppress(Exception):
            driver.quit()
        service.stop()
        if process:
            with suppress(OSError):
                os.kill(process, signal.SIGKILL)


__all__ = ["Keys", "Page", "browser"]
