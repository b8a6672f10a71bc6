"""Findings gathered rule by rule, some told and all counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from inspector.mappings.audit.finding import Finding, Report


class Collector:
    """Gathers the findings of the rules that are asked, ``limit`` of each at most (None: all)."""

    def __init__(self, report: Report, limit: int | None) -> None:
        self.report = report
        self.limit = limit
        self.told: dict[str, list[Finding]] = {}

    def asks(self, *rules: str) -> bool:
        """Whether any of these rules is asked."""
        return any(rule in self.report.rules for rule in rules)

    def add(self, rule: str, total: int, findings: Iterable[Finding]) -> None:
        """``total`` findings of a rule, of which ``findings`` gives at least as many as are to be told, in order. It is
        not run further than it has to."""
        if rule not in self.report.rules or not total:
            return
        self.report.counts[rule] += total
        told = self.told.setdefault(rule, [])
        room = total if self.limit is None else max(self.limit - len(told), 0)
        told.extend(islice(findings, room))

    def done(self) -> Report:
        """The report, whole."""
        for rule in self.report.rules:
            told = self.told.get(rule)
            if told:
                more = self.report.counts[rule] - len(told)
                self.report.findings += [*told[:-1], replace(told[-1], more=more)]
        return self.report
