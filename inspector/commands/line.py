"""A command line as it is written in the REPL, in a script or after ``-c``: words as a shell reads them."""

from __future__ import annotations

from dataclasses import dataclass

from inspector.errors import UsageError

JSON = "--json"


@dataclass(frozen=True, slots=True)
class Line:
    """The words of one command. ``json`` is whether this line asked for JSON, wherever in it."""

    words: tuple[str, ...]
    json: bool = False


def parse_line(text: str) -> Line | None:
    """The words of a line; None for a blank one or a comment (``#``). Raises UsageError for a quote left open."""
    import shlex

    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        problem = "a quote is not closed" if "quotation" in str(error) else "nothing follows the backslash at its end"
        raise UsageError(f"{text.strip()!r} cannot be split into words: {problem}; quote as in a shell") from None
    plain = words.index("--") if "--" in words else len(words)
    kept = [word for at, word in enumerate(words) if word != JSON or at > plain]
    if not words:
        return None
    if not kept:
        raise UsageError(f"{JSON} goes with a command, as in: xlate $nip {JSON}")
    return Line(tuple(kept), len(kept) < len(words))
