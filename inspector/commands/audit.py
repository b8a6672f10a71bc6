"""``audit``: what is wrong with the address spaces, or worth knowing."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from inspector.commands.notes import Note
from inspector.commands.registry import Answered, Command, Example, Parser, Session
from inspector.commands.scope import (
    Beside,
    Unfinished,
    count,
    looked_at,
    not_there,
    scope_arguments,
    selection_arguments,
    selection_of,
    tables_within,
)
from inspector.commands.whose import lpid_of, nested_of
from inspector.errors import UnknownSymbol, UsageError
from inspector.guest import Guest
from inspector.mappings.audit.finding import RANK, Finding, Severity
from inspector.mappings.audit.rules import RULES, Rule, chosen, rule_named
from inspector.radix.bits import PTCR_PATB, PTCR_PATS, REAL_MODE_MASK, table_bytes

if TYPE_CHECKING:
    from inspector.mappings.audit.subject import Surroundings
    from inspector.partitions import Partition
    from inspector.spaces import Spaces

NEVER = "never"
MOST_TOLD = "5"
SHARED = "host-page-shared"


@dataclass(frozen=True, slots=True)
class Found(Answered):
    """One finding. Whether the audit fails is for its end to say."""

    topic: ClassVar[str] = "audit"
    finding: Finding


@dataclass(frozen=True, slots=True)
class Audited:
    """The end of an audit: how many findings of each severity there are, how many rules were asked, and what of."""

    topic: ClassVar[str] = "audit"
    found: dict[Severity, int]
    rules: int
    trees: int
    tables: int
    leaves: int
    failed: bool

    @property
    def ok(self) -> bool:
        """Whether nothing was found that the audit is to fail on."""
        return not self.failed


@dataclass(frozen=True, slots=True)
class Listed(Answered):
    """One rule, and whether it is told in full."""

    topic: ClassVar[str] = "audit"
    rule: Rule
    whole: bool


Answer = Found | Audited | Listed | Beside


def _audit(session: Session, arguments: Namespace) -> Iterator[Answer]:
    from inspector.mappings.audit.judging import NOT_OF_GUESTS, judging
    from inspector.mappings.audit.run import audit, of_selection

    asked, without = _names(arguments.rule), _names(arguments.no_rule)
    rules = chosen(asked, without, arguments.severity)
    if arguments.rules:
        named = {rule_named(name).slug for name in asked}
        picky = named or arguments.severity or without
        yield from (Listed(rule, bool(named)) for slug, rule in RULES.items() if not picky or slug in rules)
        return
    limit = count(session, arguments.limit, "--limit", MOST_TOLD)
    selection = selection_of(session, arguments)
    if not of_selection(rules, selection):
        # A script that asks nothing must not be told that nothing is wrong.
        way = "leave out the conditions" if rules else "leave out some --no-rule"
        raise UsageError(f"no rule is left to ask; {way}, or name other rules with --rule")
    spaces = yield from looked_at(session, arguments, composed=False)
    if spaces is None:
        return
    guest = session.at
    lpid = lpid_of(session, arguments)
    if lpid and not spaces.trees and not spaces.missed.length:
        yield from map(not_there, spaces.absent)
        return  # it has no table to judge, and that was said
    held = judging(rules, spaces.roots)
    if nested_of(session, arguments):
        held = tuple(rule for rule in held if rule not in NOT_OF_GUESTS)
    if not of_selection(held, selection):
        what = "partition-scoped trees are" if arguments.partition else "these trees are"
        raise UsageError(f"{what} held to none of these rules; name others with --rule, 'audit --rules' lists them")
    within = tables_within(session, arguments)
    if within is not None:
        whose = f"LPID {within.lpid}"
        yield Note(f"real addresses here are what {whose} calls so, guest real: it is its own tables that are judged")
    if SHARED in held and arguments.lpid is not None:
        yield Note(f"{SHARED} compares the guests that are looked at: leave --lpid out to look at all")

    def progress(done: int, total: int) -> None:
        guest.progress("auditing the leaves", done, total)

    around = surroundings(guest, within)
    report = audit(spaces, held, around=around, selection=selection, limit=limit, progress=progress)
    yield from (Found(finding) for finding in report)
    yield from map(not_there, spaces.absent)
    if len(report.rules) < len(held):
        left = len(held) - len(report.rules)
        yield Note(f"{left} of the rules are about tables, and are not asked where mappings are chosen")
    needed = {"table-unread"} if arguments.partition else {"table-unread", "process-table-unread"}
    if not needed <= set(report.rules):
        yield from _unread(spaces, arguments.fail_on == NEVER)
    failed = arguments.fail_on != NEVER and report.fails(arguments.fail_on)
    tables = sum(len(slab.address) for slab in spaces.sweep.slabs)
    trees, leaves = len(spaces.roots), spaces.sweep.leaf_count
    yield Audited(report.by_severity, len(report.rules), trees, tables, leaves, failed)


def _unread(spaces: Spaces, never: bool) -> Iterator[Note | Unfinished]:
    """That not all was looked at, where the rules that tell so were not asked. Where the audit is ``never`` to fail
    this is no finding either."""
    from inspector.mappings.audit.trees import OF_CAUSE

    counts = spaces.sweep.findings.counts
    unread = sum(counts[cause] for cause, rule in OF_CAUSE.items() if rule == "table-unread" and cause in counts)
    if unread or spaces.missed.length:
        what = f"{unread} of the tables" if unread else "part of the process table"
        text = f"{what} could not be read, so not all was audited; 'audit' with all its rules tells where"
        yield Note(text) if never else Unfinished(text)


def _names(texts: Sequence[str] | None) -> list[str]:
    """The rules that an option names, each time one or several with commas between them."""
    return [name for text in texts or () for name in text.split(",")]


def surroundings(guest: Guest, within: Partition | None = None) -> Surroundings:
    """What an audit should know of ``guest`` besides its address spaces; of tables ``within`` a KVM guest there is
    nothing but the memory that they lie in."""
    from inspector.mappings.audit.subject import Surroundings

    if within is not None:
        return Surroundings(read_runs=within.memory.read_runs)
    ptcr, memory = guest.roots.ptcr, guest.memory
    table = (ptcr & PTCR_PATB, table_bytes(ptcr & PTCR_PATS)) if ptcr else None
    return Surroundings(_kernel_text(guest), table, memory.read_runs, memory.windows)


def _kernel_text(guest: Guest) -> tuple[int, int] | None:
    """(start, end) of the kernel's code, real addresses, where symbols of its image say it."""
    try:
        start, end = (guest.symbol_value(name) & REAL_MODE_MASK for name in ("_stext", "_etext"))
    except UnknownSymbol:
        return None
    return (start, end) if start < end else None


