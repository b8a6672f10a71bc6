"""Register files: ``{"cpus": [{"pid": "0x4", "msr": "0x…", …}], "process_table": "0x…"}``.

A value is a JSON number or a string such as "0x4"; null and what is not named are unknown, not
zero. A name that is no register is refused, because a slip would otherwise be a register unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inspector.errors import FormatError
from inspector.memory.plainfile import open_plain
from inspector.snapshot import jsonsafe
from inspector.targets.base import ALIASES, REGISTERS, KnownRoots, Registers, canonical

MAX_CPUS = 1 << 14
TOP = ("cpus", "process_table", "comment")


@dataclass(frozen=True, slots=True)
class RegisterFile:
    """The registers of each vCPU by its number, and the roots where the file tells them."""

    cpus: Mapping[int, Registers]
    roots: KnownRoots


def read_register_file(path: str) -> RegisterFile:
    """Read ``path``. Raises FormatError, saying which word of which vCPU is wrong."""
    file = open_plain(path)
    try:
        if file.size > jsonsafe.MAX_BYTES:
            raise FormatError(path, f"it is longer than {jsonsafe.MAX_BYTES >> 20} MiB; is it a register file?")
        raw = file.data[0 : file.size]
    finally:
        file.close()
    try:
        document = jsonsafe.parse(raw)
    except ValueError as e:
        raise FormatError(path, f'it is no JSON ({e}); write it as {{"cpus": [{{"pid": "0x4"}}]}}') from None
    if not isinstance(document, dict):
        raise FormatError(path, 'it is not an object; write it as {"cpus": [{"pid": "0x4"}]}')
    for key in document:
        if key not in TOP:
            raise FormatError(path, f"there is no place for {_shown(key)} at its top; {_near(key, TOP)}")
    rows = document.get("cpus")
    if not isinstance(rows, list) or not rows or len(rows) > MAX_CPUS:
        raise FormatError(path, 'it has no list of vCPUs; write it as {"cpus": [{"pid": "0x4"}]}')
    cpus: dict[int, Registers] = {}
    for place, row in enumerate(rows):
        registers = _registers(path, place, row)
        if registers.cpu in cpus:
            raise FormatError(path, f'vCPU {registers.cpu} is there twice; give each entry its own "cpu" number')
        cpus[registers.cpu] = registers
    table = document.get("process_table")
    if table is None:
        return RegisterFile(cpus, KnownRoots())
    return RegisterFile(cpus, KnownRoots(_value(path, "process_table", table), f"the register file {path}"))


def _registers(path: str, place: int, row: object) -> Registers:
    if not isinstance(row, dict):
        raise FormatError(path, f'cpus[{place}] is not an object; write {{"pid": "0x4", …}} there')
    number = place
    values: dict[str, int] = {}
    for name, given in row.items():
        where = f"cpus[{place}].{jsonsafe.text(name[:40])}"
        if name == "cpu":
            number = _value(path, where, given)
            if number >= MAX_CPUS:
                raise FormatError(path, f"{where} is {number}, more vCPUs than a guest has; number them from 0")
            continue
        plain = canonical(name)
        if plain not in REGISTERS:
            near = _near(plain, (*REGISTERS, *ALIASES))
            raise FormatError(path, f"cpus[{place}] names {_shown(name)}, which is no register; {near}")
        if given is None:
            continue
        value = _value(path, where, given)
        if values.get(plain, value) != value:
            raise FormatError(path, f"{where} and another name of the same register differ; give it once")
        values[plain] = value
    return Registers(number, values)


def _value(path: str, where: str, given: object) -> int:
    value = jsonsafe.number(given)
    if value is None:
        raise FormatError(
            path,
            f"{where} is {_shown(given)}, not an unsigned 64-bit number; "
            'write one such as "0x4", or leave it out if it is not known',
        )
    return value


def _shown(given: object) -> str:
    """A value of the file as it can be printed, cut to what a sentence bears."""
    import json

    words = json.dumps(given) if not isinstance(given, dict | list) else "a list or an object"
    return words if len(words) <= 40 else words[:37] + "…"


def _near(name: str, names: Iterable[str]) -> str:
    """Which names might have been meant."""
    from difflib import get_close_matches

    close = get_close_matches(name[:40], list(names), n=3)
    return f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(list(names)[-25:])}"
