"""Two tiers, one switch: tests/unit run anywhere; tests/real need root, KVM and real QEMUs, and skip with a reason.

With COLOTRACE_REQUIRE_REAL=1 a skip anywhere is a failure: CI must not pass by not looking.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

REQUIRE_REAL = os.environ.get("COLOTRACE_REQUIRE_REAL") == "1"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, object, None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    if REQUIRE_REAL and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"COLOTRACE_REQUIRE_REAL=1, and this was skipped: {report.longrepr}"