def _arguments(parser: Parser) -> None:
    parser.add_argument("--rules", action="store_true", help="list the rules; with --rule, tell of these in full")
    parser.add_argument("--rule", metavar="NAME,…", action="append", help="ask this rule (and others so named) alone")
    parser.add_argument("--no-rule", metavar="NAME,…", action="append", help="leave this rule out")
    parser.add_argument("--severity", choices=list(RANK), help="ask all rules that are so grave or graver")
    parser.add_argument(
        "--fail-on", choices=[*RANK, NEVER], default="warning", help="exit with 1 if there is any so grave (warning)"
    )
    parser.add_argument(
        "--limit", metavar="N", default=MOST_TOLD, help=f"findings of a rule to tell ({MOST_TOLD}); all count"
    )
    scope_arguments(parser)
    selection_arguments(parser)


COMMANDS = (
    Command(
        "audit",
        "what is wrong with the page tables, or worth knowing",
        _audit,
        _arguments,
        (
            Example("audit", "every process and the kernel, by the rules that healthy Linux keeps"),
            Example("audit --rules", "what is looked for; (off) is what must be asked for"),
            Example("audit --rules --rule wx-alias", "what one rule means, and where that is from"),
            Example("audit --rule wx-mapping --rule wx-alias --fail-on error", "only these, for a script"),
            Example("audit --pid 0 --severity info --limit 2", "the kernel's, with what Linux does every day"),
        ),
        "The exit status is 1 if there is a warning or an error (--fail-on says otherwise), and 0 if there is none. "
        "With --lpid it is a KVM guest's own trees that are judged, all addresses being guest real; with --partition "
        "what the host has behind its guests, by the rules that make sense there: user mode may do everything in it. "
        "Rules that tell what healthy Linux does every day are off; --severity and --rule ask them too. With --pid, "
        "mappings are compared with those of these processes alone. Pages that "
        "continue each other are one finding. A finding of a table is not about a mapping: where mappings are chosen "
        '(--ea, --rights, …), only rules about mappings are asked. In JSON, findings are objects with "rule", and the '
        'last object is the "summary".',
    ),
)
