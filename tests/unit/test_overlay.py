"""Networks that span hosts: what each host derives, that all derive the same, and what is wrong with a manifest."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler import cli, commands, engine
from reconciler.allocation.spanning import FIRST_VNI, vnis
from reconciler.errors import HostLacks, ManifestError, Refused
from reconciler.firewall import Zone
from reconciler.host.fake import FakeHost
from reconciler.host.fake_links import Hop
from reconciler.host.fake_neighbours import add_entry, set_neighbour
from reconciler.manifest import load
from reconciler.manifest.model import HostSpec, Manifest
from reconciler.networks import Network
from reconciler.placement import known, placed
from reconciler.plan import Create, Delete, Plan, Update
from reconciler.report import status, text
from reconciler.report.content import Content
from reconciler.report.terminal import View
from reconciler.resources import Address, FdbEntry, Link, Neighbour, NftTable, Resource, Route, Sysctl
from tests.golden import compare
from tests.strategies import Document, documents, new_host
from tests.strategies import manifest as of

TEXT = """
version: 1
project: shop
hosts: {{one: {{address: {one}}}, two: {{address: {two}}}, three: {{address: {three}}}}}
networks:
  front: {{driver: overlay, driver_opts: {{{options}}}, {network}}}
containers:
  web: {{host: one, networks: [front]}}
  db: {{host: two, networks: {{front: {{link_local_ips: [fe80::d]}}}}}}
  cache: {{host: three, networks: [front]}}
