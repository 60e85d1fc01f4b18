"""What the allocation takes from the host: MTU, parents, external links, sandboxes; and its errors."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler.errors import DriverError, HostLacks
from reconciler.host import Facts, HostLink
from reconciler.networks import Parent, SandboxRef
from reconciler.resources import Link, Netns

from .allocation import ETH0, FACTS, WLAN0, endpoint, manifest, net, network, problems, settled, standing

# --- MTU, parents, external links


def test_the_mtu_is_given_or_that_of_the_default_route() -> None:
    found = settled(manifest([network("a", mtu=1280), network("b")]), replace(FACTS, links={"eth0": WLAN0}))
    assert [one.mtu for one in found.networks] == [1280, 1400]


def test_the_mtu_is_1500_on_a_host_without_a_default_route() -> None:
    assert net(settled(manifest([network("a")]), Facts()), "a").mtu == 1500


def test_an_mtu_from_the_host_that_ipv6_can_not_do_with_is_an_error() -> None:
    facts = replace(FACTS, links={"eth0": replace(ETH0, mtu=1200)})
    (problem,) = problems(manifest([network("front", enable_ipv6=True)]), facts)
    assert problem[1] == "network front gets an MTU of 1200 from the host's links, and IPv6 needs 1280"
    assert net(settled(manifest([network("front")]), facts), "front").mtu == 1200


def test_a_failover_changes_neither_mtu_nor_parent() -> None:
    declared = manifest([network("front"), network("lan", driver="macvlan")], {"web": ["front", "lan"]})
    facts = replace(FACTS, links={**FACTS.links, "wlan0": WLAN0})
    before = settled(declared, facts)
    assert [(one.mtu, one.parent) for one in before.networks] == [(1500, None), (1500, Parent("eth0"))]
    assert settled(declared, replace(facts, default_link="wlan0"), standing(before)) == before


def test_an_mtu_that_no_link_of_the_host_explains_is_not_kept() -> None:
    declared = manifest([network("front")], {"web": ["front"]})
    drifted = standing(settled(manifest([network("front", mtu=1300)], {"web": ["front"]})))
    assert settled(declared, state=drifted) == settled(declared)


def test_an_mtu_that_its_parent_no_longer_has_is_not_kept() -> None:
    declared = manifest([network("lan", driver="macvlan", driver_opts={"parent": "eth0"})], {"web": ["lan"]})
    large = replace(ETH0, mtu=9000)
    before = standing(settled(declared, replace(FACTS, links={"eth0": large})))
    facts = replace(FACTS, links={"eth0": ETH0, "eth1": replace(large, name="eth1", addresses=())})
    assert net(settled(declared, facts, before), "lan").mtu == 1500


def test_an_mtu_that_left_room_for_an_overlay_is_not_kept_by_what_is_none_any_more() -> None:
    facts = replace(FACTS, links={**FACTS.links, "vpn0": replace(ETH0, name="vpn0", mtu=1450, addresses=())})
    before = standing(settled(manifest([network("front", mtu=1450)], {"web": ["front"]}), facts))
    declared = manifest([network("front")], {"web": ["front"]})
    assert net(settled(declared, facts, before), "front").mtu == 1450
    tunnel = Link("front#vxlan", "vxlan", sandbox="", name="vxfront", mtu=1450, master="front")
    assert net(settled(declared, facts, {**before, tunnel.key: tunnel}), "front").mtu == 1500


def test_a_macvlan_larger_than_its_parent_is_an_error() -> None:
    ((place, what),) = problems(manifest([network("lan", driver="macvlan", mtu=9000)]))
    assert place == "networks/lan/mtu"
    assert "its parent eth0 has 1500" in what


def test_a_parent_that_is_told_is_taken() -> None:
    facts = replace(FACTS, links={**FACTS.links, "wlan0": WLAN0})
    found = net(settled(manifest([network("lan", driver="macvlan", driver_opts={"parent": "wlan0"})]), facts), "lan")
    assert (found.parent, found.mtu) == (Parent("wlan0"), 1400)


def test_a_network_may_stand_on_a_bridge_that_another_one_makes() -> None:
    declared = manifest(
        [
            network("zoo", driver_opts={"name": "br0"}, mtu=1300),
            network("back"),
            network("lan", driver="macvlan", driver_opts={"parent": "br0"}),
            network("far", driver="macvlan", driver_opts={"parent": "shop-back"}),
        ],
        {"web": ["lan"], "db": ["far"], "api": ["zoo"]},
    )
    found = settled(declared)
    assert [net(found, name).mtu for name in ("lan", "far")] == [1300, 1500]
    larger = manifest([replace(declared.networks["zoo"], mtu=None), *list(declared.networks.values())[1:]])
    assert net(settled(larger, state=standing(found)), "lan").mtu == 1500


def test_what_stands_on_a_bridge_of_ours_is_no_larger_than_it() -> None:
    declared = manifest(
        [network("front", mtu=1300), network("lan", driver="macvlan", mtu=1400, driver_opts={"parent": "shop-front"})]
    )
    assert problems(declared) == [
        ("networks/lan/mtu", "network lan can't have an MTU of 1400: its parent shop-front has 1300")
    ]


def test_a_parent_of_ours_is_not_mistaken_for_a_link_of_the_host() -> None:
    """The path of a link of ours, less its first letter, may be the name of the host's."""
    facts = replace(FACTS, links={**FACTS.links, "wlan0": WLAN0})
    declared = manifest(
        [network("xwlan0"), network("lan", driver="macvlan", driver_opts={"parent": "shop-xwlan0"})], {"web": ["lan"]}
    )
    before = standing(settled(declared, facts))
    told_none = manifest([network("xwlan0"), network("lan", driver="macvlan")], {"web": ["lan"]})
    assert net(settled(told_none, facts, before), "lan").parent == Parent("eth0")


