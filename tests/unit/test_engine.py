"""The engine's own decisions; what it does to hosts is in the kernel tests and in test_converge_random."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from reconciler import engine
from reconciler.engine import FEW, _touched
from reconciler.errors import ApplyFailed
from reconciler.host import Result
from reconciler.host.fake import FakeHost
from reconciler.plan import Change, Create, Delete, Update
from reconciler.resources import Address, Link, Netns, Peer, Route, Sysctl
from tests.strategies import manifest

WEB = Link("web/front", "veth", "", "ve1", peer=Peer("web", "eth0"))


def test_a_repaired_endpoint_is_verified_by_itself() -> None:
    route = Route("web", "0.0.0.0/0", "10.0.0.1", "web/front")
    assert _touched([Create(WEB), Create(Address("web/front", "10.0.0.2/24")), Create(route)]) == {"web"}


def test_what_belongs_to_the_host_is_verified_with_all_the_rest() -> None:
    bridge = Link("front", "bridge", "", "shop-front")
    for other in (bridge, Address("front", "10.0.0.1/24"), Sysctl("net.ipv4.ip_forward", "1")):
        assert _touched([Create(WEB), Create(other)]) == set()
    assert _touched([Update(bridge, replace(bridge, mtu=1400), ("mtu",))]) == set()


def test_what_a_killed_run_left_is_verified_with_all_the_rest() -> None:
    assert _touched([Delete(Link("?ve7", "veth", "", "ve7"))]) == set()
    assert _touched([Delete(replace(WEB, peer=Peer("@77", "eth0")))]) == set()


def test_many_containers_are_verified_with_all_the_rest() -> None:
    def of(number: int) -> list[Create]:
        return [Create(Netns(f"c{one}", f"netns:c{one}")) for one in range(number)]

    assert len(_touched(of(FEW))) == FEW
    assert _touched(of(FEW + 2)) == set()


class Noting(FakeHost):
    """Notes which changes it was asked to make, list by list."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: list[list[str]] = []

    def apply(self, changes: Sequence[Change]) -> Iterator[Result]:
        tried: list[str] = []
        self.lists.append(tried)
        for change in changes:
            tried.append(f"{type(change).__name__} {change.key}")
            yield from super().apply([change])


def test_after_a_failed_delete_the_deletes_next_to_it_are_tried_and_nothing_else() -> None:
    def trap(doing: str) -> None:
        if doing == "delete link front":
            raise OSError(errno.EBUSY, "busy")

    host = Noting()
    engine.converge(manifest({"project": "shop", "networks": {"back": {}, "front": {}}}), host)
    host.trap = trap
    with pytest.raises(ApplyFailed, match="delete link front: busy"):
        engine.converge(manifest({"project": "shop", "networks": {"lan": {}}}), host)
    assert host.lists[1] == ["Delete link front", "Delete link back"]


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), -1.0])
def test_no_run_waits_for_ever(timeout: float) -> None:
    with pytest.raises(ValueError, match="lock_timeout"):
        engine.Options(lock_timeout=timeout)
