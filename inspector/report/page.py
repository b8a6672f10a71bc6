"""The page of a report: a template, its style and its scripts, and what it shows, in one piece of HTML.

What it shows comes from a guest, which may be hostile. It is data in the page, never HTML and never script: JSON in
which no character is left that HTML knows, and base64. Its own script writes text nodes only, and a policy allows that
very script and that very style, by their hashes, and nothing else: no network, no image, no form.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

SCRIPTS = (
    "numbers",
    "data",
    "rights",
    "selection",
    "colours",
    "raster",
    "window",
    "map",
    "spaces",
    "lanes",
    "ram",
    "table",
    "form",
    "details",
    "facts",
    "main",
)
"""The scripts, in the order in which they are put together. They share one scope."""
STYLES = ("page", "parts")
ESCAPED = {ord(each): f"\\u{ord(each):04x}" for each in "<>&'"}
"""What could end a script element or begin anything in HTML; in JSON it stands within strings only."""
PLACE = re.compile(r"\{\{([a-z]+)\}\}")


def page(title: str, facts: Mapping[str, Any], columns: bytes) -> bytes:
    """The page: ``facts`` is what JSON can say, ``columns`` what :func:`inspector.report.columns.pack` gave."""
    script = '"use strict";\n(() => {\n' + "\n".join(_asset(f"{name}.js") for name in SCRIPTS) + "\n})();\n"
    style = "\n".join(_asset(f"{name}.css") for name in STYLES)
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "title": html.escape(title),
        "policy": html.escape(policy, quote=False),
        "style": style,
        "facts": json.dumps(facts, ensure_ascii=True, separators=(",", ":"), allow_nan=False).translate(ESCAPED),
        "columns": columns.decode("ascii"),
        "script": script,
    }
    # In one pass, so that nothing that is put in is looked at again.
    return PLACE.sub(lambda found: parts[found[1]], _asset("page.html")).encode("utf-8", "replace")


def parts_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The facts and the packed columns of a page. Raises ValueError for a file that is none."""
    text = data.decode("utf-8")
    found = [
        re.search(rf'<script type="[^"]*" id="{name}">(.*?)</script>', text, re.S) for name in ("facts", "columns")
    ]
    if not all(found):
        raise ValueError("this is no report")
    facts, columns = (each[1].strip() for each in found if each)
    return json.loads(facts), columns.encode("ascii")


def _asset(name: str) -> str:
    return files("inspector.report").joinpath("assets", name).read_text("utf-8")


def _hash(text: str) -> str:
    """As a content security policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
