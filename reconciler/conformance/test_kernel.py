"""The driver on the kernel, in namespaces of the suite's own."""

from __future__ import annotations

import os

import pytest

from .checks import it_is_the_same_on_the_kernel, try_out
from .subject import ISOLATED, Subject


def test_the_driver_on_the_kernel(subject: Subject, examples: int, pytestconfig: pytest.Config) -> None:
    if not pytestconfig.getoption("netapply_kernel") or not os.environ.get(ISOLATED):
        pytest.skip("as root, by `python -m reconciler.conformance NAME --netapply-kernel`")
    try_out(it_is_the_same_on_the_kernel, subject, examples)
