"""An audit of whole address spaces."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from inspector.mappings.audit.aliases import NO_ROWS, Executed, aliases, executed, writers
from inspector.mappings.audit.collect import Collector
from inspector.mappings.audit.entries import tell_entries, tell_table
from inspector.mappings.audit.finding import Report
from inspector.mappings.audit.hostpages import host_pages
from inspector.mappings.audit.judging import judged, judging, of_processes
from inspector.mappings.audit.leaves import BLOCK, CHECKS, NO_STRETCHES, Places, all_blocks
from inspector.mappings.audit.leftovers import tell_leftovers
from inspector.mappings.audit.overlaps import name_at, other_tables, stretches_of, tell_overlaps
from inspector.mappings.audit.rules import RULES, chosen, rule_named
from inspector.mappings.audit.sharing import tell_sharing
from inspector.mappings.audit.stretches import Stretches
from inspector.mappings.audit.subject import NOTHING, Progress, Subject, Surroundings
from inspector.mappings.audit.telling import Gathered, Say, begins, tell_aliases, tell_leaves
from inspector.mappings.audit.trees import tell_directories, tell_oddities
from inspector.mappings.select import Selection
from inspector.radix.columns import Bools, Columns, Rows

TOLD = 5
"""Findings of a rule that are told, where nothing is said."""
ALIASES = ("wx-alias", "wx-alias-linear")
OF_CODE = ("kernel-text-user", "kernel-text-writable", *ALIASES)
"""Rules that need to know what may be executed."""
OF_TABLES = ("tables-user", "tables-guest", "tables-alias")
SHARED = "host-page-shared"


def audit(
    spaces: Subject,
    rules: Collection[str] | None = None,
    *,
    around: Surroundings = NOTHING,
    selection: Selection | None = None,
    limit: int | None = TOLD,
    progress: Progress = lambda _done, _total: None,
) -> Report:
    """What these rules (slugs; None: those on by default) find in these address spaces (``guest.spaces()``).

    ``limit`` findings of a rule are told (None: all), and all are counted. With a ``selection`` of mappings, only rules
    about mappings are asked, of those; rules that none of the trees is held to are not. ``around`` is what the spaces
    alone do not say. Raises UsageError for a rule that is not there, and TargetError where tables must be read again
    and the target is lost."""
    wanted = chosen() if rules is None else {rule_named(name).slug for name in rules}
    some = selection is not None and not selection.everything
    asked = of_selection(judging(wanted, spaces.roots), selection)
    report = Report(asked, severities={slug: rule.severity for slug, rule in RULES.items()})
    collector = Collector(report, limit)
    if not some:
        _tables(collector, spaces, around)
    if collector.asks(*CHECKS, *ALIASES):
        columns = spaces.columns
        meant = selection.mask(columns) if some and selection is not None else None
        _leaves(collector, spaces, columns, around, meant, progress)
    return collector.done()


def of_selection(rules: Collection[str], selection: Selection | None) -> tuple[str, ...]:
    """Those of ``rules`` that can be asked of these mappings, in order: of all of them (None) every one."""
    some = selection is not None and not selection.everything
    return tuple(slug for slug in RULES if slug in rules and (not some or slug in CHECKS or slug in ALIASES))


def _tables(collector: Collector, spaces: Subject, around: Surroundings) -> None:
    """The rules about tables."""
    tell_table(collector, spaces)
    tell_entries(collector, spaces)
    tell_oddities(collector, spaces)
    tell_directories(collector, spaces)
    tell_sharing(collector, spaces)
    tables = spaces.sweep.tables()
    tell_overlaps(collector, spaces, tables, other_tables(spaces, around))
    if collector.asks("invalid-entry"):
        tell_leftovers(collector, spaces, tables, around)


def _leaves(
    collector: Collector,
    spaces: Subject,
    columns: Columns,
    around: Surroundings,
    meant: Bools | None,
    progress: Progress,
) -> None:
    """The rules about mappings, of those that are ``meant`` (None: all)."""
    code = executed(columns) if collector.asks(*OF_CODE) else None
    others = other_tables(spaces, around)
    tables = spaces.sweep.tables() if collector.asks(*OF_TABLES) else None
    among = host_pages(columns) if collector.asks(SHARED) else None
    lie = NO_STRETCHES if tables is None else stretches_of(tables, others)
    places = _places(spaces, around, code, lie, NO_STRETCHES if among is None else among.places)
    checks = {rule: check for rule, check in CHECKS.items() if collector.asks(rule)}
    held = {rule: judged(rule, columns) for rule in checks}
    found = {rule: Gathered(collector.limit) for rule in checks}
    written: list[Rows] = []
    sought = code.where(~code.written) if code is not None and collector.asks(*ALIASES) else NO_STRETCHES
    for first, block in all_blocks(columns):
        progress(first, len(columns))
        apart: Bools | None = None
        for rule, check in checks.items():
            hit = check(block, places)
            some = held[rule]
            if some is not None:
                hit = hit & some[block.columns.root]
            if meant is not None:
                hit = hit & meant[first : first + BLOCK]
            rows = np.flatnonzero(hit)
            if len(rows):
                apart = begins(columns, first, BLOCK) if apart is None else apart
                found[rule].add(rows + first, apart, first)
        if len(sought):
            may = writers(block, sought)
            mine = of_processes(block.columns)
            written.append(np.flatnonzero(may if mine is None else may & mine) + first)
    progress(len(columns), len(columns))
    says: dict[str, Say] = {}
    if tables is not None:
        for rule in OF_TABLES:
            title = RULES[rule].title
            says[rule] = lambda run, title=title: (  # type: ignore[misc]
                f"{title}, {name_at(spaces, tables, others, run.ra, run.size)} among them",
                None,
            )
    if among is not None:
        says[SHARED] = lambda run, among=among: among.say(run, RULES[SHARED].title)  # type: ignore[misc]
    for rule, gathered in found.items():
        tell_leaves(collector, columns, rule, gathered, says.get(rule))
    if code is not None and len(sought):
        for rule, pairs in zip(ALIASES, aliases(columns, code, np.concatenate([NO_ROWS, *written])), strict=True):
            tell_aliases(collector, columns, rule, pairs, _both_hold(meant, of_processes(columns)))


def _both_hold(one: Bools | None, other: Bools | None) -> Bools | None:
    """Where both do, None being everywhere."""
    if one is None or other is None:
        return one if other is None else other
    found: Bools = one & other
    return found


def _places(
    spaces: Subject, around: Surroundings, code: Executed | None, tables: Stretches, shared: Stretches
) -> Places:
    """The real addresses that rules ask about."""
    ram = Stretches.spans(spaces.ram.spans())
    if code is None:
        return Places(ram, tables=tables, shared=shared)
    known = NO_STRETCHES if around.text is None else Stretches.spans([around.text])
    linear, elsewhere = (code.where(code.privileged & which) for which in (code.linear, ~code.linear))
    if len(known) and linear.touched(known.first, known.end).any():
        text = _both(known, elsewhere)
    else:  # no symbols, or another kernel's: it does not run where they say
        known, text = NO_STRETCHES, _both(linear, elsewhere)
    return Places(ram, text, known, tables, shared)


def _both(one: Stretches, other: Stretches) -> Stretches:
    return Stretches.of(np.concatenate([one.first, other.first]), np.concatenate([one.end, other.end]))
