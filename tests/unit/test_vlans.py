"""VLANs: what the options mean, and that the netlink messages about them are what pyroute2 takes them for."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg  # type: ignore[import-untyped]

from reconciler.host import netlink, rtnetlink
from reconciler.host import vlans as codec
from reconciler.host.netlink import Message
from reconciler.lowering import vlans
from reconciler.lowering.vlans import Run, runs
from reconciler.manifest.model import EndpointSpec, NetworkSpec
from reconciler.networks import Endpoint, Network
from reconciler.resources import BridgeVlan

VLAN = st.builds(BridgeVlan, st.just("web/front"), st.integers(1, 4094), st.booleans(), st.booleans())


def decoded(message: Message) -> dict[str, Any]:
    """Decode a message of ours with pyroute2: header fields, and the attributes of AF_SPEC in their order."""
    header = struct.pack("=IHHII", 16 + len(message.body), message.type, message.flags | netlink.REQUEST, 1, 0)
    found = ifinfmsg(header + message.body)
    found.decode()
    spec = found.get_attr("IFLA_AF_SPEC")
    attrs = [(name, value if isinstance(value, int) else dict(value)) for name, value, *_ in spec["attrs"]]
    return {"family": found["family"], "index": found["index"], "attrs": attrs}


def info(flags: int, vid: int) -> tuple[str, dict[str, int]]:
    return "IFLA_BRIDGE_VLAN_INFO", {"flags": flags, "vid": vid}


def plain(message: Message) -> dict[str, Any]:
    found = decoded(message)
    kept = [(name, {"flags": one["flags"], "vid": one["vid"]}) for name, one in found["attrs"] if isinstance(one, dict)]
    return {**found, "attrs": [*[pair for pair in found["attrs"] if not isinstance(pair[1], dict)], *kept]}


def test_all_ports_are_asked_for_with_their_vlans_in_runs() -> None:
    body = codec.all_ports()
    found = ifinfmsg(struct.pack("=IHHII", 16 + len(body), rtnetlink.GETLINK, netlink.REQUEST, 1, 0) + body)
    found.decode()
    assert (found["family"], found["index"], found.get_attr("IFLA_EXT_MASK")) == (7, 0, 4)


def test_a_port_is_put_into_vlans_by_number_and_by_range() -> None:
    message = codec.set_vlans(7, [Run(5, 5, True, True), Run(10, 20), Run(30, 31, False, True)], bridge=False)
    assert message.type == rtnetlink.SETLINK
    expected = [info(6, 5), info(8, 10), info(16, 20), info(12, 30), info(20, 31)]
    assert plain(message) == {"family": 7, "index": 7, "attrs": expected}


def test_a_bridge_itself_is_meant_by_a_flag() -> None:
    message = codec.set_vlans(3, [Run(1, 1, True, True)], bridge=True)
    assert nested_flags(message) == {0: struct.pack("=H", 2)}  # IFLA_BRIDGE_FLAGS: BRIDGE_FLAGS_SELF
    assert nested_flags(codec.set_vlans(3, [Run(1, 1)], bridge=False)) == {}


def nested_flags(message: Message) -> dict[int, bytes]:
    (spec,) = (payload for number, payload in netlink.attributes(message.body, 16) if number == 26)
    return {number: payload for number, payload in netlink.attributes(spec) if number == 0}


def test_a_port_leaves_all_vlans_by_one_message() -> None:
    message = codec.empty(7)
    assert message.type == rtnetlink.DELLINK
    assert plain(message)["attrs"] == [info(8, 1), info(16, 4094)]


@given(st.lists(VLAN, unique_by=lambda one: one.vid))
def test_what_is_encoded_is_decoded(wanted: list[BridgeVlan]) -> None:
    message = codec.set_vlans(7, runs(wanted), bridge=False)
    index, found = codec.row(message.body)
    assert index == 7
    assert sorted(found) == sorted((one.vid, one.pvid, one.untagged) for one in wanted)


@given(st.lists(VLAN, unique_by=lambda one: one.vid))
def test_runs_hold_the_same_vlans_and_no_two_could_be_one(wanted: list[BridgeVlan]) -> None:
    found = list(runs(wanted))
    spread = [(vid, one.pvid, one.untagged) for one in found for vid in range(one.first, one.last + 1)]
    assert spread == sorted((one.vid, one.pvid, one.untagged) for one in wanted)
    for one, other in pairwise(found):
        assert one.last + 1 < other.first or one.pvid or other.pvid or one.untagged != other.untagged
    assert all(one.first == one.last for one in found if one.pvid)


def test_a_message_of_something_else_has_no_vlans() -> None:
    assert codec.row(rtnetlink.link(index=9, name="x")) == (9, ())


# what the options mean


def network(endpoints: dict[str, dict[str, Any]], **options: Any) -> Network:
    ends = tuple(Endpoint(name, "front", "eth0", "", driver_opts=told) for name, told in endpoints.items())
    return Network("shop", "front", "bridge", 1500, {"vlan_filtering": True, **options}, endpoints=ends)


def said(one: Network) -> dict[str, list[tuple[int, bool]]]:
    """Return the VLANs by link: number, and whether it is the one without a tag."""
    found: dict[str, list[tuple[int, bool]]] = {}
    for vlan in [*vlans.of_bridge(one), *(vlan for end in one.endpoints for vlan in vlans.of_endpoint(one, end))]:
        assert vlan.pvid is vlan.untagged
        found.setdefault(vlan.link, []).append((vlan.vid, vlan.pvid))
    return found


def test_who_says_nothing_is_in_the_networks_vlan_with_the_host() -> None:
    assert said(network({"web": {}})) == {"front": [(1, True)], "web/front": [(1, True)]}
    assert said(network({"web": {}}, vlan=7)) == {"front": [(7, True)], "web/front": [(7, True)]}


def test_an_endpoint_has_one_vlan_without_a_tag_or_several_with_one_or_both() -> None:
    opts: dict[str, dict[str, Any]] = {
        "a": {"vlan": 10},
        "b": {"trunk": '[10,"20-22"]'},
        "c": {"vlan": 10, "trunk": "20-21,30"},
        "d": {"trunk": 9},
    }
    found = said(network(opts))
    assert found["a/front"] == [(10, True)]
    assert found["b/front"] == [(10, False), (20, False), (21, False), (22, False)]
    assert found["c/front"] == [(10, True), (20, False), (21, False), (30, False)]
    assert found["d/front"] == [(9, False)]


def test_the_uplink_carries_what_endpoints_have_unless_it_is_told() -> None:
    opts: dict[str, dict[str, Any]] = {"a": {"vlan": 10}, "b": {}}
    assert said(network(opts, uplink="eth1"))["front#uplink"] == [(1, True), (10, False)]
    assert said(network(opts, uplink="eth1", trunk="[30,31]"))["front#uplink"] == [(1, True), (30, False), (31, False)]
    assert said(network(opts, uplink="eth1", trunk=1))["front#uplink"] == [(1, False)], "its own with a tag, then"


def test_without_filtering_there_are_no_vlans() -> None:
    assert said(network({"web": {}}, vlan_filtering=False, uplink="eth1")) == {}


def test_on_an_external_bridge_only_who_says_some_has_vlans() -> None:
    one = network({"web": {"vlan": 5}, "db": {}}, vlan_filtering=False, name="br0")
    one = Network(one.project, one.name, one.driver, one.mtu, one.options, endpoints=one.endpoints, external=True)
    assert said(one) == {"web/front": [(5, True)]}


@pytest.mark.parametrize(
    ("options", "told", "where", "what"),
    [
        ({"vlan": 5}, {}, "", "network front does not filter VLANs, so no vlan"),
        ({}, {"trunk": 5}, "web", "network front does not filter VLANs, so no trunk"),
        ({"vlan_filtering": True, "trunk": 5}, {}, "", "network front has no uplink to carry VLANs"),
        ({"vlan_filtering": True}, {"trunk": "20-10"}, "web", "there are no VLANs from 20 to 10"),
        ({"vlan_filtering": True}, {"trunk": "4000-5000"}, "web", "there are no VLANs from 4000 to 5000"),
        ({"vlan_filtering": True}, {"trunk": "[0]"}, "web", "there are no VLANs from 0 to 0"),
        ({"vlan_filtering": True}, {"trunk": "ten"}, "web", "trunk is ten"),
        ({"vlan_filtering": True}, {"vlan": 5, "trunk": "1-9"}, "web", "VLAN 5 is the endpoint's without a tag and"),
        ({"external": True, "vlan": 5}, {}, "", "what its bridge does with VLANs is not netapply's to say"),
    ],
)
def test_what_makes_no_sense_is_said_where_it_stands(
    options: dict[str, Any], told: dict[str, Any], where: str, what: str
) -> None:
    external = bool(options.pop("external", False))
    spec = NetworkSpec("front", driver_opts=options, external=external)
    faults = list(vlans.faults(spec, [EndpointSpec("web", "front", driver_opts=told)]))
    assert [fault.container for fault in faults if what in fault.what] == [where]


def test_sense_is_not_complained_about() -> None:
    spec = NetworkSpec("front", driver_opts={"vlan_filtering": True, "vlan": 5, "uplink": "eth1", "trunk": "[5,6]"})
    assert list(vlans.faults(spec, [EndpointSpec("web", "front", driver_opts={"vlan": 7, "trunk": "8-9"})])) == []
    spec = NetworkSpec("front", driver_opts={"name": "br0"}, external=True)
    assert list(vlans.faults(spec, [EndpointSpec("web", "front", driver_opts={"vlan": 7})])) == []
