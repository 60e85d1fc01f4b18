"""The suite as pytest collects it: one test for each check."""

from __future__ import annotations

import pytest

from .checks import CHECKS, try_out
from .subject import Subject


@pytest.mark.parametrize("check", CHECKS)
def test_the_driver(check: str, subject: Subject, examples: int) -> None:
    try_out(CHECKS[check], subject, examples)
