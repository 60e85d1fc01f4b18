"""Kernel tests run as root, each in an isolated host of its own, never in the machine's own namespaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.isolation import lacks
from tests.machine import Machine, machine, snapshot

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mine = [item for item in items if HERE in item.path.parents]
    reason = lacks() if mine else None
    for item in mine:
        item.add_marker(pytest.mark.root)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session", autouse=True)
def _canary() -> Iterator[None]:
    """The machine's own network is the same after the kernel tests as before."""
    if lacks():
        yield
        return
    before = snapshot()
    yield
    assert snapshot() == before, "a kernel test changed the network of the machine it ran on"


@pytest.fixture(autouse=True)
def host(_canary: None) -> Iterator[Machine]:
    """An isolated host of the test's own, in which the test itself runs, whether it asks for it or not."""
    with machine() as new:
        yield new


@pytest.fixture(scope="session")
def new_host() -> Callable[[], AbstractContextManager[Machine]]:
    """Makes further isolated hosts, one for each example of a property: `with new_host() as host:`."""
    return machine


@pytest.fixture(params=[False, True], ids=["bridge-nf-0", "bridge-nf-1"])
def bridge_nf(request: pytest.FixtureRequest, host: Machine) -> bool:
    """Runs the test twice, with bridged packets kept from the firewall and passed to it."""
    on = bool(request.param)
    host.bridge_nf(on)
    return on
