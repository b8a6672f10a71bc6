"""The picture: one page of HTML that holds what was found and needs no network.

:mod:`inspector.reporting` says what is in it; this room knows how it is packed and put together."""
