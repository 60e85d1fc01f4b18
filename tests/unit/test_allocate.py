"""Subnets, gateways and addresses: what the manifest leaves open, settled."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest

from reconciler.host import HostLink
from reconciler.manifest.model import AddressPool, EndpointSpec, IpamConfig
from reconciler.networks import StaticRoute
from reconciler.resources import Address

from .allocation import FACTS, end, endpoint, manifest, net, network, problems, settled, standing

# --- subnets


def test_a_network_gets_one_ipv4_subnet_of_dockers_pools() -> None:
    (subnet,) = net(settled(manifest([network("front")])), "front").subnets
    assert subnet.cidr.startswith("172.")
    assert subnet.prefix_length == 16
    assert subnet.gateway == subnet.cidr.replace("0.0/16", "0.1")


def test_ipv6_adds_a_unique_local_subnet_of_64_bits() -> None:
    found = net(settled(manifest([network("front", enable_ipv6=True)])), "front").subnets
    assert [subnet.family for subnet in found] == [4, 6]
    assert ipaddress.IPv6Network(found[1].cidr).subnet_of(ipaddress.IPv6Network("fd00::/8"))
    assert found[1].prefix_length == 64


def test_a_network_without_ipv4_has_ipv6_alone() -> None:
    found = net(settled(manifest([network("front", enable_ipv4=False, enable_ipv6=True)])), "front").subnets
    assert [subnet.family for subnet in found] == [6]


def test_a_family_that_the_config_leaves_out_is_chosen() -> None:
    found = net(settled(manifest([network("front", "fd00:20::/64", enable_ipv6=True)])), "front").subnets
    assert found[0].cidr == "fd00:20::/64"
    assert found[1].family == 4


def test_sizes_are_cut_from_the_pools_that_are_configured() -> None:
    pools = [AddressPool("10.9.0.0/16", 24), AddressPool("fd99::/48", 64)]
    declared = manifest([network("front", "0.0.0.0/26", "::/80"), network("back", enable_ipv6=True)], pools=pools)
    found = settled(declared)
    front, back = (net(found, name).subnets for name in ("front", "back"))
    assert [subnet.prefix_length for subnet in (*front, *back)] == [26, 80, 24, 64]
    assert all(subnet.cidr.startswith(("10.9.", "fd99:")) for subnet in (*front, *back))


def test_the_choice_skips_what_the_host_uses() -> None:
    free = "172.29.0.0/16"
    facts = replace(
        FACTS,
        routes=("172.16.0.0/13", "172.24.0.0/14"),
        nameservers=("172.28.0.53", "fe80::1%eth0"),
        links={"docker0": HostLink("docker0", "bridge", 1500, up=True, addresses=("172.30.0.1/15",))},
    )
    found = settled(manifest([network("front")]), facts)
    assert net(found, "front").subnets[0].cidr == free


def test_the_choice_skips_what_is_pinned_in_the_manifest() -> None:
    alone = net(settled(manifest([network("front")])), "front").subnets[0].cidr
    found = settled(manifest([network("front"), network("back", alone)]))
    assert net(found, "front").subnets[0].cidr != alone


def test_a_chosen_subnet_stays_though_the_host_uses_it_later() -> None:
    declared = manifest([network("front")])
    before = settled(declared)
    facts = replace(FACTS, routes=("172.16.0.0/12", "192.168.0.0/16"))
    assert settled(declared, facts, standing(before)) == before


def test_a_chosen_subnet_stays_where_only_endpoints_have_its_addresses() -> None:
    declared = manifest([network("lan", driver="macvlan"), network("shut", driver_opts={"gateway_mode": "isolated"})])
    declared = replace(declared, containers=manifest([], {"web": ["lan", "shut"]}).containers)
    before = settled(declared)
    taken = replace(FACTS, routes=("172.16.0.0/12", "192.168.0.0/16"))
    assert settled(declared, taken, standing(before)) == before


def test_a_subnet_that_is_no_longer_pinned_goes_back_to_the_pools() -> None:
    declared = manifest([network("front")], {"web": ["front"]})
    pinned = manifest([network("front", "10.20.0.0/24")], {"web": ["front"]})
    assert settled(declared, state=standing(settled(pinned))) == settled(declared)


def test_an_address_added_to_the_bridge_by_hand_does_not_move_the_network() -> None:
    declared = manifest([network("front")], {"web": ["front"], "api": ["front"]})
    before = settled(declared)
    added = Address("front", "172.17.99.1/16")
    assert settled(declared, state={added.key: added, **standing(before)}) == before


def test_exhausted_pools_are_a_problem_of_each_network_that_gets_nothing() -> None:
    declared = manifest([network("a"), network("b"), network("c")], pools=[AddressPool("10.9.0.0/24", 24)])
    found = problems(declared)
    assert [place for place, _ in found] == ["networks/b/ipam/config", "networks/c/ipam/config"]
    assert "no free IPv4 subnet" in found[0][1]


def test_a_pinned_subnet_of_a_host_link_is_an_error_that_names_it() -> None:
    docker = HostLink("docker0", "bridge", 1500, up=True, addresses=("10.20.0.1/24",))
    facts = replace(FACTS, links={"docker0": docker}, default_link=None)
    (found,) = problems(manifest([network("front", "10.20.0.0/24")]), facts)
    assert found[0] == "networks/front/ipam/config/0/subnet"
    assert "is that of the host's link docker0 (10.20.0.1/24)" in found[1]


def test_a_link_of_another_project_is_named_with_it() -> None:
    bridge = HostLink("blog-x", "bridge", 1500, up=True, owner="blog", addresses=("10.20.0.1/16",))
    facts = replace(FACTS, links={"blog-x": bridge})
    ((_, what),) = problems(manifest([network("front", "10.20.0.0/24")]), facts)
    assert "overlaps with that of the host's link blog-x of project blog" in what


def test_a_pinned_subnet_over_a_route_of_the_host_is_an_error() -> None:
    facts = replace(FACTS, routes=("10.20.0.128/25",))
    ((_, what),) = problems(manifest([network("front", "10.20.0.0/24")]), facts)
    assert "the host's route to 10.20.0.128/25" in what


def test_a_pinned_subnet_may_be_part_of_a_wider_route() -> None:
    facts = replace(FACTS, routes=("10.0.0.0/8",))
    assert net(settled(manifest([network("front", "10.20.0.0/24")]), facts), "front").subnets


def test_a_pinned_subnet_that_stands_already_is_no_clash() -> None:
    declared = manifest([network("front", "10.20.0.0/24")])
    before = settled(declared)
    facts = replace(FACTS, routes=("10.20.0.128/25",))
    assert settled(declared, facts, standing(before)) == before


def test_a_macvlan_has_the_subnet_of_its_parent() -> None:
    found = settled(manifest([network("lan", "192.0.2.0/24", driver="macvlan")], {"web": ["lan"]}))
    assert end(found, "web/lan").addresses[0].startswith("192.0.2.")


def test_a_driver_without_addresses_gets_no_subnets() -> None:
    assert net(settled(manifest([network("nothing", driver="none")])), "nothing").subnets == ()


# --- gateways


@pytest.mark.parametrize(
    ("subnet", "gateway"),
    [
        ("10.20.0.0/24", "10.20.0.1"),
        ("10.20.0.0/31", "10.20.0.0"),
        ("10.20.0.7/32", None),
        ("fd00:20::/64", "fd00:20::1"),
        ("fd00:20::/127", "fd00:20::"),
        ("fd00:20::7/128", None),
    ],
)
def test_the_gateway_is_the_first_usable_address(subnet: str, gateway: str | None) -> None:
    declared = manifest([network("front", subnet, enable_ipv4=":" not in subnet)], {"web": ["front"]})
    found = settled(declared)
    assert net(found, "front").subnets[0].gateway == gateway
    assert len(end(found, "web/front").addresses) == 1
    assert [route.via for route in end(found, "web/front").routes] == ([gateway] if gateway else [])


def test_the_gateway_is_no_auxiliary_address() -> None:
    config = IpamConfig("10.20.0.0/24", aux_addresses={"printer": "10.20.0.1"})
    assert net(settled(manifest([network("front", config)])), "front").subnets[0].gateway == "10.20.0.2"


def test_a_given_gateway_is_taken() -> None:
    config = IpamConfig("10.20.0.0/24", gateway="10.20.0.254")
    found = settled(manifest([network("front", config)], {"web": ["front"]}))
    assert net(found, "front").subnets[0].gateway == "10.20.0.254"
    assert end(found, "web/front").routes == (StaticRoute("0.0.0.0/0", "10.20.0.254"),)


def test_an_internal_bridge_has_a_gateway_address_and_no_default_route() -> None:
    found = settled(manifest([network("back", "10.20.0.0/24", internal=True)], {"web": ["back"]}))
    assert net(found, "back").subnets[0].gateway == "10.20.0.1"
    assert end(found, "web/back").routes == ()


def test_an_internal_macvlan_has_no_gateway() -> None:
    found = settled(manifest([network("lan", "10.20.0.0/24", driver="macvlan", internal=True)], {"web": ["lan"]}))
    assert net(found, "lan").subnets[0].gateway is None
    assert end(found, "web/lan").routes == ()


def test_an_address_pinned_at_the_default_gateway_is_an_error() -> None:
    declared = manifest([network("front", "10.20.0.0/24")], {"web": [endpoint("front", "10.20.0.1")]})
    assert problems(declared) == [
        ("containers/web/networks/front/ipv4_address", "10.20.0.1 is the gateway of network front")
    ]


def test_a_gateway_outside_a_chosen_subnet_is_an_error() -> None:
    ((place, _),) = problems(manifest([network("front", IpamConfig("0.0.0.0/24", gateway="10.0.0.1"))]))
    assert place == "networks/front/ipam/config/0"


# --- endpoint addresses


def test_pinned_addresses_are_taken_and_fill_their_family() -> None:
    declared = manifest(
        [network("front", "10.20.0.0/24", "10.21.0.0/16", "fd00:20::/64", enable_ipv6=True)],
        {"web": [endpoint("front", "fd00:20::9", "10.21.0.9", "10.20.0.9")], "api": [endpoint("front", "fd00:20::8")]},
    )
    found = settled(declared)
    assert end(found, "web/front").addresses == ("10.21.0.9/16", "10.20.0.9/24", "fd00:20::9/64")
    assert [one.rpartition("/")[2] for one in end(found, "api/front").addresses] == ["24", "64"]


def test_link_local_addresses_come_with_their_prefix_lengths() -> None:
    ends = [endpoint("front", "10.20.0.9", link_local_ips=("169.254.7.7", "fe80::7"))]
    found = settled(manifest([network("front", "10.20.0.0/24")], {"web": ends}))
    assert end(found, "web/front").addresses == ("10.20.0.9/24", "169.254.7.7/16", "fe80::7/64")


def test_dynamic_addresses_stay_in_the_ip_range_and_clear_of_everything_reserved() -> None:
    config = IpamConfig("10.20.0.0/24", "10.20.0.0/29", aux_addresses={"printer": "10.20.0.2"})
    ends: dict[str, list[EndpointSpec | str]] = {name: ["front"] for name in "abcd"}
    declared = manifest([network("front", config)], {**ends, "pin": [endpoint("front", "10.20.0.3")]})
    found = {end(settled(declared), f"{name}/front").addresses for name in "abcd"}
    assert found == {(f"10.20.0.{last}/24",) for last in (4, 5, 6, 7)}


def test_no_container_gets_the_hosts_own_address_on_the_parent() -> None:
    lan = network("lan", IpamConfig("192.0.2.0/24", "192.0.2.4/31"), driver="macvlan")
    found = settled(manifest([lan], {"web": ["lan"]}))
    assert end(found, "web/lan").addresses == ("192.0.2.4/24",)


def test_a_second_subnet_serves_when_the_first_is_full() -> None:
    declared = manifest([network("front", "10.20.0.0/30", "10.21.0.0/30")], {"a": ["front"], "b": ["front"]})
    found = settled(declared)
    assert {end(found, f"{name}/front").addresses for name in "ab"} == {("10.20.0.2/30",), ("10.21.0.2/30",)}
    assert {end(found, f"{name}/front").routes[0].via for name in "ab"} == {"10.20.0.1", "10.21.0.1"}


def test_exhaustion_is_an_error_at_the_subnet() -> None:
    declared = manifest([network("front", "10.20.0.0/30")], {name: ["front"] for name in "abc"})
    assert problems(declared) == [
        ("networks/front/ipam/config/0", "network front has no IPv4 address left for 2 containers, b among them")
    ]


def test_a_pinned_address_outside_a_chosen_subnet_is_an_error() -> None:
    ((place, what),) = problems(manifest([network("front")], {"web": [endpoint("front", "10.1.2.3")]}))
    assert place == "containers/web/networks/front/ipv4_address"
    assert "10.1.2.3 is in no subnet of network front (172." in what


def test_an_endpoint_keeps_its_address() -> None:
    declared = manifest([network("front", "10.20.0.0/24")], {"web": ["front"]})
    have = Address("web/front", "10.20.0.77/24")
    assert end(settled(declared, state={have.key: have}), "web/front").addresses == ("10.20.0.77/24",)


def test_an_endpoint_keeps_its_address_when_the_subnet_grows() -> None:
    have = Address("web/front", "10.20.0.77/24")
    declared = manifest([network("front", "10.20.0.0/16")], {"web": ["front"]})
    assert end(settled(declared, state={have.key: have}), "web/front").addresses == ("10.20.0.77/16",)


def test_an_endpoint_makes_way_for_a_pinned_address() -> None:
    have = Address("web/front", "10.20.0.77/24")
    ends: dict[str, list[EndpointSpec | str]] = {"web": ["front"], "api": [endpoint("front", "10.20.0.77")]}
    found = settled(manifest([network("front", "10.20.0.0/24")], ends), state={have.key: have})
    assert end(found, "api/front").addresses == ("10.20.0.77/24",)
    assert end(found, "web/front").addresses != ("10.20.0.77/24",)


def test_a_pending_container_keeps_its_reservation() -> None:
    declared = manifest([network("front", "10.20.0.0/29")], {name: ["front"] for name in "abcd"})
    all_there = settled(declared)
    waiting = settled(declared, replace(FACTS, pending={"b": "no process 7"}))
    assert waiting.pending == {"b": "no process 7"}
    assert [one.container for one in net(waiting, "front").endpoints] == ["a", "c", "d"]
    assert [box.sandbox for box in waiting.sandboxes] == ["a", "c", "d"]
    assert net(waiting, "front").endpoints == tuple(
        one for one in net(all_there, "front").endpoints if one.container != "b"
    )


def test_a_new_container_does_not_take_over_the_address_of_one_that_leaves() -> None:
    front = network("front", IpamConfig("10.20.0.0/24", "10.20.0.8/31"))
    before = standing(settled(manifest([front], {"old": ["front"]})))
    left = end(settled(manifest([front], {"old": ["front"]})), "old/front").addresses
    for name in "abcdef":
        assert end(settled(manifest([front], {name: ["front"]}), state=before), f"{name}/front").addresses != left
