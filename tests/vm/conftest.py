"""Tests of what only stock kernels have. They run as those in tests/kernel do, where the kernel has what they need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts import bridge_nf, canary, host, new_host, only_for_root, pytest_runtest_setup

__all__ = ["bridge_nf", "canary", "host", "new_host", "pytest_runtest_setup"]

HERE = Path(__file__).parent
LONG = ("test_wireguard.py", "test_wireguard_traffic.py", "test_bridge_vlan.py", "test_examples.py")
"""The files with the tests that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    only_for_root(HERE, items)
    items.sort(key=lambda item: item.path.name not in LONG)  # else one worker is still busy with one when all is done
