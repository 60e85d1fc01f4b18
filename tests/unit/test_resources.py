"""Resources as values: what identifies them, what they stand on, and how two of them differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given

from reconciler.resources import (
    HOST,
    Address,
    Key,
    Link,
    Netns,
    NftTable,
    Peer,
    Resource,
    Route,
    State,
    Sysctl,
    differences,
    must_replace,
    state,
    subject,
    value_of,
    within,
)
from tests.samples import WEB_FRONT, WEB_LAN
from tests.strategies import states


@pytest.mark.parametrize(
    ("resource", "key", "requires"),
    [
        (Netns("web", "netns:web"), Key("netns", "web"), ()),
        (WEB_FRONT, Key("link", "web/front"), (Key("netns", "web"), Key("link", "front"))),
        (WEB_LAN, Key("link", "web/lan"), (Key("netns", "web"), Key("link", "/eth0"))),
        (Link("front", "bridge", HOST, "br0"), Key("link", "front"), ()),
        (Address("front", "10.0.0.1/24"), Key("address", "front 10.0.0.1/24"), (Key("link", "front"),)),
        (Route("web", "::/0", "fd00::1", "web/front", 1024), Key("route", "web ::/0 metric 1024"), (WEB_FRONT.key,)),
        (
            Route("web", "10.9.0.0/16", type="blackhole"),
            Key("route", "web 10.9.0.0/16 metric 0"),
            (Key("netns", "web"),),
        ),
        (Route(HOST, "10.9.0.0/16", type="blackhole"), Key("route", " 10.9.0.0/16 metric 0"), ()),
        (Sysctl("net.ipv4.ip_forward", "1"), Key("sysctl", "net.ipv4.ip_forward"), ()),
        (NftTable("inet", "netapply-shop", ""), Key("nft", "inet netapply-shop"), ()),
    ],
)
def test_a_resource_has_a_key_and_stands_on_others(resource: Resource, key: Key, requires: tuple[Key, ...]) -> None:
    assert (resource.key, resource.requires) == (key, requires)
    assert key.kind == resource.KIND


def test_addresses_are_on_the_end_that_the_container_sees() -> None:
    assert WEB_FRONT.inner == ("web", "eth0")
    assert WEB_LAN.inner == ("web", "eth1")
    assert Link("front", "bridge", HOST, "br0").inner == (HOST, "br0")


def test_a_state_says_each_thing_once() -> None:
    assert state([WEB_FRONT, WEB_LAN]) == {WEB_FRONT.key: WEB_FRONT, WEB_LAN.key: WEB_LAN}
    with pytest.raises(ValueError, match="link web/front is there twice"):
        state([WEB_FRONT, replace(WEB_FRONT, mtu=1400)])


@pytest.mark.parametrize(
    ("resource", "container", "network"),
    [
        (WEB_FRONT, "web", "front"),
        (Link("front", "bridge", HOST, "br0"), None, "front"),
        (Link("front#vxlan", "vxlan", HOST, "vx0"), None, "front"),
        (Link("web/front#up", "veth", HOST, "ve2"), "web", "front"),
        (Address("web/front", "10.0.0.2/24"), "web", "front"),
        (Route("web", "0.0.0.0/0", "10.0.0.1", "web/front"), "web", "front"),
        (Route("web", "10.9.0.0/16", type="blackhole"), "web", None),
        (Netns("web", "netns:web"), "web", None),
        (Sysctl("net.ipv4.ip_forward", "1"), None, None),
    ],
)
def test_a_resource_is_for_a_container_and_a_network(
    resource: Resource, container: str | None, network: str | None
) -> None:
    assert subject(resource) == (container, network)


def test_what_is_within_some_containers_leaves_out_the_others_and_the_networks() -> None:
    bridge, other = Link("front", "bridge", HOST, "br0"), Netns("db", "netns:db")
    address = Address("web/front", "10.0.0.2/24")
    assert within(state([bridge, other, WEB_FRONT, address]), {"web"}) == state([WEB_FRONT, address])


def test_what_is_desired_decides_what_is_compared() -> None:
    wanted = replace(WEB_LAN, mtu=None)
    seen = replace(WEB_LAN, mac="02:00:00:00:00:01", mtu=1500, options={"mode": "bridge", "bc_queue_len": 1000})
    assert differences(wanted, seen) == ()
    assert differences(seen, wanted) == ("mtu", "mac", "options.bc_queue_len")


def test_differences_in_nested_things_are_named_by_their_way() -> None:
    seen = replace(WEB_FRONT, peer=Peer("web", "eth9", mtu=1400), port={"isolated": True})
    wanted = replace(WEB_FRONT, port={"isolated": False, "hairpin": True})
    assert differences(wanted, seen) == ("port.isolated", "port.hairpin", "peer.name", "peer.mtu")


def test_a_setting_of_ours_too_many_is_a_difference() -> None:
    assert differences(WEB_FRONT, replace(WEB_FRONT, sysctls={"ipv4.conf.rp_filter": "2"})) == (
        "sysctls.ipv4.conf.rp_filter",
    )


def test_whether_processes_live_in_a_namespace_is_no_difference() -> None:
    assert differences(Netns("web", "netns:web"), Netns("web", "netns:web", busy=True)) == ()


def test_a_route_without_a_next_hop_differs_from_one_with() -> None:
    on_link = Route("web", "0.0.0.0/0", link="web/front")
    assert differences(on_link, replace(on_link, via="10.0.0.1")) == ("via",)
    assert differences(replace(on_link, link=None, type="blackhole"), on_link) == ("link", "type")


def test_no_master_means_none_only_where_it_was_observed() -> None:
    loose = replace(WEB_FRONT, master=None)
    assert differences(loose, WEB_FRONT) == ()
    assert differences(loose, WEB_FRONT, exact=True) == ("master",)


@given(states())
def test_nothing_differs_from_itself(one: State) -> None:
    for resource in one.values():
        assert differences(resource, resource, exact=True) == ()


def test_the_value_of_a_field_is_found_by_its_way() -> None:
    link = replace(WEB_FRONT, sysctls={"ipv4.conf.rp_filter": "2"})
    assert value_of(link, "mtu") == 1500
    assert value_of(link, "peer.name") == "eth0"
    assert value_of(link, "sysctls.ipv4.conf.rp_filter") == "2"
    assert value_of(link, "options.mode") is None
    assert value_of(replace(link, peer=None), "peer.name") is None


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"mtu": 1400, "name": "ve2", "master": "/br0"}, ()),
        ({"sandbox": "db"}, ("sandbox",)),
        ({"peer": Peer("db", "eth0", mtu=1500)}, ("peer.sandbox",)),
        ({"kind": "macvlan", "sandbox": "web", "parent": "/eth0"}, ("kind",)),
    ],
)
def test_some_fields_can_not_be_changed_in_place(change: dict[str, object], reasons: tuple[str, ...]) -> None:
    desired = replace(WEB_FRONT, **change)  # type: ignore[arg-type]
    assert must_replace(desired, WEB_FRONT, differences(desired, WEB_FRONT)) == reasons


def test_a_lost_inner_end_can_not_be_put_back_in_place() -> None:
    lost = replace(WEB_FRONT, peer=None)
    assert must_replace(WEB_FRONT, lost, differences(WEB_FRONT, lost)) == ("peer",)


@pytest.mark.parametrize(
    ("one", "other", "reasons"), [("bridge", "private", ()), ("bridge", "passthru", "options.mode")]
)
def test_a_macvlan_does_not_go_to_passthru_or_back_in_place(one: str, other: str, reasons: str | tuple[()]) -> None:
    for mode, was in ((one, other), (other, one)):
        desired, seen = replace(WEB_LAN, options={"mode": mode}), replace(WEB_LAN, options={"mode": was})
        assert must_replace(desired, seen, differences(desired, seen)) == ((reasons,) if reasons else ())
