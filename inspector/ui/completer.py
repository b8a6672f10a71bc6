"""Hands what :mod:`inspector.ui.suggest` suggests to prompt_toolkit."""

from __future__ import annotations

from collections.abc import Iterable

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from inspector.ui.suggest import Vocabulary, suggest


class WordCompleter(Completer):
    """Completes from a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """What could stand at the cursor. Nothing where it cannot be told: completion never disturbs typing."""
        try:
            found = suggest(document.text, document.cursor_position, self.vocabulary)
        except Exception:
            # A bug here is met by the tests of suggest; in the middle of a line it would only get in the way.
            return
        for each in found:
            yield Completion(each.text, each.start - document.cursor_position, display_meta=each.meta)
