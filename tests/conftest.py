"""What every test shares: the marks that take arguments, and property tests that do not look at the clock."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

CI = bool(os.environ.get("CI"))
"""There what is tried is the same each time: what only some of all examples show is for whoever can look into it."""
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=CI)
settings.load_profile("patient")


def pytest_configure(config: pytest.Config) -> None:
    # Whoever starts the tests in the background, or by nohup, has these ignored, by all that they start too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    config.addinivalue_line("markers", "guests(*kinds): the kinds of guest that a live test's 'guest' is, one a run")
