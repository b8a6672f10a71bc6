"""The keys that mean something of our own: Ctrl-C never ends the session."""

from __future__ import annotations

from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys


def bindings() -> KeyBindings:
    """Ctrl-C, pressed or sent as a signal: clears what is typed, or raises KeyboardInterrupt where nothing is."""
    keys = KeyBindings()

    @keys.add("c-c")
    @keys.add(Keys.SIGINT)
    def _(event: KeyPressEvent) -> None:
        # Not current_buffer: in a history search that is the search's own field.
        buffer = event.app.layout.get_buffer_by_name("DEFAULT_BUFFER") or event.current_buffer
        if event.app.layout.is_searching:
            from prompt_toolkit.search import stop_search

            stop_search()
        elif buffer.text:
            buffer.reset()
        elif not event.app.is_done:
            event.app.exit(exception=KeyboardInterrupt(), style="class:aborting")

    return keys
