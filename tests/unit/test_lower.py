"""From settled networks to the desired state: what belongs to the project as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from reconciler import drivers
from reconciler.errors import DriverError
from reconciler.firewall import Zone, guard_of
from reconciler.host import Facts, HostLink
from reconciler.lowering.lower import lower
from reconciler.networks import Endpoint, Network, Subnet, Topology
from reconciler.resources import GUARD_TABLE, HOST, Key, Link, Netns, NftTable, Resource, State, Sysctl

ETH0 = HostLink("eth0", "", 1500, up=True)
OTHERS = HostLink("other-net", "bridge", 1500, up=True, owner="other")
FACTS = Facts(links={"lo": HostLink("lo", "", 65536, up=True), "eth0": ETH0, "other-net": OTHERS})
IPV4 = Network("shop", "front", "bridge", 1500, subnets=(Subnet("10.20.0.0/24", "10.20.0.1"),))
IPV6 = Network("shop", "six", "bridge", 1500, subnets=(Subnet("fd00:20::/64", "fd00:20::1"),))


def lowered(*networks: Network, facts: Facts = FACTS) -> State:
    return lower(Topology("shop", networks=networks), facts)


def sysctls(state: State) -> dict[str, str]:
    return {one.name: one.value for one in state.values() if isinstance(one, Sysctl)}


def guarded(state: State) -> dict[int, tuple[str, ...]]:
    table = state.get(Key("nft", f"inet {GUARD_TABLE}"))
    return guard_of(table.text) if isinstance(table, NftTable) else {}


def test_sandboxes_are_desired_also_where_they_are_on_no_network() -> None:
    web = Netns("web", "netns:web")
    assert lower(Topology("shop", sandboxes=(web,)), FACTS) == {web.key: web}


def test_each_network_gets_what_its_driver_says_and_the_project_one_table() -> None:
    state = lowered(IPV4, replace(IPV4, name="back", subnets=(Subnet("10.21.0.0/24", "10.21.0.1"),)))
    assert {Key("link", "front"), Key("link", "back"), Key("nft", "inet netapply-shop")} <= state.keys()


def test_a_network_with_a_way_out_makes_the_host_forward_its_family_only() -> None:
    assert sysctls(lowered(IPV4)) == {"net.ipv4.ip_forward": "1"}
    assert sysctls(lowered(IPV6)) == {"net.ipv6.conf.all.forwarding": "1"}


@pytest.mark.parametrize("closed", [{"internal": True}, {"options": {"gateway_mode": "isolated"}}])
def test_networks_without_a_way_out_leave_the_host_as_it_is(closed: dict[str, Any]) -> None:
    state = lowered(replace(IPV4, **closed), replace(IPV6, **closed))
    assert sysctls(state) == {}
    assert guarded(state) == {}


def test_what_did_not_forward_before_goes_on_not_forwarding() -> None:
    assert guarded(lowered(IPV4)) == {4: ("eth0",)}
    assert guarded(lowered(IPV4, IPV6)) == {4: ("eth0",), 6: ("eth0",)}


def test_a_host_that_forwards_already_is_not_guarded() -> None:
    facts = replace(FACTS, forwarding_ipv4=True)
    assert guarded(lowered(IPV4, facts=facts)) == {}
    assert guarded(lowered(IPV4, IPV6, facts=facts)) == {6: ("eth0",)}


def test_a_guard_that_is_there_stays_as_it_is() -> None:
    facts = replace(FACTS, forwarding_ipv4=True, guard={4: ("eth7", "wlan0")})
    assert guarded(lowered(IPV4, facts=facts)) == {4: ("eth7", "wlan0")}


def test_links_that_take_router_advertisements_go_on_taking_them() -> None:
    facts = replace(FACTS, accept_ra=("eth0",))
    assert sysctls(lowered(IPV4, facts=facts)) == {"net.ipv4.ip_forward": "1"}
    assert sysctls(lowered(IPV6, facts=facts)) == {
        "net.ipv6.conf.eth0.accept_ra": "2",
        "net.ipv6.conf.all.forwarding": "1",
    }


def test_zones_of_networks_that_stay_unnamed_are_in_the_table_too() -> None:
    old = Zone("old", "shop-old", ("10.29.0.0/24",))
    table = lower(Topology("shop", networks=(IPV4,)), FACTS, [old])[Key("nft", "inet netapply-shop")]
    assert isinstance(table, NftTable)
    assert "shop-old" in table.text
    assert "shop-front" in table.text


def test_lowering_is_pure() -> None:
    end = Endpoint("web", "front", "eth0", "02:00:00:00:00:01", ("10.20.0.10/24",))
    one = replace(IPV4, endpoints=(end,))
    assert lowered(one, IPV6) == lowered(one, IPV6)
    assert {**lowered(IPV6, one)} == {**lowered(one, IPV6)}


def test_an_unknown_driver_is_named() -> None:
    with pytest.raises(DriverError, match="there is no driver brigde"):
        lowered(replace(IPV4, driver="brigde"))


def test_a_driver_that_says_a_thing_twice_is_at_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    class Twice:
        @staticmethod
        def lower(network: Network) -> Iterator[Resource]:
            yield Link(network.name, "bridge", HOST, "one")
            yield Link(network.name, "bridge", HOST, "other")

    monkeypatch.setattr(drivers, "find", lambda name: Twice)
    with pytest.raises(DriverError, match="link front is there twice"):
        lowered(IPV4)
