"""The built-in drivers: the contract, and what each makes of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from reconciler import drivers
from reconciler.drivers import Driver, bridge, macvlan
from reconciler.firewall import Zone
from reconciler.manifest.model import EndpointSpec, NetworkSpec
from reconciler.networks import Endpoint, Network, Parent, StaticRoute, Subnet
from reconciler.resources import HOST, Address, Link, Peer, Resource, Route

WEB = Endpoint(
    container="web",
    network="front",
    interface_name="eth0",
    mac="02:00:00:00:00:01",
    addresses=("10.20.0.10/24", "fd00:20::10/64"),
    routes=(StaticRoute("0.0.0.0/0", "10.20.0.1"), StaticRoute("::/0", "fd00:20::1")),
    sysctls={"ipv4.conf.rp_filter": "2"},
)
FRONT = Network(
    project="shop",
    name="front",
    driver="bridge",
    mtu=1400,
    subnets=(Subnet("10.20.0.0/24", "10.20.0.1"), Subnet("fd00:20::/64", "fd00:20::1")),
    endpoints=(WEB,),
)


def network(driver: str = "bridge", **changes: Any) -> Network:
    return replace(FRONT, driver=driver, **changes)


def lowered(one: Network) -> list[Resource | Zone]:
    driver = drivers.find(one.driver)
    assert driver is not None
    return list(driver.lower(one))


def link(one: Network, path: str) -> Link:
    return next(item for item in lowered(one) if isinstance(item, Link) and item.path == path)


def zone(one: Network) -> Zone:
    return next(item for item in lowered(one) if isinstance(item, Zone))


def complaints(driver: Driver, spec: NetworkSpec, ends: Sequence[EndpointSpec] = ()) -> list[tuple[Any, str]]:
    return [(complaint.path, complaint.what) for complaint in driver.check(spec, ends)]


# The contract


@pytest.mark.parametrize("name", drivers.built_in())
def test_a_driver_keeps_the_contract(name: str) -> None:
    driver = drivers.find(name)
    assert isinstance(driver, Driver)
    assert driver.SUMMARY
    assert not driver.SUMMARY.endswith(".")
    assert driver.__doc__
    assert all("description" in schema for schema in driver.OPTIONS.values())


NEEDED = {"cni": {"conflist": '{"type":"ptp"}'}, "docker-plugin": {"plugin": "lab"}, "overlay": {"vni": 4096}}
"""The options without which a driver's `check` would have refused the network."""


@pytest.mark.parametrize("name", drivers.built_in())
def test_lowering_twice_is_the_same_and_each_thing_comes_once(name: str) -> None:
    one = network(name, parent=Parent("eth0"), **({"options": NEEDED[name]} if name in NEEDED else {}))
    assert lowered(one) == lowered(one)
    keys = [item.key for item in lowered(one) if not isinstance(item, Zone)]
    assert len(keys) == len(set(keys))


def test_the_drivers_are_found_by_their_names() -> None:
    assert {"bridge", "host", "macvlan", "none"} <= set(drivers.available())
    assert drivers.find("bridge") is bridge
    assert drivers.find("brigde") is None


# bridge


def test_a_bridge_network_is_a_bridge_with_the_gateways_and_a_pair_for_each_endpoint() -> None:
    front, web = link(FRONT, "front"), link(FRONT, "web/front")
    assert (front.kind, front.sandbox, front.name, front.mtu) == ("bridge", HOST, "shop-front", 1400)
    assert (web.kind, web.sandbox, web.master, web.mtu) == ("veth", HOST, "front", 1400)
    assert web.peer == Peer("web", "eth0", mtu=1400, mac="02:00:00:00:00:01", ipv6=True)
    assert web.sysctls == {"ipv4.conf.rp_filter": "2"}
    addresses = [item for item in lowered(FRONT) if isinstance(item, Address)]
    assert {one.address for one in addresses if one.link == "front"} >= {"10.20.0.1/24", "fd00:20::1/64"}
    assert [one.address for one in addresses if one.link == "web/front"] == ["10.20.0.10/24", "fd00:20::10/64"]


def test_the_host_makes_no_ipv6_addresses_of_its_own_on_ports() -> None:
    assert link(FRONT, "web/front").ipv6 is False


def test_endpoints_without_ipv6_get_no_ipv6_addresses_from_the_kernel() -> None:
    plain = Endpoint("web", "front", "eth0", "02:00:00:00:00:01", ("10.20.0.10/24",))
    peer = link(network(endpoints=(plain,)), "web/front").peer
    assert peer is not None
    assert peer.ipv6 is False


def test_an_isolated_network_has_no_address_on_the_host() -> None:
    one = network(options={"gateway_mode": "isolated"})
    assert [item for item in lowered(one) if isinstance(item, Address) and item.link == "front"] == []
    assert not zone(one).forwards(4)
    assert not zone(one).forwards(6)


def test_the_gateway_mode_is_each_familys_own() -> None:
    one = network(options={"gateway_mode": "routed", "gateway_mode_ipv6": "isolated"})
    addresses = [item.address for item in lowered(one) if isinstance(item, Address) and item.link == "front"]
    assert addresses == ["10.20.0.1/24"]
    assert (zone(one).mode_ipv4, zone(one).mode_ipv6) == ("routed", "isolated")


def test_an_inhibited_gateway_leaves_the_routes_and_takes_the_address() -> None:
    one = network(options={"inhibit_gateway": True})
    assert [item for item in lowered(one) if isinstance(item, Address) and item.link == "front"] == []
    assert [item.via for item in lowered(one) if isinstance(item, Route)] == ["10.20.0.1", "fd00:20::1"]


