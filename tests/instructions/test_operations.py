"""The table of accesses against binutils, which knows every opcode, and capstone."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from inspector.instructions.decode import decode, operation_of
from inspector.instructions.operations import BY_LOW_BITS, Kind, Operation, by_extended, by_primary, prefixed

OBJDUMP = "powerpc64le-linux-gnu-objdump"
LINE = re.compile(r"^\s*[0-9a-f]+:\t(?:[0-9a-f]{2} )+\s*\t?(\S+)[ \t]*(.*)$", re.MULTILINE)
needs_objdump = pytest.mark.skipif(shutil.which(OBJDUMP) is None, reason=f"{OBJDUMP} is not installed")

NO_ACCESS = {"lnia", "li", "lis", "lvsl", "lvsr", "lxvkq", "stop"}
"""Names that sound like accesses."""


def said(words: Sequence[int], folder: Path) -> list[tuple[str, str]]:
    """(mnemonic, operands) of each instruction by objdump."""
    file = folder / "code"
    file.write_bytes(b"".join(word.to_bytes(4, "big") for word in words))
    command = [OBJDUMP, "-D", "-b", "binary", "-m", "powerpc:common64", "-EB", "-Mpower10", "-z", str(file)]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    return LINE.findall(text.split("<.data>:", 1)[1])


def as_word(operation: Operation, opcode: int, extended: int | None, low: int = 0) -> int:
    """An instruction of this operation with RT 6 (0 where it has none), RA 4 and RB 5 or a displacement of 32."""
    word = opcode << 26 | (6 if operation.registers else 0) << 21 | 4 << 16
    if extended is None:
        return word | 32 | low
    block = operation.name in ("copy", "paste.")
    return word | (1 if block else 0) << 21 | 5 << 11 | extended << 1 | operation.name.endswith(".")


def every() -> list[tuple[int, Operation]]:
    """A word of each of 4 bytes."""
    words = [(as_word(each, opcode, None), each) for opcode, each in by_primary().items()]
    words += [(as_word(each, opcode, None, low), each) for (opcode, _, low), each in BY_LOW_BITS.items()]
    return words + [(as_word(each, 31, extended), each) for extended, each in by_extended().items()]


def test_a_word_is_the_operation_that_it_was_made_of() -> None:
    assert len(every()) > 150
    for word, operation in every():
        assert operation_of(word) is operation
        assert decode(0, word).text.split()[0] == operation.name


@needs_objdump
def test_binutils_has_the_same_names(tmp_path: Path) -> None:
    words = every()
    theirs = said([word for word, _ in words], tmp_path)
    unknown = {operation.name for (_, operation), (name, _) in zip(words, theirs, strict=True) if name == ".long"}
    assert unknown <= {"lfdp", "lfdpx", "stfdp", "stfdpx", "lmw", "stmw"}  # those of earlier processors
    for (_, operation), (name, _) in zip(words, theirs, strict=True):
        assert name in (operation.name, ".long") or operation.kind is Kind.CACHE
        assert name.startswith((operation.name, ".long"))  # "dcbtct" is a dcbt


@needs_objdump
def test_no_access_that_binutils_knows_is_missing(tmp_path: Path) -> None:
    words = [31 << 26 | rt << 21 | 4 << 16 | 5 << 11 | low for low in range(1 << 11) for rt in (0, 1, 6)]
    words += [opcode << 26 | 6 << 21 | 4 << 16 | 0x120 | low for opcode in range(2, 64) for low in range(16)]
    missing = set()
    for word, (name, operands) in zip(words, said(words, tmp_path), strict=True):
        stem = name.rstrip(".")
        access = "(" in operands or stem.startswith(("l", "st", "dcb", "icb", "copy", "paste"))
        if access and name not in NO_ACCESS and operation_of(word) is None:
            missing.add(name)
    assert missing <= {"hashst", "hashchk", "hashstp", "hashchkp", "dcbi"}, missing  # the last of earlier processors


@needs_objdump
def test_binutils_has_the_same_prefixed_ones(tmp_path: Path) -> None:
    pairs = [
        (1 << 26 | kind << 24 | 1, opcode << 26 | 6 << 21 | 4 << 16 | 8) for kind in (0, 2) for opcode in range(64)
    ]
    checked = 0
    for prefix, suffix in pairs:
        mine = decode(0, prefix, suffix)
        (first, *_) = said([prefix, suffix], tmp_path)
        theirs = first[0]
        if mine.operation is None:
            assert theirs in (".long", "paddi", "pla", "xxspltiw", "xxpermx") or not theirs.startswith(("pl", "pst"))
            continue
        checked += 1
        assert theirs == mine.operation.name
        assert mine.text.replace(", ", ",") == " ".join(first)
    assert checked == len(prefixed())


def test_what_each_operation_is_agrees_with_its_name() -> None:
    for _, operation in every():
        store = operation.name.startswith(("st", "paste"))
        if operation.kind is not Kind.CACHE:
            assert operation.kind is (Kind.STORE if store else Kind.LOAD)
            assert (operation.way == "w") is (store or operation.atomic)
        assert operation.update is bool(re.fullmatch(r"(l|st)\w+u(x)?", operation.name))
    for operation in prefixed().values():
        assert operation.kind is (Kind.STORE if operation.name.startswith("pst") else Kind.LOAD)
        assert not operation.update