def test_links_that_must_exist_are_named() -> None:
    declared = manifest(
        [
            network("lan", driver="macvlan", driver_opts={"parent": "eth9"}),
            network("ours", external=True, driver_opts={"name": "br9"}),
        ]
    )
    with pytest.raises(HostLacks) as caught:
        settled(declared)
    assert "network lan: the host has no link eth9" in str(caught.value)
    assert "network ours: the host has no link br9" in str(caught.value)


def test_an_external_bridge_lends_its_subnets_and_its_mtu() -> None:
    bridge = HostLink("br9", "bridge", 9000, up=True, addresses=("10.5.0.254/24", "fe80::1/64"))
    facts = replace(FACTS, links={**FACTS.links, "br9": bridge}, routes=("10.5.0.0/24",))
    declared = manifest([network("ours", external=True, driver_opts={"name": "br9"})], {"web": ["ours"]})
    found = net(settled(declared, facts), "ours")
    assert [(subnet.cidr, subnet.gateway) for subnet in found.subnets] == [("10.5.0.0/24", "10.5.0.254")]
    assert found.mtu == 9000
    assert found.endpoints[0].addresses[0].startswith("10.5.0.")


def test_an_unknown_driver_is_a_drivers_error() -> None:
    with pytest.raises(DriverError, match="nonesuch"):
        settled(manifest([network("a", driver="nonesuch")]))


# --- sandboxes


def test_there_is_a_namespace_for_each_container() -> None:
    boxes = {"api": SandboxRef("netns", "api-ns"), "db": SandboxRef("pid", "42")}
    found = settled(manifest([], {"web": [], "api": [], "db": []}, boxes))
    assert found.sandboxes == (
        Netns("api", "netns:api-ns", adopted=True),
        Netns("db", "pid:42", adopted=True),
        Netns("web", "netns:web"),
    )


@pytest.mark.parametrize("reference", [SandboxRef("host"), SandboxRef("pid", "42")])
def test_a_container_of_a_host_network_is_in_the_hosts_namespace(reference: SandboxRef) -> None:
    facts = replace(FACTS, in_host=frozenset({"web"}))
    found = settled(manifest([network("all", driver="host")], {"web": ["all"]}, {"web": reference}), facts)
    assert found.sandboxes == ()
    assert [one.addresses for one in net(found, "all").endpoints] == [()]


def test_a_container_with_a_namespace_of_its_own_can_not_be_on_a_host_network() -> None:
    ((place, what),) = problems(manifest([network("all", driver="host")], {"web": ["all"]}))
    assert place == "containers/web/sandbox"
    assert "has a network namespace of its own" in what


def test_a_container_in_the_hosts_namespace_can_not_be_on_another_network() -> None:
    declared = manifest([network("front")], {"web": ["front"]}, {"web": SandboxRef("pid", "1")})
    ((place, what),) = problems(declared, replace(FACTS, in_host=frozenset({"web"})))
    assert place == "containers/web/networks/front"
    assert "is in the host's own network namespace" in what


def test_all_problems_are_told_at_once() -> None:
    declared = manifest(
        [network("a", "192.0.2.0/24"), network("b", driver="macvlan", mtu=9000), network("c", "10.1.0.0/30")],
        {"x": ["c"], "y": ["c"], "z": [endpoint("c", "10.9.9.9")]},
    )
    assert len(problems(declared)) == 4
