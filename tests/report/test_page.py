"""The page itself: it needs nothing from anywhere, and nothing in it can become HTML or script."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import inspector.report
from inspector.report.page import SCRIPTS, STYLES, page, parts_of

ASSETS = Path(inspector.report.__file__).parent / "assets"
EVIL = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)> {{script}} ]]> & ' \" \u2028 \ud800"


class Tags(HTMLParser):
    """Every element of a page and its attributes, and what scripts and styles hold."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open = tag
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self.open = ""

    def handle_data(self, data: str) -> None:
        if self.open in self.inside:
            self.inside[self.open][-1] += data


def of(title: str, facts: dict[str, object]) -> str:
    return page(title, facts, b"AAAA").decode("utf-8")


PLAIN = Tags(of("a", {}))


@given(st.one_of(st.just(EVIL), st.text()), st.text())
def test_whatever_a_guest_says_adds_no_element(words: str, key: str) -> None:
    text = of(words, {key: words, "list": [words]})
    tags = Tags(text)
    assert [tag for tag, _ in tags.tags] == [tag for tag, _ in PLAIN.tags]
    assert tags.inside["script"][2] == PLAIN.inside["script"][2], "the script is always the same"
    facts, columns = parts_of(text.encode())
    assert facts == {key: words, "list": [words]}
    assert columns == b"AAAA"


def test_it_asks_for_nothing_from_anywhere() -> None:
    text = of("a", {})
    assert re.findall(r"https?:|//[a-z]+\.|@import|url\(|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon", text) == []
    attributes = [(tag, name) for tag, found in PLAIN.tags for name in found]
    assert [
        each for each in attributes if each[1] in ("src", "href", "action", "data", "srcset") or each[1][:2] == "on"
    ] == []


def test_the_policy_allows_its_own_script_and_style_and_nothing_else() -> None:
    policy = next(found["content"] for tag, found in PLAIN.tags if found.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None

    def named(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert policy.split("; ") == [
        "default-src 'none'",
        f"script-src {named(PLAIN.inside['script'][2])}",
        f"style-src {named(PLAIN.inside['style'][0])}",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_the_title_is_text() -> None:
    assert f"<title>{html.escape('<b>&')}</title>" in of("<b>&", {})


def test_every_asset_is_in_the_page_and_none_is_long() -> None:
    there = {path.name: path.read_text("utf-8") for path in ASSETS.iterdir()}
    assert set(there) == {"page.html", *(f"{name}.js" for name in SCRIPTS), *(f"{name}.css" for name in STYLES)}
    assert [name for name, text in there.items() if text.count("\n") >= 400] == []


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_make_no_html_and_no_code_of_text(name: str) -> None:
    text = (ASSETS / f"{name}.js").read_text("utf-8")
    assert re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|DOMParser", text) == []


def test_what_is_no_report_is_said_to_be_none() -> None:
    with pytest.raises(ValueError, match="no report"):
        parts_of(b"<!doctype html><p>another page</p>")
