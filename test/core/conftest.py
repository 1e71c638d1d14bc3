from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ssvif_core.engines import ENGINES, why_not

sys.path.insert(0, str(Path(__file__).parent))  # boards, films, full_disk, planted

from films import people  # noqa: F401  a fixture that several folders use


@pytest.fixture(
    params=[
        pytest.param(name, marks=pytest.mark.gpu if name == "tensorrt" else ()) for name in ENGINES
    ]
)
def engine(request: pytest.FixtureRequest) -> str:
    """Name of each engine in turn; those that this machine cannot run are skipped."""
    reason = why_not(request.param)
    if reason is not None:
        pytest.skip(reason)
    return request.param
