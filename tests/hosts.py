"""What the tests on real kernels share: root or a skip, an isolated host for each test, a canary for the machine's own.

A folder of such tests has a conftest.py that takes all of it over; see tests/kernel and tests/vm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from . import warm
from .features import lacking
from .isolation import lacks
from .machine import COLD, IN_VM, Machine, machine, snapshot


def only_for_root(folder: Path, items: Iterable[pytest.Item]) -> None:
    """Mark the tests below a folder as `root`; where there can be no isolated host they are skipped, and say why."""
    mine = [item for item in items if folder in item.path.parents]
    reason = lacks() if mine else None
    for item in mine:
        item.add_marker(pytest.mark.root)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test if the kernel lacks what it needs (marker `needs_kernel`). In the VM, which is for that, it fails."""
    reason = lacking(name for marker in item.iter_markers("needs_kernel") for name in marker.args)
    if reason and IN_VM:
        pytest.fail(f"{reason}, which is what this machine is for", pytrace=False)
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def canary() -> Iterator[None]:
    """The machine's own network is the same after the tests as before."""
    if lacks():
        yield
        return
    before = snapshot()
    if not COLD:
        warm.begin()  # here, where it is in no host that ends with a test
    yield
    assert snapshot() == before, "a test changed the network of the machine it ran on"


@pytest.fixture(autouse=True)
def host(canary: None) -> Iterator[Machine]:
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
