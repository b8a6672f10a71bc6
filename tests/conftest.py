"""What every test shares: the marks that take arguments, and property tests that do not look at the clock."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "guests(*kinds): the kinds of guest that a live test's 'guest' is, one a run")