"""
IPV4 = {"one": "192.0.2.10", "two": "192.0.2.12", "three": "192.0.2.13"}
IPV6 = {"one": '"2001:db8::10"', "two": '"2001:db8::12"', "three": '"2001:db8::13"'}
SUBNETS = 'ipam: {config: [{subnet: 10.50.0.0/24}, {subnet: "fd00:50::/64"}]}'


def shop(options: str = "", network: str = SUBNETS, hosts: Mapping[str, str] = IPV4) -> Manifest:
    return load(["-"], {}, io.StringIO(TEXT.format(options=options, network=network, **hosts)))


def host_at(address: str) -> FakeHost:
    """Return a host whose own address that is."""
    host = new_host()
    card = host.kernel.host.devices["eth0"]
    for have in list(card.addresses):
        del card.addresses[have]
    host.kernel.add_address(card, f"{address}/{64 if ':' in address else 24}")
    return host


def proposal(manifest: Manifest, here: str) -> engine.Proposal:
    return engine.plan(manifest, host_at(manifest.hosts[here].address), engine.Options(here=here))


def network(manifest: Manifest, here: str) -> Network:
    return next(one for one in proposal(manifest, here).topology.networks if one.name == "front")


def desired(manifest: Manifest, here: str, kind: type[Resource]) -> list[Any]:
    return [one for one in proposal(manifest, here).desired.values() if isinstance(one, kind)]


def link(manifest: Manifest, here: str, path: str) -> Link:
    found: list[Link] = desired(manifest, here, Link)
    return next(one for one in found if one.path == path)


# What a host makes


def test_a_host_knows_where_everybody_else_is() -> None:
    front = network(shop(), "one")
    assert [(one.container, one.via) for one in front.remotes] == [("cache", IPV4["three"]), ("db", IPV4["two"])]
    assert desired(shop(), "one", FdbEntry) == [FdbEntry("front#vxlan", one.mac, one.via) for one in front.remotes]
    neighbours = {(one.link, one.address, one.mac) for one in desired(shop(), "one", Neighbour)}
    assert neighbours == {("front", address, one.mac) for one in front.remotes for address in one.addresses}
    assert ("front", "fe80::d", front.remotes[1].mac) in neighbours


def test_the_link_to_the_others_learns_nothing_and_floods_nothing() -> None:
    vxlan = link(shop(), "one", "front#vxlan")
    assert (vxlan.kind, vxlan.master, vxlan.mtu) == ("vxlan", "front", 1450)
    assert vxlan.options == {"id": vnis(shop(), ["front"])["front"], "local": IPV4["one"], "port": 4789} | {
        "learning": False
    }
    assert vxlan.port == {"learning": False, "neigh_suppress": True, "isolated": False} | dict.fromkeys(
        ("flood", "mcast_flood", "bcast_flood"), False
    )


def test_an_ipv6_network_between_hosts_takes_more_of_the_mtu() -> None:
    vxlan = link(shop(hosts=IPV6), "two", "front#vxlan")
    assert (vxlan.mtu, vxlan.options["local6"], "local" in vxlan.options) == (1430, "2001:db8::12", False)


def test_who_asks_for_floods_gets_an_entry_for_each_other_host() -> None:
    entries = [one for one in desired(shop("flood: true"), "one", FdbEntry) if one.mac == FdbEntry.FLOOD]
    assert {(one.via, one.bridged) for one in entries} == {(IPV4["two"], False), (IPV4["three"], False)}
    assert link(shop("flood: true"), "one", "front#vxlan").port["bcast_flood"] is True


def test_containers_that_may_not_talk_may_not_talk_across() -> None:
    assert link(shop("icc: false"), "one", "front#vxlan").port["isolated"] is True


def test_a_routing_host_tells_the_kernel_of_hosts_and_not_of_their_containers() -> None:
    manifest = shop("mode: l3", "ipam: {config: [{subnet: 10.50.0.0/16}]}")
    front = network(manifest, "one")
    routes = [one for one in desired(manifest, "one", Route) if one.sandbox == ""]
    assert {(one.destination, one.via, one.link, one.onlink) for one in routes} == {
        (node.subnets[0].cidr, node.subnets[0].gateway, "front#vtep", True) for node in front.nodes
    }
    known = {one.address: one.mac for one in desired(manifest, "one", Neighbour)}
    assert {one.mac for one in desired(manifest, "one", FdbEntry)} == set(known.values())
    assert known.keys() == {node.subnets[0].gateway for node in front.nodes}
    assert link(manifest, "one", "front#vtep").master is None


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_a_host_knows_the_addresses_that_containers_give_themselves_on_others(mode: str) -> None:
    manifest = shop(f"mode: {mode}")
    told = {one.container: one.addresses for one in network(manifest, "one").remotes}
    own = {end.container: end.addresses for here in ("two", "three") for end in network(manifest, here).endpoints}
    assert told == {name: tuple(one.partition("/")[0] for one in some) for name, some in own.items()}


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_what_a_container_had_on_its_host_plays_no_part_since_the_others_can_not_know(mode: str) -> None:
    manifest = shop(f"mode: {mode}")
    (before,) = network(manifest, "one").endpoints
    web = manifest.containers["web"]
    pinned = replace(web, endpoints=(replace(web.endpoints[0], addresses=(in_part(before.addresses[0]),)),))
    host = host_at(IPV4["one"])
    here = engine.Options(here="one")
    engine.converge(replace(manifest, containers={**manifest.containers, "web": pinned}), host, here)
    (after,) = engine.plan(manifest, host, here).topology.networks[0].endpoints
    assert after.addresses == before.addresses


def in_part(address: str) -> str:
    """Return another address close by, that is neither the first nor the last of 16."""
    start, _, last = address.partition("/")[0].rpartition(".")
    return f"{start}.{int(last) + 1 if int(last) % 16 < 14 else int(last) - 1}"


def test_a_host_takes_packets_at_the_mac_that_the_others_send_to() -> None:
    manifest = shop("mode: l3", "ipam: {config: [{subnet: 10.50.0.0/16}]}")
    told = {one.via: one.mac for here in ("two", "three") for one in desired(manifest, here, FdbEntry)}
    assert told[IPV4["one"]] == link(manifest, "one", "front#vtep").mac


def test_a_container_reaches_all_parts_of_its_network_whatever_its_default_route() -> None:
    manifest = shop("mode: l3", "internal: true, ipam: {config: [{subnet: 10.50.0.0/16}]}")
    (route,) = [one for one in desired(manifest, "one", Route) if one.sandbox == "web"]
    gateway = next(one for one in desired(manifest, "one", Address) if one.link == "front")
    assert (route.destination, route.via) == ("10.50.0.0/16", gateway.address.partition("/")[0])


def test_hosts_route_among_themselves_for_a_network_that_is_internal() -> None:
    manifest = shop("mode: l3", "internal: true, ipam: {config: [{subnet: 10.50.0.0/16}]}")
    assert Sysctl("net.ipv4.ip_forward", "1") in desired(manifest, "one", Sysctl)
    zone = Zone("front", "br", ("10.50.1.0/24",), internal=True, across=("vx",))
    assert (zone.forwards(4), zone.routes(4), zone.routes(6)) == (False, True, False)


@pytest.mark.parametrize(
    ("options", "subnet", "length"),
    [("", "10.50.0.0/16", 24), ("", "10.50.0.0/24", 28), (", host_prefix_ipv4: 26", "10.50.0.0/24", 26)],
)
def test_a_subnet_is_cut_for_hosts_halfway_unless_told_how(options: str, subnet: str, length: int) -> None:
    front = network(shop(f"mode: l3{options}", f"ipam: {{config: [{{subnet: {subnet}}}]}}"), "one")
    assert [one.prefix_length for one in front.subnets] == [length]
    shares = [front.subnets[0].cidr, *(node.subnets[0].cidr for node in front.nodes)]
    assert len(set(shares)) == 3


def test_a_host_that_joins_leaves_the_parts_of_the_others_as_they_are() -> None:
    before = shop("mode: l3", "ipam: {config: [{subnet: 10.50.0.0/16}]}")
    new = [HostSpec(f"host-{number}", f"198.51.100.{number}") for number in range(1, 21)]
    more = {**before.hosts, **{one.name: one for one in new}}
    after = replace(before, hosts=more)
    own = {here: network(before, here).subnets for here in IPV4}
    assert {here: network(after, here).subnets for here in IPV4} == own


def test_hosts_on_one_link_are_reached_as_they_are_where_that_is_asked_for() -> None:
    hosts = {**IPV4, "three": "198.51.100.3"}
    both = 'ipam: {config: [{subnet: 10.50.0.0/16}, {subnet: "fd00:50::/64"}]}'
    manifest = shop("mode: l3, direct_routing: true", both, hosts)
    nodes = {node.name: node for node in network(manifest, "one").nodes}
    assert {name: node.near for name, node in nodes.items()} == {"two": True, "three": False}
    routes = {one.destination: one for one in desired(manifest, "one", Route) if one.sandbox == ""}
    near, near6 = (subnet.cidr for subnet in nodes["two"].subnets)
    assert (routes[near].via, routes[near].link, routes[near].onlink) == (hosts["two"], None, False)
    assert routes[near6].link == "front#vtep"  # there is no IPv6 address to send it to
    assert routes[nodes["three"].subnets[0].cidr].link == "front#vtep"
    table = next(one.text for one in desired(manifest, "one", NftTable) if one.name == "netapply-shop")
    assert near in table.partition("set direct_ipv4")[2]


def test_over_ipv6_hosts_on_one_link_are_reached_as_they_are_where_that_has_a_link_local_address() -> None:
    manifest = shop("mode: l3, direct_routing: true", 'ipam: {config: [{subnet: "fd00:50::/64"}]}', IPV6)
    for more, near in (("fe80::10/64", True), ("fd00:9::1/64", False)):
        host = host_at(manifest.hosts["one"].address)
        host.kernel.add_address(host.kernel.host.devices["eth0"], more)
        plan = engine.plan(manifest, host, engine.Options(here="one"))
        assert {node.near for node in plan.topology.networks[0].nodes} == {near}
        notes = [one for one in plan.topology.notes if "direct_routing" in one]
        assert ["does nothing for three and two: eth0 has no" in one for one in notes] == [True] * (not near)


# All derive the same


@given(document=documents(), seed=st.integers(0, 5))
def test_every_host_derives_the_same_of_every_network_and_endpoint(document: Document, seed: int) -> None:
    manifest = of(
        document if "hosts" in document else spanning(document, ipv6=bool(seed % 2), mode=f"l{2 + seed // 3}")
    )
    seen: dict[tuple[str, str], set[object]] = {}
    for name, one in manifest.hosts.items():
        host = busy_host(one.address, seed)
        try:
            topology = engine.plan(manifest, host, engine.Options(here=name)).topology
        except (HostLacks, ManifestError):
            continue  # it lacks a card, or has a route in the way: that does not change what the others derive
        for network in topology.networks:
            for key, found in derived(network):
                seen.setdefault(key, set()).add(found)
        for service in topology.services:
            if any(network.node and network.name == service.network for network in topology.networks):
                seen.setdefault(("service", service.name), set()).add(service.vips)
                for backend in service.backends:  # of those that do not run their own host alone knows it
                    seen.setdefault((service.name, backend.container), set()).add(backend._replace(here=True))
    assert {key: found for key, found in seen.items() if len(found) != 1} == {}


def spanning(document: Document, ipv6: bool, mode: str) -> Document:
    """Return a document with hosts, and a network on all of them that all its containers are on."""
    containers = {}
    for number, (name, one) in enumerate(document["containers"].items()):
        members = {member: {} for member in one["networks"]} if isinstance(one["networks"], list) else one["networks"]
        members = {**{member: end for member, end in members.items() if member != "nothing"}, "span": {}}
        containers[name] = {**one, "host": sorted(IPV4)[number % 3], "networks": members}
    return {
        **document,
        "hosts": {name: {"address": address} for name, address in IPV4.items()},
        "networks": {
            **document["networks"],
            "span": {"driver": "overlay", "enable_ipv6": ipv6, "driver_opts": {"mode": mode}},
        },
        "containers": containers,
        "services": {
            **document.get("services", {}),
            **({"all": {"network": "span", "containers": ["*"]}} if containers else {}),
        },
    }


def derived(network: Network) -> Iterator[tuple[tuple[str, str], object]]:
    """Yield what a host says of a network that spans hosts, and of the endpoints on it."""
    if network.node is None:
        return
    nodes = sorted(node._replace(near=False) for node in (*network.nodes, network.node))
    yield ("network", network.name), (network.options["vni"], str(nodes))
    for end in network.endpoints:
        yield (end.container, network.name), (end.mac, tuple(one.partition("/")[0] for one in end.addresses))
    for remote in network.remotes:
        yield (remote.container, network.name), (remote.mac, remote.addresses)


def busy_host(address: str, seed: int) -> FakeHost:
    """Return a host with that address where much is in use already that could play a part."""
    host = host_at(address)
    bridge = host.kernel.add_link(host.kernel.host, "canary0", "bridge")
    host.kernel.set_up(bridge, True)
    space = host.kernel.space()
    host.kernel.bind("theirs", space)
    host.kernel.pids[4242] = space
    for number in range(seed):
        device = host.kernel.host.devices["eth1"]
        host.kernel.add_route(host.kernel.host, Hop(f"172.{17 + number}.0.0/28", 0, None, device))
    host.nameservers = ("9.9.9.9",)
    return host


def test_what_a_host_uses_already_is_no_reason_to_choose_another_subnet_but_an_error_that_names_it() -> None:
    manifest = shop(network="enable_ipv4: true")
    (subnet,) = network(manifest, "one").subnets
    host = host_at(IPV4["one"])
    device = host.kernel.host.devices["eth1"]
    host.kernel.add_route(host.kernel.host, Hop(subnet.cidr, 0, None, device))
    with pytest.raises(ManifestError, match=f"subnet {subnet.cidr} of network front .*the host's route to"):
        engine.plan(manifest, host, engine.Options(here="one"))


def test_numbers_that_derive_alike_give_way_in_the_order_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = shop()
    networks = {name: replace(manifest.networks["front"], name=name) for name in ("a", "b", "c")}
    networks["c"] = replace(networks["c"], driver_opts={"vni": FIRST_VNI + 2})
    manifest = replace(manifest, networks=networks)
    monkeypatch.setattr("reconciler.allocation.spanning.digest", lambda *words: bytes(7) + b"\1" + bytes(8))
    assert vnis(manifest, ["a", "b", "c"]) == {"a": FIRST_VNI + 1, "b": FIRST_VNI + 3, "c": FIRST_VNI + 2}


def test_the_place_of_a_container_says_where_it_is_made_and_nothing_else() -> None:
    first, second = (proposal(shop(), here).topology for here in ("one", "two"))
    assert [netns.sandbox for netns in (*first.sandboxes, *second.sandboxes)] == ["web", "db"]
    text = (
        TEXT.format(options="", network=SUBNETS, **IPV4)
        + "  agent: {networks: [lan]}\n  far: {host: two, networks: [lan]}\n"
    )
    manifest = load(["-"], {}, io.StringIO(text.replace("networks:\n  front", "networks:\n  lan: {}\n  front", 1)))
    for here, expected in (("one", ["agent"]), ("two", ["agent", "far"])):
        lan = next(one for one in proposal(manifest, here).topology.networks if one.name == "lan")
        assert ([end.container for end in lan.endpoints], lan.remotes) == (expected, ())


# Who this is


def test_a_host_is_known_by_its_addresses_or_by_what_is_said() -> None:
    manifest = shop()
    assert placed(manifest, host_at(IPV4["two"])).here == "two"
    assert placed(manifest, host_at(IPV4["two"]), "three").here == "three"
    with pytest.raises(HostLacks, match=r"none of the manifest's hosts .*\(one 192.0.2.10, two 192.0.2.12, three"):
        placed(manifest, host_at("198.51.100.1"))
    both = host_at(IPV4["two"])
    both.kernel.add_address(both.kernel.host.devices["eth1"], f"{IPV4['one']}/24")
    with pytest.raises(HostLacks, match="several hosts of the manifest: one, two"):
        placed(manifest, both)


def test_a_manifest_without_hosts_is_the_same_everywhere() -> None:
    plain = load(["-"], {}, io.StringIO("project: shop\nnetworks: {front: }\n"))
    assert placed(plain, host_at("198.51.100.1"), "anybody") is plain
    assert known(plain, "anybody") == "anybody"


def test_a_host_that_is_said_and_not_there_is_an_error_with_what_was_meant() -> None:
    with pytest.raises(ManifestError, match="there is no host tow; did you mean two"):
        placed(shop(), new_host(), "tow")


def test_a_host_without_the_address_that_the_others_send_to_lacks_something() -> None:
    with pytest.raises(HostLacks, match=r"host two has the address 192.0.2.12, and no link of this host has it"):
        engine.plan(shop(), host_at(IPV4["one"]), engine.Options(here="two"))


# What is wrong with a manifest


def wrong(text: str) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        load(["-"], {}, io.StringIO(text))
    return [f"{problem.position.line}: {problem.what}; {problem.mend}" for problem in caught.value.problems]


SHOP = TEXT.format(options="", network=SUBNETS, **IPV4)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("host: two", "host: tow", "9: there is no host tow; did you mean two?"),
        ("host: two, ", "", "9: container db is on network front, which spans hosts, and does not say on which it is"),
        ("192.0.2.12", "192.0.2.10", "4: hosts one and two have the same address 192.0.2.10; give each its own"),
        ("192.0.2.12", "2001:db8::2", "4: host two has an IPv6 address, and host one an IPv4 one"),
        ("192.0.2.12", "127.0.0.1", "4: host two has the loopback address 127.0.0.1"),
        ("192.0.2.12", "169.254.1.1", "4: host two has the link-local address 169.254.1.1"),
        ("192.0.2.12", "node2.example", "4: address is 'node2.example', which is not an address"),
        ("{address: 192.0.2.12}", "{}", "4: the host has no address"),
        ("10.50.0.0/24", "192.0.2.0/24", "6: subnet 192.0.2.0/24 of network front has the address of host one in it"),
        ("driver: overlay,", "driver: overlay, external: true,", "6: an overlay network is made on every host"),
        ("driver_opts: {}", "driver_opts: {host_prefix_ipv4: 28}", "6: host_prefix_ipv4 is for mode l3"),
        ("driver_opts: {}", "driver_opts: {direct_routing: true}", "6: direct_routing is for mode l3"),
        ("driver_opts: {}", "driver_opts: {mode: l3, flood: true}", "6: there is nothing to flood in mode l3"),
        ("driver_opts: {}", "driver_opts: {mode: l3, gateway_mode: isolated}", "6: the hosts route in mode l3, and"),
        ("/24}", "/24, gateway: 10.50.0.1}", ""),
    ],
)
def test_what_is_wrong_is_said_with_its_place(old: str, new: str, complaint: str) -> None:
    text = SHOP.replace(old, new, 1)
    assert text != SHOP
    if not complaint:
        text = text.replace("driver_opts: {}", "driver_opts: {mode: l3}")
        complaint = "6: gateway is given, and in mode l3 each host has its own part of 10.50.0.0/24"
    assert {one[: len(complaint)] for one in wrong(text)} == {complaint}


def test_an_overlay_without_hosts_and_a_place_without_hosts_are_errors() -> None:
    said = wrong(
        "project: shop\nnetworks:\n  front: {driver: overlay}\ncontainers:\n  web: {host: one, networks: [front]}\n"
    )
    assert any(
        one.startswith("3: network front spans hosts (overlay), and there are none; add hosts: {") for one in said
    )
    assert any(one.startswith("5: there is no host one; add it under hosts") for one in said)


def test_two_networks_with_one_number_are_an_error() -> None:
    more = "networks:\n  back: {driver: overlay, driver_opts: {vni: 7}}\n"
    text = SHOP.replace("networks:\n", more, 1).replace("driver_opts: {}", "driver_opts: {vni: 7}")
    assert any("networks back and front have the same VNI 7; choose another" in one for one in wrong(text))


def test_a_route_by_a_neighbour_needs_one_segment() -> None:
    routes = "routes: [{destination: 198.51.100.0/24, via: 10.50.0.7}], "
    text = SHOP.replace("driver_opts: {}", f"{routes}driver_opts: {{mode: l3}}")
    assert any("6: via 10.50.0.7 would have to be a neighbour on every host" in one for one in wrong(text))


def test_ports_are_counted_on_each_host_by_itself() -> None:
    head = "project: shop\nhosts: {one: {address: 192.0.2.1}, two: {address: 192.0.2.2}}\n"
    head += "networks: {front: {driver: overlay, ipam: {config: [{subnet: 10.0.0.0/16}]}}}\ncontainers:\n"
    lines = [f"  c{n}: {{host: {'one' if n % 2 else 'two'}, networks: [front]}}\n" for n in range(2044)]
    assert len(load(["-"], {}, io.StringIO(head + "".join(lines))).containers) == 2044
    more = "".join([*lines, "  last: {host: one, networks: [front]}\n"])
    assert (
        "network front has 1023 endpoints on host one, and a bridge has 1023 ports at most, one of them"
        in wrong(head + more)[0]
    )


def test_the_same_process_number_on_two_hosts_is_two_sandboxes() -> None:
    text = SHOP.replace("{host: one,", "{host: one, sandbox: {pid: 7},").replace(
        "{host: two,", "{host: two, sandbox: {pid: 7},"
    )
    assert load(["-"], {}, io.StringIO(text)).containers["db"].sandbox.value == "7"
    assert any("have the same sandbox" in one for one in wrong(text.replace("host: two", "host: one")))


def test_there_is_a_host_too_many_for_a_small_subnet() -> None:
    manifest = shop("mode: l3, host_prefix_ipv4: 25", "ipam: {config: [{subnet: 10.50.0.0/24}]}")
    with pytest.raises(ManifestError, match=r"subnet 10.50.0.0/24 of network front has no share for 1 of 3 hosts"):
        proposal(manifest, "one")


def test_an_mtu_beyond_the_link_between_hosts_is_an_error() -> None:
    manifest = shop(network=f"mtu: 1451, {SUBNETS}")
    with pytest.raises(
        ManifestError, match=r"can't have an MTU of 1451: the link eth0 to the other hosts has 1500, and 50"
    ):
        proposal(manifest, "one")
    assert network(shop(network=f"mtu: 1450, {SUBNETS}"), "one").mtu == 1450


# Others, and drift


def converged(here: str = "one", options: str = "vni: 5000") -> tuple[FakeHost, Manifest]:
    host, manifest = host_at(IPV4[here]), shop(options)
    engine.converge(manifest, host)
    return host, manifest


def test_entries_of_others_on_our_links_stay() -> None:
    host, manifest = converged()
    vxlan = next(one for one in host.kernel.host.devices.values() if one.kind == "vxlan")
    assert vxlan.master
    entry = FdbEntry("", "02:00:00:00:00:99", "203.0.113.9", bridged=False)
    add_entry(host.kernel, vxlan, entry, mark=0)
    set_neighbour(host.kernel, vxlan.master, Neighbour("", "10.50.0.250", entry.mac), mark=0)
    assert not engine.plan(manifest, host).plan
    rest = replace(manifest, containers={name: one for name, one in manifest.containers.items() if name != "db"})
    engine.converge(rest, host)
    assert entry.mac in vxlan.fdb
    assert "10.50.0.250" in vxlan.master.neighbours


def test_an_entry_of_others_in_the_way_is_refused_by_name() -> None:
    host, manifest = converged()
    rest = replace(manifest, containers={name: one for name, one in manifest.containers.items() if name != "db"})
    engine.converge(rest, host)
    vxlan = next(one for one in host.kernel.host.devices.values() if one.kind == "vxlan")
    mac = next(one.mac for one in network(manifest, "one").remotes if one.container == "db")
    add_entry(host.kernel, vxlan, FdbEntry("", mac, "203.0.113.9", bridged=False), mark=0)
    with pytest.raises(Refused, match=f"fdb front#vxlan {mac} is taken: somebody else made it"):
        engine.converge(manifest, host)


def test_a_link_of_others_with_the_same_number_is_refused_by_name() -> None:
    host = host_at(IPV4["one"])
    host.kernel.add_link(host.kernel.host, "theirs", "vxlan", options={"id": 5000, "local": IPV4["one"], "port": 4789})
    with pytest.raises(Refused, match="VNI 5000 port 4789 IPv4 is taken: the link theirs has it"):
        engine.converge(shop("vni: 5000"), host)
    engine.converge(shop("vni: 5000, port: 4790"), host)


def test_half_an_entry_is_made_whole() -> None:
    host, manifest = converged()
    vxlan = next(one for one in host.kernel.host.devices.values() if one.kind == "vxlan")
    lost, other = sorted(vxlan.static)
    vxlan.static.discard(lost)
    del vxlan.fdb[other]
    plan = engine.plan(manifest, host).plan
    assert [(type(change), change.fields) for change in plan.changes if isinstance(change, Update)] == [
        (Update, ("bridged",)),
        (Update, ("via",)),
    ]
    engine.converge(manifest, host)
    assert not engine.plan(manifest, host).plan


def test_a_changed_number_makes_the_link_anew_and_a_changed_address_does_not() -> None:
    host, manifest = converged()
    plan = engine.plan(shop("vni: 5001"), host).plan
    assert any(isinstance(one, Delete) and one.key.name == "front#vxlan" for one in plan.changes)
    host.kernel.add_address(host.kernel.host.devices["eth0"], "192.0.2.77/24")
    moved = replace(manifest, hosts={**manifest.hosts, "one": manifest.hosts["one"]._replace(address="192.0.2.77")})
    plan = engine.plan(moved, host, engine.Options(here="one")).plan
    assert [(str(one.key), one.fields) for one in plan.changes if isinstance(one, Update)] == [
        ("link front#vxlan", ("options.local",))
    ]
    assert len(plan.changes) == 1


# What is told

GOLDEN = Path(__file__).parent / "golden" / "overlay"
golden = partial(compare, GOLDEN)


def content(manifest: Manifest, host: FakeHost) -> Content:
    plan = engine.plan(manifest, host).plan
    return Content("shop", plan, tuple(manifest.networks), tuple(manifest.containers), manifest.position)


@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_a_plan_is_told_as_in_the_golden_files(mode: str) -> None:
    host, before = host_at(IPV4["one"]), shop(f"mode: {mode}")
    golden(f"{mode}.txt", text.plan(content(before, host), View()))
    golden(f"{mode}.verbose.txt", text.plan(content(before, host), View(verbose=True)))
    engine.converge(before, host)
    rest = {name: one for name, one in before.containers.items() if name != "db"}
    golden(f"{mode}-container-left.txt", text.plan(content(replace(before, containers=rest), host), View()))
    moved = shop(f"mode: {mode}", hosts={**IPV4, "two": "192.0.2.99"})
    golden(f"{mode}-host-moved.txt", text.plan(content(moved, host), View()))
    observed = host.observe(engine.scope_of(before)).state
    golden(f"{mode}-status.txt", status.tree("shop", observed, content(moved, host), View()))
    renumbered = shop(f"mode: {mode}, vni: 77")
    golden(f"{mode}-renumbered.txt", text.plan(content(renumbered, host), View()))


def test_every_golden_file_has_its_case() -> None:
    cases = ("", ".verbose", "-container-left", "-host-moved", "-status", "-renumbered")
    assert {path.name for path in GOLDEN.iterdir()} == {f"{mode}{case}.txt" for mode in ("l2", "l3") for case in cases}


def test_ten_thousand_containers_on_other_hosts_are_told_in_a_few_lines() -> None:
    remotes = [f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(10_000)]
    made = tuple(
        one
        for mac in remotes
        for one in (FdbEntry("front#vxlan", mac, "192.0.2.12"), Neighbour("front", f"10.0.0.{mac}", mac))
    )
    told = text.plan(Content("shop", Plan(tuple(Create(one) for one in made))), View())
    assert "+ to other hosts: 10000 forwarding entries, 10000 neighbours" in told
    assert len(told.splitlines()) < 8


@pytest.mark.parametrize("command", ["validate", "plan", "status", "destroy", "apply", "pin"])
def test_every_command_takes_the_name_of_a_host_and_refuses_one_that_is_not_there(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "shop.yaml"
    path.write_text(SHOP)
    monkeypatch.setattr(commands, "host_factory", lambda: host_at(IPV4["one"]))
    assert cli.run([command, "--host", "one", str(path)]) == 0
    assert cli.run([command, "--host", "tow", str(path)]) == 65
    assert "there is no host tow; did you mean two?" in capsys.readouterr().err
    monkeypatch.setenv("NETAPPLY_HOST", "tow")
    assert cli.run([command, str(path)]) == 65
