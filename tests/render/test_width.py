"""What answers look like when they are at their longest: still 80 columns, still one line of JSON each."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from inspector import reporting
from inspector.commands import audit, overlay
from inspector.commands.ageing import Counted, Logged
from inspector.commands.behind import Listing
from inspector.commands.changes import Changed, Compared, Of, State, TableChanged, Tally
from inspector.commands.control import Console, Went
from inspector.commands.diff import OfSide
from inspector.commands.doctor import Examined
from inspector.commands.export import Exported
from inspector.commands.lifecycle import Operated
from inspector.commands.listing import AddressSpace, RangeBlock
from inspector.commands.maps import InRegion, Sorted, Total
from inspector.commands.mark import Marked
from inspector.commands.memory import Missing, Ram, Shown
from inspector.commands.notes import Aside, Note
from inspector.commands.partitions import LivePartition, PartitionTable
from inspector.commands.record import Recorded
from inspector.commands.registers import Cpu, CpuList, RegisterFile, RegisterGroup
from inspector.commands.registry import Result
from inspector.commands.report import Reported
from inspector.commands.rmap import Aliases, Asked, Reached, Titles, Unlike, Unreached, Where
from inspector.commands.roots import LiveEntry, ProcessTable, RootsFound, Word
from inspector.commands.scope import Odd, Unfinished
from inspector.commands.search import Hit, Searched
from inspector.commands.slots import KnownSlot
from inspector.commands.sql import Found, Function, TableShape
from inspector.commands.tables import Listed, OfTree, Place, Shared, Whole
from inspector.doctor import Finding
from inspector.exporting.files import Written
from inspector.kvm import trace
from inspector.kvm.dirty import DirtyLog
from inspector.kvm.operations import Answer
from inspector.mappings.audit import finding
from inspector.mappings.audit.rules import RULES
from inspector.mappings.dirtylog import Slot
from inspector.mappings.ranges import Ranges
from inspector.mappings.runs import Run
from inspector.mappings.table import Field, Rows
from inspector.mappings.tablecost import Cost, LevelCost, Table, TreeCost
from inspector.mappings.tablepages import Holds, TablePage
from inspector.mappings.usage import Count
from inspector.memory.overlay import ChangedWord
from inspector.memory.physical import Range
from inspector.moments import ProcessChange
from inspector.processes import Process
from inspector.radix.columns import Root
from inspector.radix.descriptors import PATE0
from inspector.render import show
from inspector.render.style import Style, compact_size, counted, safe, short_size
from inspector.roots import Attempt, Roots
from inspector.snapshot.write import Summary
from inspector.trees import Tree

MOST = (1 << 64) - 1
REAL = (1 << 53) - (1 << 12)
LONG = "a sentence that goes on for rather longer than a line of eighty columns has room for, and a bit more"
LONGEST = Run(0, 0xFFFFF, MOST - 0xFFFF, REAL, 12, 3 << 62 | 0x1EF, 99999)
IN_KASAN = Run(0, 0, 0xC00F_BFFF_FFFF_0000, REAL, 12, 3 << 62 | 0x1EF, 1)
HOLDS = Holds(tuple(TablePage(REAL, 4096, level, 0, 0xFFFFF, MOST - 4095, 99999) for level in range(4)), 0xFFFFF)
SPAN, ONE = Where(REAL, MOST, False, MOST - REAL, 99999, HOLDS), Where(REAL, REAL + 1, True, 0, 4, HOLDS)
UNLIKE = (Unlike("attributes", REAL, MOST, ("non-idempotent", "tolerant"), LONGEST, IN_KASAN),) * 3
KINDS = ("moved", "rights", "attribute", "size", "touched", "software", "reserved")
LOST = Tally(
    0, 0xFFFFF, "replaced", dict.fromkeys(KINDS, (1 << 28, MOST)), {("freed", n): (1 << 28, MOST) for n in range(4)}
)

WIDEST = Ranges(
    (Root(0xFFFFF, 0, MOST >> 12 << 12),),
    np.zeros(1, np.uint32),
    np.zeros(1, np.uint64),
    np.array([REAL], np.uint64),
    np.array([39], np.uint8),
    np.array([3 << 62 | 0x1FF | 0x30], np.uint64),
    np.array([1023], np.uint64),
)
LED_ON = replace(WIDEST, gra=np.array([REAL], np.uint64))

BUSY = trace.Trace(
    [("carry-dirty", (1 << 40, MOST)), ("looks-large", ())] * 20,
    [trace.Tlbie(MOST & ~0xFE0 | 5 << 5, 0xFFF), trace.Tlbie(0x800, 0xFFF, 1)] * 20,
    trace.Installed(REAL, 0xC000_0000_0000_0387 | REAL, 30, REAL),
    [trace.Table(REAL, level) for level in range(4)],
    [trace.Table(REAL, 0)] * 40,
)
BITS = DirtyLog(bytes([0b0101_0101]) * 16, 1 << 40, 1 << 20)

RESULTS: list[Result] = [
    Operated(
        Answer("dirty-log", 0xFFF, "ENOENT", BUSY, BITS), "SEED", True, 16, MOST, (REAL, 1 << 51), "log.bin", 1 << 40
    ),
    KnownSlot(0xFFF, REAL, (1 << 52) - 4096, 3, MOST, 0xFFFFF, 1 << 40),
    overlay.Overlaid(
        "on",
        overlay.Overlay(Range(REAL, 1 << 51), 1 << 40, MOST, MOST, 12, "SEED", True, tuple(range(40)), (1,), 9, True),
    ),
    overlay.Overlaid("off", None),
    overlay.Word(ChangedWord(MOST - 7, None, MOST), True),
    overlay.Words(1 << 40, 1 << 40, 1 << 40),
    RegisterFile(0, (RegisterGroup("all", tuple((f"name{n}", MOST) for n in range(7))),), several=True),
    CpuList((Cpu(1023, True, MOST, MOST, 0xFFFF_FFFF, 4095), Cpu(0, False, None, None, None, None))),
    Shown("effective", MOST - 63, REAL, bytes(range(0x20, 0x60)), 0, None),
    *(Shown("real", MOST - 63, REAL, b"\xff" * 64, width, "little") for width in (1, 2, 4, 8)),
    Missing("effective", MOST - 4095, 4095, "table-not-captured", LONG, REAL, 512),
    Ram((Range(0, 1 << 40, "x" * 20), Range(REAL, 4096, "")), (1 << 40) + 4096, ((1 << 39) + 3, 0)),
    AddressSpace(Tree(0, 0xFFFFF, REAL, MOST)),
    RangeBlock(WIDEST, np.zeros(1, np.bool_)),
    InRegion("KASAN shadow"),
    Sorted("size"),
    RangeBlock(WIDEST, np.zeros(1, np.bool_), mixed=True),
    AddressSpace(Tree(0xFFFFF, None, REAL, MOST)),
    *(Sorted("size", *flags) for flags in ((True, False, False), (False, True, False), (False, False, True))),
    *(RangeBlock(LED_ON, np.zeros(1, np.bool_), mixed, holes) for mixed in (False, True) for holes in (False, True)),
    Listing(0xFFFFF, MOST, ((MOST, MOST, 39),)),
    Aside(Note(LONG)),
    Total(1 << 40, 1 << 20, tuple((shift, (1 << 40) + shift) for shift in (39, 30, 21, 16, 12)), partial=True),
    *(Total(1 << 40, 1 << 20, ((39, 1 << 40), (12, 1 << 40)), True, *flags) for flags in ((True,), (False, True))),
    Odd(0, 0xFFFFF, MOST, "misaligned-base", LONG, 100_000),
    Unfinished(),
    Reported(reporting.Written("a-name.html", 10**12, 10**9, 10**9, 10**6, 10**9), True, False),
    audit.Found(
        finding.Finding(
            "process-table-outside-ram", "warning", LONG, 0, 0xFFFFF, MOST, REAL, 1 << 51, 99999, MOST, REAL
        )
    ),
    audit.Found(
        finding.Finding("privileged-in-user-half", "warning", LONG, ea=MOST, page_shift=12, size=1 << 51, more=1 << 30)
    ),
    audit.Audited({"error": 1 << 40, "warning": 1 << 40, "info": 1 << 40}, 42, 1 << 20, 1 << 23, 1 << 28, True),
    *(audit.Listed(rule, whole) for rule in RULES.values() for whole in (False, True)),
    Counted(
        "referenced", tuple(Count(shift, (1 << 28) - 1, 1 << 28) for shift in (12, 16, 21, 30, 39)), Root(0xFFFFF, 0)
    ),
    Logged("referenced", Slot((1 << 64) - (1 << 47), (1 << 47) - (1 << 16)), (1 << 31) - 1, "dirty.bin", 1 << 28),
    Whole(Cost((LevelCost(0, *(9_999_999,) * 7),), (1 << 62) - 1, *(99_999_999,) * 3, {16: MOST}), REAL, 1 << 36, 1),
    OfTree(TreeCost(Root(0xFFFFF, 0), 1 << 23, MOST, 1 << 23, (1 << 62) - 1)),
    Place(REAL, MOST, 99_999_999, ("a-rather-long-name-of-a-block",)),
    Listed(Table(REAL, 3, 8192, 8192, 8192, 9_999_999, Root(0xFFFFF, 0), MOST, False), False),
    Shared("shared-table", REAL, LONG),
    Titles(),
    *(Asked(where, 99999, 4096) for where in (SPAN, ONE)),
    *(Reached(where, run, False, UNLIKE) for where in (SPAN, ONE) for run in (LONGEST, IN_KASAN)),
    *(Aliases(where, UNLIKE) for where in (SPAN, ONE)),
    *(Unreached(where, "not-mapped", LONG) for where in (SPAN, ONE)),
    *(Hit(REAL, 48, b"w" * 48, text, HOLDS, ((LONGEST, False), (IN_KASAN, True))) for text in (True, False)),
    Hit(REAL, 48, b"w\n", True, None, None),
    Searched(99999, REAL, MOST // 2, MOST, MOST, MOST, LONG, limited=True, interrupted=False),
    Searched(99999, REAL, MOST // 2, MOST, MOST, MOST, LONG, limited=False, interrupted=True),
    Of(0, 0xFFFFF, ProcessChange(0, 0xFFFFF, MOST, MOST - 1)),
    *(
        Changed(KINDS, 0, 0xFFFFF, MOST - 0xFFFF, MOST, State(LONGEST, False), after)
        for after in (State(LONGEST, False), None)
    ),
    TableChanged("allocated", 0, 0xFFFFF, MOST, 3, REAL, 65536),
    Compared(LONG, LONG, (LOST, LOST), chosen=True, exit_code=False),
    Compared(LONG, LONG, (), chosen=True, exit_code=False),
    *(OfSide("before", LONG, of) for of in (Odd(0, 0xFFFFF, MOST, "misaligned-base", LONG, 100_000), Note(LONG))),
    Marked(
        "a-rather-long-name", "gdb:192.168.100.100:65535", 0.0, 0xFFFFF, 1 << 28, 1 << 23, 1 << 31, True, "made again"
    ),
    ProcessTable(REAL, 1 << 32),
    ProcessTable(REAL, 1 << 32, 0xFFFFF),
    PartitionTable(REAL, 1 << 32),
    LivePartition(Tree(0xFFFFF, None, REAL, MOST, MOST), tuple(range(64))),
    LivePartition(Tree(0xFFFFF, None, REAL, MOST >> 1, MOST), (1023,)),
    LiveEntry(Process(0xFFFFF, 1 << 40, 1 << 63 | 1 << 45, MOST), tuple(range(64))),
    RootsFound(
        Roots(False, "radix", LONG, None, MOST, LONG, "confirmed", (Attempt(LONG, LONG),)),
        (Word("PATE0 of LPID 4095", REAL, PATE0.decode(MOST)), Word("PATE1 of LPID 4095", REAL, None, LONG)),
    ),
    RootsFound(Roots(True, "not-found", LONG), ()),
    Went(LONG[:60], "stopped", 3, 1023, MOST, MOST),
    Note(LONG),
    Exported(Written("a-name-of-a-file.parquet", "parquet", 1 << 40, 1 << 50)),
    TableShape("leaves", LONG[:60], tuple((f"column_{n}", "UBIGINT") for n in range(20))),
    Function("hex(x)", LONG[:60]),
    Found(Rows((Field("ea", "address"), Field("reason", "word")), [(MOST, LONG * 2), (None, None)])),
    Examined((Finding("a-rather-long-program-name", False, None, LONG, "get it", needed=True, note=LONG),)),
]


@pytest.mark.parametrize("result", RESULTS, ids=lambda each: type(each).__name__)
def test_it_fits(result: Result) -> None:
    lines = list(show.text(result, Style()))
    assert lines
    assert [line for line in lines if len(line) > 80] == []
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.parametrize("result", RESULTS, ids=lambda each: type(each).__name__)
def test_json_is_a_line_an_object(result: Result) -> None:
    for line in show.json_lines(result):
        assert "\n" not in line
        assert isinstance(json.loads(line), dict)


def test_names_that_a_guest_chose_cannot_move_the_cursor() -> None:
    evil = "ram\x1b[2Jname\r\n"
    results: list[Result] = [
        Ram((Range(0, 4096, evil),), 4096, None),
        Console("echo", evil),
        Note(evil),
        Odd(0, 4, 0, evil, evil),
        RootsFound(Roots(True, "radix", evil, 1, None, evil, "likely", (Attempt(evil, evil),)), ()),
        Exported(Written(evil, "csv", 1, 1)),
        Found(Rows((Field(evil, "word"), Field("b", "word")), [(evil, evil)])),
        Recorded(Summary(evil, 1, 1, 1, 1, 0, 1), 4096, False),
    ]
    for result in results:
        text = "".join(show.text(result, Style(True)))
        assert "\x1b[2J" not in text
        assert "\r" not in text
        assert "ram\\x1b[2Jname" in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a b…", "a b…"), ("\x9b1m", "\\x9b1m"), ("\u202etxt", "\\u202etxt"), ("\udc80", "\\udc80"), ("\n", "\\x0a")],
)
def test_what_would_steer_a_terminal_is_made_visible(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_wrapping_dresses_every_line_and_keeps_words_apart() -> None:
    assert Style(True, 40).wrap("one\n" + "x" * 36 + "\ttwo", "  ", kind="bad") == [
        Style(True)("bad", "  one"),
        Style(True)("bad", "  " + "x" * 36),
        Style(True)("bad", "  two"),
    ]


@pytest.mark.parametrize(("number", "text"), [(0, "0 runs"), (1, "1 run"), (2, "2 runs")])
def test_counting(number: int, text: str) -> None:
    assert counted(number, "run") == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1, "1"), (4096, "4K"), (3 << 16, "192K"), (1 << 52, "4P"), (4097, "4097")]
)
def test_sizes(size: int, text: str) -> None:
    assert compact_size(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (4097, "4097"),
        (192 << 10, "192K"),
        (399_996 << 10, "390.6M"),
        ((1 << 30) + 1, "1.0G"),
        (1 << 59, "512P"),
    ],
)
def test_sizes_in_six_characters(size: int, text: str) -> None:
    assert short_size(size) == text
