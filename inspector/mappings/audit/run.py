"""An audit of whole address spaces."""

from __future__ import annotations

from collections.abc import Collection

from inspector.mappings.audit.collect import Collector
from inspector.mappings.audit.finding import Report
from inspector.mappings.audit.rules import RULES, chosen
from inspector.mappings.audit.subject import NOTHING, Progress, Subject, Surroundings
from inspector.mappings.select import Selection

TOLD = 5
"""Findings of a rule that are told, where nothing is said."""


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
    about mappings are asked, of those. ``around`` is what the spaces alone do not say. Raises UsageError for a rule
    that is not there, and TargetError where tables must be read again and the target is lost."""
    asked = chosen() if rules is None else chosen(rules) if rules else ()
    report = Report(asked, severities={slug: rule.severity for slug, rule in RULES.items()})
    collector = Collector(report, limit)
    return collector.done()
