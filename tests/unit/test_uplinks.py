"""Links of the host that networks name: uplinks, trusted links and source addresses, as far as no kernel is needed."""
# ruff: noqa: E501 (messages are not broken into lines)

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest

from reconciler import engine, safety
from reconciler.errors import HostLacks, ManifestError, Refused
from reconciler.host import Facts, HostLink, Scope
from reconciler.host.fake import FakeHost
from reconciler.lowering import uplinks
from reconciler.lowering.lower import lower
from reconciler.manifest import load
from reconciler.networks import Network, Subnet, Topology
from reconciler.plan import Create, Delete, diff
from reconciler.resources import (
    HOST,
    BridgeVlan,
    Key,
    Link,
    NftTable,
    Port,
    Resource,
    State,
    Sysctl,
    differences,
    state,
    subject,
)
from reconciler.retained import clashes
from tests import strategies

BRIDGE = Link("front", "bridge", HOST, "br0", tags=("uplink=eth1",))
PORT = Port("front#uplink", "eth1", "front")
ETH1 = HostLink("eth1", "", 1500, up=True)
FRONT = Network(
    "shop",
    "front",
    "bridge",
    1500,
    {"uplink": "eth1"},
    (Subnet("10.20.0.0/24", "10.20.0.1"), Subnet("fd00::/64", "fd00::1")),
)


# the resource


def test_a_port_stands_on_its_bridge_and_on_a_link_of_the_hosts_and_is_part_of_the_network() -> None:
    assert (PORT.key, PORT.key.kind) == (Key("port", "front#uplink"), Port.KIND)
    assert PORT.requires == (Key("link", "front"), Key("link", "/eth1"))
    assert subject(PORT) == (None, "front")
    assert differences(replace(PORT, found_up=False), PORT) == (), "how it was found is no drift"


@pytest.mark.parametrize("found_up", [True, False])
def test_the_tag_of_the_bridge_says_which_link_and_how_it_was_found(found_up: bool) -> None:
    tag = replace(PORT, found_up=found_up).tag
    assert list(Port.tagged(["protect", tag, "vlans", "uplinks=3"])) == [("eth1", found_up)]


def test_the_vlans_of_a_port_stand_on_it() -> None:
    assert BridgeVlan("front#uplink", 5).requires == (PORT.key,)
    assert BridgeVlan("web/front", 5).requires == (Key("link", "web/front"),)


# plans


def names(desired: list[Resource], observed: list[Resource]) -> list[str]:
    return [f"{type(change).__name__} {change.key}" for change in diff(state(desired), state(observed)).changes]


VLAN = BridgeVlan("front#uplink", 5)


def test_the_bridge_is_tagged_before_the_link_is_put_in_and_until_it_is_out() -> None:
    bare = replace(BRIDGE, tags=())
    assert names([BRIDGE, PORT, VLAN], [bare]) == [
        "Update link front",
        "Create port front#uplink",
        "Create vlan front#uplink 5",
    ]
    assert names([bare], [BRIDGE, PORT, VLAN]) == ["Delete port front#uplink", "Update link front"]


def test_a_link_is_let_go_before_its_bridge_is_deleted() -> None:
    assert names([], [BRIDGE, PORT, VLAN]) == ["Delete port front#uplink", "Delete link front"]


def test_another_uplink_replaces_the_port_and_a_replaced_bridge_takes_it_along() -> None:
    other: list[Resource] = [replace(BRIDGE, tags=("uplink=eth2",)), replace(PORT, name="eth2"), VLAN]
    assert names(other, [BRIDGE, PORT, VLAN]) == [
        *("Delete port front#uplink", "Update link front"),
        *("Create port front#uplink", "Create vlan front#uplink 5"),
    ]
    made_anew: list[Resource] = [replace(BRIDGE, kind="veth"), PORT, VLAN]
    assert names(made_anew, [BRIDGE, PORT, VLAN]) == [
        *("Delete port front#uplink", "Delete link front", "Create link front"),
        *("Create port front#uplink", "Create vlan front#uplink 5"),
    ]


