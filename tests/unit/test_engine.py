"""The engine's own decisions; what it does to hosts is in the kernel tests and in test_converge_random."""

from __future__ import annotations

from dataclasses import replace

from reconciler.engine import FEW, _touched
from reconciler.plan import Create, Delete, Update
from reconciler.resources import Address, Link, Netns, Peer, Route, Sysctl

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
