"""One way through the house: an import points left, or stays in its room."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

PACKAGE = "inspector"
HOUSE = Path(__file__).resolve().parents[1] / PACKAGE
MODULES = sorted(HOUSE.rglob("*.py"))

RANKS: Mapping[str, int] = MappingProxyType(
    {
        "errors": 0,
        "report": 1,  # how a page is packed and put together, of whatever it is given
        "memory.physical": 1,  # what memory is to everyone: ranges, the guard, the clock
        "gdbmi": 2,
        "memory": 3,  # where bytes come from, through gdbmi too
        "radix": 4,
        "snapshot": 4,
        "mappings": 5,
        "kvm": 5,
        "instructions": 5,  # what an instruction reaches: knows the formats of registers, and no source
        "virtio": 5,
        "linux": 5,
        "targets": 5,
        "exporting": 6,
        "top": 6,  # every other module of the package itself: operands, roots, guest, doctor, ...
        "triage": 7,  # what is the matter with a guest, by what all of these say of it
        "commands": 8,
        "render": 9,
        "ui": 10,
        "cli": 11,
        "__main__": 12,
    }
)
"""How far to the right a room lies. One may import what lies further left; rooms of one rank do not know each other."""

ONLY: Mapping[str, frozenset[str]] = MappingProxyType({"radix": frozenset({"errors"}), "errors": frozenset()})
"""Rooms that are held more strictly: pure ones, which know no source."""


def room(module: str) -> str:
    """The room of a dotted module of the package, by the longest name that has a rank."""
    parts = module.split(".")[1:]
    for upto in range(len(parts), 0, -1):
        if ".".join(parts[:upto]) in RANKS:
            return ".".join(parts[:upto])
    return "top"


def dotted(path: Path) -> str:
    """The module that this file is."""
    parts = [PACKAGE, *path.relative_to(HOUSE).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """(line, dotted module of the package) of every import in a file, also of those inside functions.

    ``from package import name`` is an import of ``package.name`` where that is a module, and of the package else; what
    the package says of itself (``__version__``) is no import."""
    known = {dotted(path) for path in MODULES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == PACKAGE:
                    yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                upto = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join([*parts[:upto], *([base] if base else [])])
            if base.split(".")[0] != PACKAGE:
                continue
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if base != PACKAGE or not alias.name.startswith("__"):
                    yield node.lineno, inner if inner in known else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("import_module", "importlib.import_module"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and str(first.value).split(".")[0] == PACKAGE:
                yield node.lineno, str(first.value)


def wrong_ways(source: str, module: str, is_package: bool = False) -> list[str]:
    """What in this source points right, in words."""
    here = room(module)
    found = []
    for line, target in imported(ast.parse(source), module, is_package):
        there = room(target)
        if target == PACKAGE:
            found.append(f"line {line}: imports the package's front door; import the module that it leads to")
            continue
        if there == here:
            continue
        if here in ONLY and there not in ONLY[here]:
            found.append(f"line {line}: {here} imports {target}, and may import only {sorted(ONLY[here]) or 'nothing'}")
        elif RANKS[there] >= RANKS[here]:
            found.append(f"line {line}: {here} imports {target}, which does not lie left of it")
    return found


@pytest.mark.parametrize("path", MODULES, ids=dotted)
def test_imports_point_left_or_stay_in_their_room(path: Path) -> None:
    if path == HOUSE / "__init__.py":
        return
    assert wrong_ways(path.read_text("utf-8"), dotted(path), path.name == "__init__.py") == []


def test_the_package_itself_imports_nothing_of_its_own_when_it_is_imported() -> None:
    """It may re-export, but only when a name is asked for: one-shot commands pay for what they use."""
    tree = ast.parse((HOUSE / "__init__.py").read_text("utf-8"))
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [found for node in at_once for found in imported(node, PACKAGE, True)] == []


def test_every_room_has_a_rank() -> None:
    rooms = {path.relative_to(HOUSE).parts[0] for path in MODULES if len(path.relative_to(HOUSE).parts) > 1}
    assert rooms - set(RANKS) == set()


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("inspector.memory.gdb", "from inspector.radix import bits", True),
        ("inspector.memory.gdb", "def f():\n    from inspector.radix.bits import MASK64", True),
        ("inspector.memory.gdb", "from ..radix import bits", True),
        ("inspector.memory.gdb", "from inspector.gdbmi import session", False),
        ("inspector.memory.physical", "from inspector.gdbmi import session", True),
        ("inspector.gdbmi.session", "from inspector.memory.physical import Clock", False),
        ("inspector.gdbmi.session", "from inspector.memory.gdb import GdbMemory", True),
        ("inspector.memory.gdb", "from .physical import Range\nimport os", False),
        ("inspector.radix.walk", "from inspector.memory.physical import Range", True),
        ("inspector.radix.walk", "from inspector.errors import NotRam\nfrom inspector.radix import bits", False),
        ("inspector.radix.walk", "import inspector.snapshot.write", True),
        ("inspector.radix.walk", "import inspect", False),
        ("inspector.errors", "from inspector.radix import bits", True),
        ("inspector.targets.live", "from inspector.linux.symbols import Symbols", True),
        ("inspector.targets.live", "from inspector.gdbmi import session\nfrom inspector.snapshot import read", False),
        ("inspector.guest", "from inspector import roots\nfrom inspector.targets.base import Target", False),
        ("inspector.guest", "if TYPE_CHECKING:\n    from inspector.commands import xlate", True),
        ("inspector.guest", "from inspector import open_target", True),
        ("inspector.commands.xlate", "from inspector.render import show", True),
        ("inspector.commands.xlate", "import_module('inspector.ui.repl')", True),
        ("inspector.render.show", "from inspector.commands.xlate import Answer\nfrom inspector import guest", False),
        ("inspector.cli", "from inspector.ui import repl\nfrom inspector import __version__", False),
        ("inspector.__main__", "from inspector.cli import main", False),
        ("inspector.cli", "from inspector.__main__ import main", True),
    ],
)
def test_the_check_itself_sees_what_it_should(module: str, source: str, wrong: bool) -> None:
    assert bool(wrong_ways(source, module)) is wrong