@pytest.mark.parametrize("icc", [True, False])
def test_ports_are_isolated_where_containers_must_not_talk(icc: bool) -> None:
    one = network(options={"icc": icc, "hairpin": True})
    assert link(one, "web/front").port == {"isolated": not icc, "hairpin": True}
    assert zone(one).icc is icc


def test_a_network_says_its_share_of_the_firewall() -> None:
    one = network(internal=True, allow=("back",), options={"masquerade": False})
    assert zone(one) == Zone(
        network="front",
        interface="shop-front",
        subnets=("10.20.0.0/24", "fd00:20::/64"),
        internal=True,
        masquerade=False,
        allow=("back",),
    )


def test_an_external_bridge_is_used_and_not_made() -> None:
    one = network(external=True, options={"name": "br0"})
    assert [item.path for item in lowered(one) if isinstance(item, Link)] == ["web/front"]
    assert link(one, "web/front").master == "/br0"
    assert not any(isinstance(item, Zone) for item in lowered(one))


def test_a_protected_network_is_marked_on_its_links() -> None:
    one = network(protect=True)
    assert {item.tags for item in lowered(one) if isinstance(item, Link)} == {("protect",)}


def test_a_bridge_has_1023_ports_and_no_more() -> None:
    ends = [EndpointSpec(f"c{number}", "front") for number in range(1024)]
    assert complaints(bridge, NetworkSpec("front"), ends[:1023]) == []
    [(path, what)] = complaints(bridge, NetworkSpec("front"), ends)
    assert (path, "1023 ports at most" in what) == ((), True)


def test_an_external_bridge_needs_its_name() -> None:
    assert complaints(bridge, NetworkSpec("front", external=True, driver_opts={"name": "br0"})) == []
    assert [path for path, _ in complaints(bridge, NetworkSpec("front", external=True))] == [("external",)]


# macvlan


def test_a_macvlan_network_is_a_link_on_the_parent_for_each_endpoint() -> None:
    one = network("macvlan", options={"mode": "private", "bc_queue_len": 500}, parent=Parent("eth1"))
    web = link(one, "web/front")
    assert (web.kind, web.sandbox, web.name, web.parent) == ("macvlan", "web", "eth0", "/eth1")
    assert (web.mac, web.mtu, web.options) == ("02:00:00:00:00:01", 1400, {"mode": "private", "bc_queue_len": 500})
    assert len([item for item in lowered(one) if isinstance(item, Link | Zone)]) == 1


def test_a_macvlan_stands_on_the_parent_that_is_settled() -> None:
    one = network("macvlan", parent=Parent("wan0"))
    assert link(one, "web/front").parent == "/wan0"
    assert link(one, "web/front").options == {"mode": "bridge", "bc_queue_len": 1000}


def test_a_passthru_macvlan_has_its_parents_mac() -> None:
    assert link(network("macvlan", options={"mode": "passthru"}, parent=Parent("eth1")), "web/front").mac is None


def test_a_passthru_network_has_room_for_one() -> None:
    spec = NetworkSpec("lan", driver="macvlan", driver_opts={"mode": "passthru"})
    assert complaints(macvlan, spec, [EndpointSpec("web", "lan")]) == []
    assert complaints(macvlan, spec, [EndpointSpec("web", "lan"), EndpointSpec("db", "lan")]) == [
        (("driver_opts", "mode"), "a passthru network has room for one endpoint, and 2 are attached")
    ]


def test_a_passthru_endpoint_can_not_choose_its_mac() -> None:
    spec = NetworkSpec("lan", driver="macvlan", driver_opts={"mode": "passthru"})
    assert len(complaints(macvlan, spec, [EndpointSpec("web", "lan", mac_address="02:00:00:00:00:01")])) == 1


def test_nothing_can_be_allowed_where_packets_do_not_pass_the_host() -> None:
    spec = NetworkSpec("lan", driver="macvlan", allow=("front",))
    assert [path for path, _ in complaints(macvlan, spec)] == [("allow",)]


# host and none


@pytest.mark.parametrize("name", ["host", "none"])
def test_there_is_nothing_to_make_for_host_and_none(name: str) -> None:
    assert lowered(network(name)) == []


def test_a_host_network_can_not_be_internal() -> None:
    driver = drivers.find("host")
    assert driver is not None
    assert [path for path, _ in complaints(driver, NetworkSpec("h", driver="host", internal=True))] == [("internal",)]


# what all endpoints carry


@pytest.mark.parametrize("name", ["bridge", "macvlan"])
def test_static_routes_have_the_metrics_that_the_kernel_would_take(name: str) -> None:
    ways = (
        StaticRoute("198.51.100.0/24", "10.20.0.7"),
        StaticRoute("2001:db8::/32"),
        StaticRoute("192.0.2.0/24", type="blackhole", metric=7),
    )
    end = Endpoint("web", "front", "eth0", "02:00:00:00:00:01", ("10.20.0.10/24",), ways)
    one = network(name, endpoints=(end,), parent=Parent("eth0"))
    assert [item for item in lowered(one) if isinstance(item, Route)] == [
        Route("web", "198.51.100.0/24", "10.20.0.7", "web/front", 0),
        Route("web", "2001:db8::/32", None, "web/front", 1024),
        Route("web", "192.0.2.0/24", None, None, 7, "blackhole"),
    ]


def test_an_mtu_for_a_bridge_that_somebody_else_made_is_refused() -> None:
    network = NetworkSpec("front", external=True, mtu=1400, driver_opts={"name": "br0"})
    driver = drivers.find("bridge")
    assert driver
    assert [(complaint.path, complaint.mend) for complaint in driver.check(network, [])] == [(("mtu",), "remove mtu")]