def test_a_port_that_changes_its_bridge_gets_its_vlans_anew() -> None:
    web = Link("web/front", "veth", HOST, "ve1", master="front", port={"isolated": False})
    mine: list[Resource] = [BRIDGE, replace(BRIDGE, path="back", name="br1", tags=()), web, BridgeVlan("web/front", 5)]
    moved: list[Resource] = [*mine[:2], replace(web, master="back"), mine[3]]
    assert names(moved, mine) == ["Delete vlan web/front 5", "Update link web/front", "Create vlan web/front 5"]


def test_what_stays_and_what_comes_can_not_have_the_same_uplink() -> None:
    desired = state([replace(BRIDGE, path="back", name="br1"), replace(PORT, path="back#uplink", master="back")])
    assert list(clashes(desired, state([BRIDGE, PORT]))) == [
        "uplink eth1 is wanted by back#uplink, and --no-prune leaves front#uplink"
    ]


# lowering


def lowered(facts: Facts, **options: Any) -> State:
    return lower(Topology("shop", networks=(replace(FRONT, options={**FRONT.options, **options}),)), facts)


@pytest.mark.parametrize(("up", "tag"), [(True, "uplink=eth1"), (False, "uplink-down=eth1")])
def test_the_host_says_how_the_uplink_was_found(up: bool, tag: str) -> None:
    found = lowered(Facts(links={"eth1": replace(ETH1, up=up)}))
    port, bridge = found[PORT.key], found[BRIDGE.key]
    assert isinstance(port, Port)
    assert isinstance(bridge, Link)
    assert (port.found_up, port.up, bridge.tags) == (up, True, (tag,))


def test_a_link_that_becomes_a_port_keeps_its_router_advertisements_setting() -> None:
    facts = Facts(links={"eth1": ETH1, "eth0": replace(ETH1, name="eth0")}, accept_ra=("eth0", "eth1"))
    told = [one.name for one in lowered(facts).values() if isinstance(one, Sysctl)]
    assert told == ["net.ipv4.ip_forward", "net.ipv6.conf.eth0.accept_ra", "net.ipv6.conf.all.forwarding"]


def test_a_source_address_must_be_the_hosts() -> None:
    facts = Facts(
        links={"eth1": ETH1, "lo": HostLink("lo", "", 65536, True, addresses=("192.0.2.7/32", "2001:db8::7/128"))}
    )
    table = lowered(facts, snat_address='["192.0.2.7","2001:0db8::0007"]')[Key("nft", "inet netapply-shop")]
    assert isinstance(table, NftTable)
    assert '"br' not in table.text
    assert "10.20.0.0/24 : 192.0.2.7" in table.text
    assert "fd00::/64 : 2001:db8::7" in table.text
    with pytest.raises(
        HostLacks, match=r"snat_address 192\.0\.2\.8 is no address of the host.*ip address add 192\.0\.2\.8/32 dev lo"
    ):
        lowered(facts, snat_address="192.0.2.8")


# refusals


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ({}, None),
        ({"addresses": ("fe80::1/64",)}, None),
        (
            {"addresses": ("192.0.2.7/24", "fe80::1/64")},
            "carries 192.0.2.7/24, which the host would lose; move that to another link",
        ),
        ({"routes": ("0.0.0.0/0",)}, "carries the route to 0.0.0.0/0"),
        (
            {"master": "theirs"},
            "is in theirs already, where netapply did not put it; take it out (ip link set eth1 nomaster)",
        ),
        ({"owner": "other"}, "is a link of project other"),
    ],
)
def test_a_link_that_the_host_or_somebody_else_needs_is_no_uplink(link: dict[str, Any], said: str | None) -> None:
    facts = Facts(links={"eth1": replace(ETH1, **link)})
    told = list(uplinks.objections([Create(PORT)], facts))
    assert told == [] if said is None else len(told) == 1
    assert said is None or said in told[0]
    assert list(uplinks.objections([Delete(PORT)], facts)) == []


def test_the_default_routes_link_is_no_uplink_whoever_tells_so() -> None:
    (told,) = uplinks.objections([Create(PORT)], Facts(links={"eth1": ETH1}, default_link="eth1"))
    assert "carries the default route" in told


