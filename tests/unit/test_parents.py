"""What a network stands on: links that are there, VLANs and dummies that are made, and who may share them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reconciler import engine
from reconciler.allocation.parents import split_vlan
from reconciler.errors import HostLacks, Refused
from reconciler.host import Facts, Upper
from reconciler.host.fake import FakeHost
from reconciler.host.fake_links import Hop
from reconciler.manifest.model import Manifest
from reconciler.networks import Parent
from reconciler.resources import Key, Link, Route
from tests.strategies import Document, new_host
from tests.strategies import manifest as load

from .allocation import ETH0, FACTS, end, manifest, net, network, problems, settled, standing

LAN = {"driver": "macvlan", "driver_opts": {"parent": "eth0.20"}, "ipam": {"config": [{"subnet": "10.20.0.0/24"}]}}
FORCE = engine.Options(force=True)


def shop(**networks: Document) -> Manifest:
    """Return a manifest of project shop in which each network has a container of its name."""
    containers = {name: {"networks": [name]} for name in networks}
    return load({"version": 1, "project": "shop", "networks": networks, "containers": containers})


def apply(wanted: Manifest, host: FakeHost) -> engine.Report:
    """Converge; the second time there is nothing to do."""
    report = engine.converge(wanted, host, FORCE)
    assert not engine.plan(wanted, host, FORCE).plan
    return report


# --- names


@pytest.mark.parametrize(
    ("name", "parts"),
    [("eth0.20", ("eth0", 20)), ("a.b.4094", ("a.b", 4094)), ("eth0.1", ("eth0", 1)), ("eth0", None), (".5", None)]
    + [(f"eth0.{tag}", None) for tag in ("0", "4095", "020", "x", "", "-1", "٢", "1_0")],
)
def test_a_vlan_is_named_by_its_base_and_its_number(name: str, parts: tuple[str, int] | None) -> None:
    assert split_vlan(name) == parts


# --- VLAN links


def test_a_missing_vlan_comes_with_its_first_network_and_goes_with_its_last() -> None:
    host = new_host()
    one, other = {**LAN, "ipam": {}}, {**LAN, "ipam": {}, "driver_opts": {"parent": "eth0.20", "mode": "vepa"}}
    apply(shop(one=one, other=other), host)
    vlan = host.kernel.host.devices["eth0.20"]
    assert (vlan.kind, vlan.options["id"], vlan.up, vlan.ipv6) == ("vlan", 20, True, False)
    apply(shop(other=other), host)
    assert "eth0.20" in host.kernel.host.devices
    apply(shop(back={}), host)
    assert "eth0.20" not in host.kernel.host.devices


def test_a_vlan_that_is_there_is_used_and_left_alone() -> None:
    host = new_host()
    theirs = host.kernel.add_link(
        host.kernel.host, "eth0.20", "vlan", parent=host.kernel.host.devices["eth0"], options={"id": 20}
    )
    before = replace(theirs)
    apply(shop(lan=LAN), host)
    engine.destroy("shop", host)
    assert host.kernel.host.devices["eth0.20"] is theirs
    for name in ("kind", "mtu", "mac", "up", "alias", "group", "options", "sysctls"):
        assert getattr(theirs, name) == getattr(before, name)


def test_a_vlan_on_a_vlan_that_is_missing_too_is_made_from_below() -> None:
    host = new_host()
    report = apply(shop(lan={**LAN, "driver_opts": {"parent": "eth0.20.7"}}), host)
    made = [change.key.name for change in report.plan.changes if change.key.kind == "link"]
    assert made == ["#eth0.20", "#eth0.20.7", "lan/lan"]


def test_a_vlan_of_a_bridge_that_another_network_makes_has_its_mtu() -> None:
    host = new_host()
    front = {"driver_opts": {"name": "br7"}, "mtu": 1400}
    apply(shop(front=front, lan={**LAN, "driver_opts": {"parent": "br7.20"}}), host)
    assert host.kernel.host.devices["br7.20"].mtu == 1400
    apply(shop(front=front), host)
    assert not {"br7.20"} & set(host.kernel.host.devices)


@pytest.mark.parametrize("name", ["eth9.20", "eth0.4095", "eth9"])
def test_what_can_not_come_to_be_is_lacking(name: str) -> None:
    with pytest.raises(HostLacks, match=f"the host has no link {name}"):
        settled(manifest([network("lan", driver="macvlan", driver_opts={"parent": name})]))


def test_an_external_network_makes_no_parent() -> None:
    declared = [
        network("lan", driver="macvlan", external=True, driver_opts=opts) for opts in ({"parent": "eth0.20"}, {})
    ]
    with pytest.raises(HostLacks, match=r"no link eth0\.20; create it"):
        settled(manifest(declared[:1]))
    with pytest.raises(HostLacks, match="no default route"):
        settled(manifest(declared[1:]), Facts())


def test_a_base_that_is_down_is_lacking() -> None:
    facts = replace(FACTS, links={"eth0": replace(ETH0, up=False)})
    with pytest.raises(HostLacks, match="eth0 is down"):
        settled(manifest([network("lan", driver="macvlan", driver_opts={"parent": "eth0.20"})]), facts)


def test_the_same_vlan_by_another_name_is_named() -> None:
    facts = replace(FACTS, uppers=(Upper("office", "vlan", "eth0", "", {"id": 20, "protocol": "802.1q"}),))
    declared = manifest([network("lan", driver="macvlan", driver_opts={"parent": "eth0.20"})])
    ((place, what),) = problems(declared, facts)
    assert place == "networks/lan/driver_opts/parent"
    assert "the host's link office is already" in what
    other = manifest([network("lan", driver="macvlan", driver_opts={"parent": "eth0.21"})])
    assert net(settled(other, facts), "lan").parent == Parent("eth0.21", "vlan", "#eth0.21", Parent("eth0"), 21, 1500)


def test_a_network_on_a_vlan_is_no_larger_than_the_base() -> None:
    ((_, what),) = problems(manifest([network("lan", driver="macvlan", mtu=9000, driver_opts={"parent": "eth0.20"})]))
    assert "its parent eth0 has 1500" in what


def test_a_vlan_follows_its_bases_mtu() -> None:
    host = new_host()
    apply(shop(lan=LAN), host)
    base = host.kernel.host.devices["eth0"]
    host.kernel.set_mtu(base, 1400)
    apply(shop(lan=LAN), host)
    host.kernel.set_mtu(base, 1500)
    apply(shop(lan=LAN), host)
    assert host.kernel.host.devices["eth0.20"].mtu == 1500


def test_a_lost_vlan_comes_back_with_what_stood_on_it() -> None:
    host = new_host()
    apply(shop(lan={**LAN, "driver_opts": {"parent": "eth0.20", "host_access": True}}), host)
    before = host.snapshot()
    host.kernel.remove_link(host.kernel.host.devices["eth0.20"])
    apply(shop(lan={**LAN, "driver_opts": {"parent": "eth0.20", "host_access": True}}), host)
    assert host.snapshot() == before


# --- what others have on ours


def test_a_vlan_that_bears_others_stays_and_goes_later() -> None:
    host = new_host()
    apply(shop(lan=LAN), host)
    vlan = host.kernel.host.devices["eth0.20"]
    theirs = host.kernel.add_link(host.kernel.host, "mv0", "macvlan", parent=vlan, options={"mode": "bridge"})
    report = engine.destroy("shop", host)
    assert report.notes == ("link eth0.20 stays while macvlan mv0 stands on it; a later run removes it",)
    assert host.kernel.host.devices["mv0"] is theirs
    host.kernel.remove_link(theirs)
    engine.destroy("shop", host)
    assert "eth0.20" not in host.kernel.host.devices


def test_what_would_take_links_of_others_along_is_refused() -> None:
    host = new_host()
    apply(shop(lan={"driver": "macvlan", "internal": True}), host)
    (dummy,) = [one for one in host.kernel.host.devices.values() if one.kind == "dummy"]
    host.kernel.add_link(host.kernel.host, "mv0", "macvlan", parent=dummy, options={"mode": "bridge"})
    before = host.snapshot()
    with pytest.raises(Refused, match=r"macvlan mv0 stands on dm.*, and would go with it; remove that first"):
        engine.destroy("shop", host)
    assert host.snapshot() == before


def test_rolling_back_leaves_a_vlan_that_bears_links_of_others_by_then() -> None:
    host = new_host()

    def trap(doing: str) -> None:
        if doing == "create link lan/lan":
            vlan = host.kernel.host.devices["eth0.20"]
            host.trap = None
            host.kernel.add_link(host.kernel.host, "mv0", "macvlan", parent=vlan, options={"mode": "bridge"})
            raise OSError(12, "no memory")

    host.trap = trap
    with pytest.raises(Exception, match="no memory"):
        engine.converge(shop(lan=LAN), host)
    assert "mv0" in host.kernel.host.devices


@pytest.mark.parametrize(
    ("kind", "options", "driver", "words"),
    [
        ("ipvlan", {"mode": "l2"}, "macvlan", "ipvlan up0 stands on eth1, which can't have a macvlan too"),
        ("macvlan", {"mode": "bridge"}, "ipvlan", "macvlan up0 stands on eth1, which can't have an ipvlan too"),
        ("ipvlan", {"mode": "l3"}, "ipvlan", "ipvlan up0 stands on eth1 with mode l3"),
        ("ipvlan", {"mode": "l2", "flag": "vepa"}, "ipvlan", "ipvlan up0 stands on eth1 with flag vepa"),
        ("macvlan", {"mode": "passthru"}, "macvlan", "which mode passthru leaves to one"),
    ],
)
def test_links_of_others_on_the_parent_are_conflicts_that_are_named(
    kind: str, options: Document, driver: str, words: str
) -> None:
    host = new_host()
    host.kernel.add_link(host.kernel.host, "up0", kind, parent=host.kernel.host.devices["eth1"], options=options)
    before = host.snapshot()
    with pytest.raises(Refused, match=words):
        engine.converge(shop(lan={"driver": driver, "driver_opts": {"parent": "eth1"}}), host)
    assert host.snapshot() == before


def test_a_port_of_a_bridge_is_no_parent() -> None:
    host = new_host()
    bridge = host.kernel.add_link(host.kernel.host, "br7", "bridge")
    host.kernel.set_master(host.kernel.host.devices["eth1"], bridge)
    with pytest.raises(Refused, match="eth1 is a port of br7, and no macvlan can stand on it; name br7 as parent"):
        engine.converge(shop(lan={"driver": "macvlan", "driver_opts": {"parent": "eth1"}}), host)
    apply(shop(lan={"driver": "macvlan", "driver_opts": {"parent": "eth1.20"}}), host)


# --- dummies


def test_without_a_default_route_a_network_stands_on_a_dummy_of_its_own() -> None:
    found = settled(manifest([network("lan", driver="macvlan")], {"web": ["lan"]}), Facts())
    parent = net(found, "lan").parent
    assert parent is not None
    assert (parent.kind, parent.reference) == ("dummy", "lan#parent")
    assert end(found, "web/lan").routes == ()
    assert found.notes == (
        "network lan names no parent and stands on a dummy link of its own, with no way out, as the host has no"
        " default route; set driver_opts.parent",
    )


def test_a_network_on_a_dummy_stays_there_until_it_names_a_parent() -> None:
    declared = manifest([network("lan", driver="macvlan")], {"web": ["lan"]})
    before = settled(declared, Facts())
    after = settled(declared, FACTS, standing(before))
    assert net(after, "lan").parent == net(before, "lan").parent
    assert "driver_opts.parent: eth0 is where" in after.notes[0]


def test_an_internal_network_stands_on_a_dummy_only_while_it_is_internal() -> None:
    inner = manifest([network("lan", driver="macvlan", internal=True)], {"web": ["lan"]})
    before = settled(inner)
    assert (net(before, "lan").parent or Parent("")).kind == "dummy"
    assert before.notes == ()
    opened = settled(manifest([network("lan", driver="macvlan")], {"web": ["lan"]}), FACTS, standing(before))
    assert net(opened, "lan").parent == Parent("eth0")
    told = network("lan", driver="macvlan", internal=True, driver_opts={"parent": "eth0"})
    assert net(settled(manifest([told])), "lan").parent == Parent("eth0")


def test_a_default_route_over_a_vlan_of_ours_is_no_link_of_others() -> None:
    before = standing(settled(manifest([network("lan", driver="macvlan", driver_opts={"parent": "eth0.20"})])))
    assert Key("link", "#eth0.20") in before
    told_none = manifest([network("dmz", driver="macvlan")])
    assert (
        net(settled(told_none, replace(FACTS, default_link="eth0.20"), before), "dmz").parent or Parent("")
    ).reference == ("#eth0.20")


# --- sharing


def test_the_parents_that_networks_turn_out_to_share_are_looked_at() -> None:
    declared = manifest(
        [network("a", driver="ipvlan"), network("b", driver="macvlan", driver_opts={"parent": "eth0"})],
        {"web": ["a"], "db": ["b"]},
    )
    assert problems(declared) == [
        ("networks/b/driver", "network b has links of kind macvlan, and network a, on the same parent eth0, has ipvlan")
    ]
    assert len(settled(declared, replace(FACTS, default_link=None)).networks) == 2  # a is on a dummy of its own


# --- the host's own access


ACCESS = {**LAN, "driver_opts": {"parent": "eth1", "host_access": True}}


def test_the_host_gets_an_address_that_is_nobodys_and_a_route_for_each_of_a_container() -> None:
    host = new_host()
    apply(shop(lan=ACCESS), host)
    state = engine.plan(shop(lan=ACCESS), host, FORCE).desired
    link = state[Key("link", "lan#host")]
    assert isinstance(link, Link)
    assert (link.kind, link.sandbox, link.parent) == ("macvlan", "", "/eth1")
    routes = [one for one in state.values() if isinstance(one, Route) and one.link == "lan#host"]
    topology = engine.plan(shop(lan=ACCESS), host, FORCE).topology
    (container,) = net(topology, "lan").endpoints[0].addresses
    assert [(one.sandbox, one.destination, one.via) for one in routes] == [
        ("", f"{container.partition('/')[0]}/32", None)
    ]
    assert net(topology, "lan").host_addresses[0] not in container
    apply(shop(lan={**LAN, "driver_opts": {"parent": "eth1"}}), host)
    assert [one.name for one in host.kernel.host.devices.values() if one.kind == "macvlan"] == []
    assert not any(key[0].startswith("10.20.0.") for key in host.kernel.host.routes)


def test_a_protected_network_may_lose_the_hosts_access_and_no_more() -> None:
    host = new_host()
    guarded = {**ACCESS, "protect": True}
    apply(shop(lan=guarded), host)
    apply(shop(lan={**guarded, "driver_opts": {"parent": "eth1"}}), host)
    assert not [one for one in host.kernel.host.devices if one.startswith("mh")]
    with pytest.raises(Refused, match="network lan is protected and would be replaced"):
        engine.converge(shop(lan={**guarded, "driver_opts": {"parent": "eth0"}}), host, FORCE)


def test_the_hosts_address_stays_when_containers_come_and_go() -> None:
    one = manifest(
        [network("lan", "10.20.0.0/28", driver="macvlan", driver_opts={"parent": "eth0", "host_access": True})]
    )
    first = settled(one)
    more = replace(one, containers=manifest([network("lan")], {f"c{n}": ["lan"] for n in range(12)}).containers)
    found = net(settled(more, FACTS, standing(first)), "lan")
    assert found.host_addresses == net(first, "lan").host_addresses
    assert len({*found.host_addresses, *(end.addresses[0] for end in found.endpoints)}) == 13
    full = replace(one, containers=manifest([network("lan")], {f"c{n}": ["lan"] for n in range(13)}).containers)
    ((_, what),) = problems(full, FACTS, standing(first))
    assert "has no IPv4 address left for container" in what


def test_a_given_address_gives_access_by_its_family_alone() -> None:
    opts = {"parent": "eth0", "host_access": '["FD00:20::00FA"]'}
    both = network("lan", "10.20.0.0/24", "fd00:20::/64", driver="ipvlan", enable_ipv6=True, driver_opts=opts)
    found = net(settled(manifest([both], {"web": ["lan"]})), "lan")
    assert found.host_addresses == ("fd00:20::fa/128",)


def test_an_address_that_the_host_has_already_is_an_error() -> None:
    opts = {"parent": "eth0", "host_access": "192.0.2.5"}
    ((place, what),) = problems(manifest([network("lan", "192.0.2.0/24", driver="macvlan", driver_opts=opts)]))
    assert place == "networks/lan/driver_opts/host_access"
    assert "is the host's own address on eth0" in what


def test_a_route_of_others_to_a_container_is_in_the_way() -> None:
    host = new_host()
    fixed = {"version": 1, "project": "shop", "networks": {"lan": ACCESS}}
    fixed["containers"] = {"web": {"networks": {"lan": {"ipv4_address": "10.20.0.9"}}}}
    host.kernel.add_route(host.kernel.host, Hop("10.20.0.9/32", 0, None, host.kernel.host.devices["eth0"]))
    with pytest.raises(Refused, match=r"the route to 10\.20\.0\.9/32 metric 0 in the host is taken"):
        engine.converge(load(fixed), host)


def test_link_local_addresses_have_no_routes() -> None:
    host = new_host()
    document = {"version": 1, "project": "shop", "networks": {"lan": ACCESS}}
    document["containers"] = {"web": {"networks": {"lan": {"link_local_ips": ["169.254.7.7", "fe80::7"]}}}}
    apply(load(document), host)
    assert not any(key[0].startswith(("169.254.", "fe80:")) for key in host.kernel.host.routes)


# --- what the kernel lacks


def test_a_kind_that_the_kernel_lacks_is_said_before_anything_is_touched() -> None:
    host = new_host()
    host.kernel.lacks = {"ipvlan", "vlan"}
    lan = {"driver": "ipvlan", "driver_opts": {"parent": "eth0.20"}}
    before = host.snapshot()
    with pytest.raises(HostLacks) as caught:
        engine.plan(shop(lan=lan), host)
    assert str(caught.value).splitlines() == [
        "network lan needs links of kind ipvlan, which this kernel does not make;"
        " load the module (modprobe ipvlan), or run a kernel that has CONFIG_IPVLAN",
        "eth0.20 needs links of kind vlan, which this kernel does not make;"
        " load the module (modprobe 8021q), or run a kernel that has CONFIG_VLAN_8021Q",
    ]
    assert host.snapshot() == before


def test_only_what_is_made_and_not_seen_is_tried() -> None:
    class Asked(FakeHost):
        tried: list[list[str]] = []  # noqa: RUF012 - of one test

        def lacking(self, kinds):  # type: ignore[no-untyped-def]
            self.tried.append(sorted(kinds))
            return []

    host = Asked()
    host.kernel.host.devices.update(new_host().kernel.host.devices)
    for one in host.kernel.host.devices.values():
        one.space = host.kernel.host
    apply(shop(lan=ACCESS), host)
    assert host.tried == [["macvlan"]]
    host.tried.clear()
    apply(shop(lan=ACCESS, other={**LAN, "driver_opts": {"parent": "eth1"}, "ipam": {}}), host)
    assert host.tried == []
