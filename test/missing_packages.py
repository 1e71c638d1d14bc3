"""A pytest plugin: test files that import a package which is not installed are skipped."""

from __future__ import annotations

import re
from collections.abc import Generator

import pytest

OURS = {"ssvif_core", "ssvif_ros"}


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn "no module named" of others' packages into a skip."""
    report = yield
    text = str(report.longrepr)
    missing = re.search(r"No module named '(\w+)", text)
    if report.failed and missing and missing[1] not in OURS:
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, f"Skipped: {missing[1]} is not installed")
    return report
