"""What the tests of several commands share."""

from __future__ import annotations

import pytest

from tests.commands.changing import Live


@pytest.fixture
def live() -> Live:
    return Live()
