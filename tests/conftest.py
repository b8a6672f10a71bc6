"""What every test shares: the marks that take arguments."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "guests(*kinds): the kinds of guest that a live test's 'guest' is, one a run")