def test_a_missing_link_and_a_bridge_are_what_the_host_lacks() -> None:
    with pytest.raises(HostLacks, match="the host has no link eth1"):
        safety.missing(state([BRIDGE, PORT]), Facts())
    with pytest.raises(HostLacks, match="eth1 is a bridge, and a bridge can't be a port of another"):
        safety.missing(state([BRIDGE, PORT]), Facts(links={"eth1": replace(ETH1, kind="bridge")}))


def test_a_link_of_ours_is_not_taken_for_another_whose_name_ends_alike() -> None:
    web = Link("web/xeth1", "veth", HOST, "ve1", master="xeth1", port={"isolated": False})
    safety.missing(state([web, replace(BRIDGE, path="xeth1")]), Facts(links={"eth1": replace(ETH1, kind="veth")}))


# manifests


def complaints(front: str, more: str = "") -> list[str]:
    text = f"project: p\nnetworks:\n  front: {{{front}}}\n{more}"
    with pytest.raises(ManifestError) as caught:
        load(["-"], {}, io.StringIO(text))
    return [str(problem).removeprefix("-:").replace(": error: ", ": ", 1) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("front", "more", "expected"),
    [
        ("driver_opts: {uplink: lo}", "", ["3:33: uplink can't be 'lo'"]),
        ("driver_opts: {uplink: a/b}", "", ["3:33: uplink is 'a/b', not the name of a link, which is 1 to 15 bytes long, without spaces, /, : and ;"]),
        (
            "internal: true, driver_opts: {uplink: eth1}",
            "",
            ["3:49: network front is internal, with no way out or in, and uplink would be one; remove one of the two"],
        ),
        (
            "external: true, driver_opts: {name: br0, uplink: eth1}",
            "",
            ["3:60: network front is external, so that its uplink is not netapply's to say; remove it"],
        ),
        (
            "driver_opts: {uplink: eth1}",
            "  back: {driver_opts: {uplink: eth1}}\n",
            ["4:32: eth1 is the uplink of network front already; a link is in one bridge only; use another"],
        ),
        (
            "driver_opts: {uplink: backbr}",
            "  back: {driver_opts: {name: backbr}}\n",
            ["3:33: backbr is made by network back, and an uplink is a link that is there without netapply; name a network card"],
        ),
        (
            "driver_opts: {uplink: eth1}",
            "  back: {driver: macvlan, driver_opts: {parent: eth1}}\n",
            ["4:49: network back stands on eth1, which is the uplink of network front; use another link for one of them"],
        ),
        (
            "driver_opts: {trusted_interfaces: [wg0, backbr]}",
            "  back: {driver_opts: {name: backbr}}\n",
            ["3:25: backbr is made by network back, and is no way from outside; write `allow: [front]` at network back"],
        ),
        ("driver_opts: {trusted_interfaces: [wg0, wg0]}", "", ["3:51: trusted_interfaces names 'wg0' twice; remove one"]),
        ("driver_opts: {snat_address: 192.0.2.300}", "", ["3:39: snat_address is '192.0.2.300', which is not an address"]),
        (
            "driver_opts: {snat_address: 192.0.2.3/24}",
            "",
            ["3:39: snat_address is '192.0.2.3/24', which is not an address; an address has no prefix length here"],
        ),
        (
            "driver_opts: {snat_address: [192.0.2.3, 192.0.2.4]}",
            "",
            ["3:25: snat_address has two IPv4 addresses; give one for each family"],
        ),
        (
            "driver_opts: {snat_address: 192.0.2.3, gateway_mode: routed}",
            "",
            ["3:39: snat_address 192.0.2.3 replaces no address with gateway_mode routed; remove one of the two"],
        ),
        (
            "driver_opts: {snat_address: 192.0.2.3, masquerade: false}",
            "",
            ["3:39: snat_address 192.0.2.3 replaces no address with masquerade: false; remove one of the two"],
        ),
        (
            "driver_opts: {snat_address: '2001:db8::7'}",
            "",
            ["3:39: snat_address 2001:db8::7 is IPv6, which network front does not have; set enable_ipv6: true, or remove it"],
        ),
        (
            "driver_opts: {vlan: 10}",
            "",
            ["3:31: network front does not filter VLANs, so no vlan; set vlan_filtering: true in its driver_opts, or remove it"],
        ),
        ("driver_opts: {vlan_filtering: true, vlan: 4095}", "", ["3:53: vlan is 4095, and must be between 1 and 4094"]),
        (
            "driver_opts: {vlan_filtering: true, uplink: eth1, trunk: [10, 20..30]}",
            "",
            ["3:73: trunk is '20..30', not a number or a range of VLANs such as 20-30"],
        ),
        (
            "driver_opts: {vlan_filtering: true}",
            "containers: {web: {networks: {front: {driver_opts: {trunk: [30-20]}}}}}\n",
            ["4:53: there are no VLANs from 30 to 20; give numbers from 1 to 4094, the lower one first"],
        ),
        (
            "driver_opts: {}",
            "containers: {web: {networks: {front: {driver_opts: {vlan: 7}}}}}\n",
            ["4:59: network front does not filter VLANs, so no vlan; set vlan_filtering: true in its driver_opts, or remove it"],
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_links_of_the_host_is_said_where_it_stands(
    front: str, more: str, expected: list[str]
) -> None:
    assert complaints(front, more) == expected


def test_one_text_is_as_good_as_a_list() -> None:
    told = [
        load(
            ["-"],
            {},
            io.StringIO(f"project: p\nnetworks: {{front: {{driver_opts: {{trusted_interfaces: {said}}}}}}}\n"),
        )
        for said in ("wg0", "[wg0]")
    ]
    tables = [
        lower(Topology("p", networks=(replace(FRONT, options=one.networks["front"].driver_opts),)), Facts())
        for one in told
    ]
    assert tables[0] == tables[1]


# on a host in memory

SHOP = """
project: shop
networks:
  front: {driver_opts: {vlan_filtering: true, uplink: eth9}, ipam: {config: [{subnet: 10.20.0.0/24}]}}
containers:
  web: {networks: {front: {ipv4_address: 10.20.0.10, driver_opts: {vlan: 10}}}}
"""


def new_host(up: bool = False) -> FakeHost:
    host = strategies.new_host()
    link = host.kernel.host.devices["eth1"]
    host.kernel.rename(link, "eth9") if not link.up else host.kernel.set_up(link, False)
    host.kernel.rename(link, "eth9")
    host.kernel.set_up(link, up)
    return host


def manifest(text: str = SHOP) -> Any:
    return load(["-"], {}, io.StringIO(text))


@pytest.mark.parametrize("up", [True, False])
def test_an_uplink_comes_stays_and_goes_as_it_was_found(up: bool) -> None:
    host = new_host(up)
    before = host.snapshot()
    engine.converge(manifest(), host)
    link = host.kernel.host.devices["eth9"]
    assert (link.master and link.master.name, link.up) == ("shop-front", True)
    assert link.vlans == {1: (True, True), 10: (False, False)}
    assert not engine.plan(manifest(), host).plan
    facts = host.observe(Scope("shop", {})).facts
    assert (facts.links["eth9"].up, facts.links["eth9"].master) == (up, None), "facts are as if netapply was not there"
    engine.destroy("shop", host)
    after = host.snapshot()
    kept = {"sysctls", "tables"}  # forwarding and its guard stay
    assert {key: one for key, one in after.items() if key not in kept} == {
        key: one for key, one in before.items() if key not in kept
    }


def test_a_link_that_somebody_took_meanwhile_is_left_to_them() -> None:
    host = new_host()
    proposal = engine.plan(manifest(), host)
    theirs = host.kernel.add_link(host.kernel.host, "theirs", "bridge")
    host.kernel.set_master(host.kernel.host.devices["eth9"], theirs)
    with pytest.raises(Refused, match="eth9 of network front is in theirs already"):
        engine.converge(manifest(), host)
    assert next(error for _, error in host.apply(proposal.plan.changes) if error).errno == 16
    assert host.kernel.host.devices["eth9"].master is theirs


def test_a_kernel_without_vlan_filtering_is_told_before_anything_is_touched() -> None:
    host = new_host()
    host.kernel.lacks.add("bridge vlan_filtering")
    before = host.snapshot()
    with pytest.raises(HostLacks, match="network front needs a bridge that filters VLANs, which this kernel has not"):
        engine.plan(manifest(), host)
    assert host.snapshot() == before
    engine.converge(manifest(SHOP.replace("vlan_filtering: true, ", "").replace(", driver_opts: {vlan: 10}", "")), host)
