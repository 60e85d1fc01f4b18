"""Kernel tests run as root, each in an isolated host of its own, never in the machine's own namespaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts import bridge_nf, canary, host, new_host, only_for_root, pytest_runtest_setup
from tests.machine import Machine, Outside

__all__ = ["bridge_nf", "canary", "host", "new_host", "pytest_runtest_setup"]

HERE = Path(__file__).parent
LONG = ("test_killed.py", "test_rollback.py", "test_plugins_rollback.py")
"""The files with the tests that take longest."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    only_for_root(HERE, items)
    items.sort(key=lambda item: item.path.name not in LONG)  # else one worker is still busy with one when all is done


@pytest.fixture
def outside(host: Machine) -> Outside:
    """What plays the outside of the host."""
    return host.outside()


@pytest.fixture
def manifest(request: pytest.FixtureRequest, host: Machine, outside: Outside, tmp_path: Path) -> Path:
    """The module's MANIFEST in a file, applied on a host that has an outside."""
    path = tmp_path / "shop.yaml"
    path.write_text(request.module.MANIFEST)
    host.netapply(path)
    host.bridge_nf(False)
    return path
