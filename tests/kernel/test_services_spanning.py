"""Services on networks that span hosts: three of them, in either mode, with real traffic from and to each."""

from __future__ import annotations

import socket
from dataclasses import replace
from ipaddress import ip_address

import pytest

from reconciler.firewall.services import virtual_ips
from tests.cluster import WORLD_IPV4, WORLD_IPV6, Host, apply, cluster
from tests.dns import ask
from tests.machine import PATIENCE, Machine

from .balanced import servers

SHOP = """
project: shop
hosts: {one: {address: 192.0.2.1}, two: {address: 192.0.2.2}, three: {address: 192.0.2.3}}
networks:
  front:
    driver: overlay
    driver_opts: {OPTIONS}
    ipam: {config: [{subnet: 10.50.0.0/24}, {subnet: "fd00:50::/64"}]}
containers:
  client: {host: two, networks: [front]}
  far: {host: one, networks: [front]}
  api-1: {host: two, networks: [front]}
  api-2: {host: two, networks: [front]}
  api-3: {host: three, networks: [front]}
services:
  api: {network: front, containers: ["api-*"]}
"""
WHERE = {"client": "two", "far": "one", "api-1": "two", "api-2": "two", "api-3": "three"}
BACKENDS = ("api-1", "api-2", "api-3")
MODES = {"l2": "", "l3": "mode: l3", "direct": "mode: l3, direct_routing: true"}

families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
kinds = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
modes = pytest.mark.parametrize("mode", list(MODES))
filtering = pytest.mark.parametrize("bridged", ["0", "1"], ids=["bridge-nf-0", "bridge-nf-1"])


def shop(mode: str, old: str = "", new: str = "") -> str:
    """Return the manifest in a mode, with a part of it replaced."""
    assert old in SHOP
    return SHOP.replace(old, new).replace("OPTIONS", MODES[mode])


@pytest.fixture
def hosts(host: Machine) -> dict[str, Host]:
    return cluster(host)


def at(hosts: dict[str, Host], name: str) -> str:
    """Return the namespace of a container of the shop."""
    return hosts[WHERE[name]].container(name)


def own(hosts: dict[str, Host], name: str, family: int) -> str:
    """Return the address of a container on the network."""
    return hosts[WHERE[name]].address(name, family, "10.50." if family == 4 else "fd00:50:")


def vip(host: Machine, hosts: dict[str, Host], family: int, service: str = "api") -> str:
    """Return the virtual IP of a service: the same one wherever it is asked for."""
    texts = [host.run("nft -s list ruleset", netns=at(hosts, name)).stdout for name in WHERE]
    texts += [one.run("nft -s list ruleset").stdout for one in hosts.values()]
    found = [
        {one for one, name in virtual_ips(text) if name == service and (":" in one) == (family == 6)} for text in texts
    ]
    assert all(one == found[0] for one in found)
    (only,) = found[0]
    return only


def filter_bridged(host: Machine, hosts: dict[str, Host], value: str) -> None:
    for one in hosts.values():
        for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
            host.sysctl(f"net.bridge.{name}", value, netns=one.netns)


@modes
@families
@kinds
@filtering
def test_containers_on_every_host_reach_all_who_serve_and_are_seen_as_who_they_are(
    host: Machine, hosts: dict[str, Host], mode: str, family: int, kind: int, bridged: str
) -> None:
    filter_bridged(host, hosts, bridged)
    apply(hosts, shop(mode))
    places = [at(hosts, name) for name in BACKENDS]
    address = vip(host, hosts, family)
    assert host.pings([(at(hosts, name), address) for name in WHERE]) == [True] * len(WHERE)
    with servers(host, places, 8000, ipv6=family == 6, kind=kind) as api:
        for name in ("client", "far", "api-3"):
            found = [api.connect(at(hosts, name), address, 8000) for _ in range(6)]
            assert sorted(one for one in found if one) == sorted((one, own(hosts, name, family)) for one in places * 2)


@modes
@families
@kinds
@filtering
def test_hosts_are_clients_too_whether_somebody_serves_there_or_not(
    host: Machine, hosts: dict[str, Host], mode: str, family: int, kind: int, bridged: str
) -> None:
    filter_bridged(host, hosts, bridged)
    text = shop(mode, "  far: {host: one, networks: [front]}\n", "")
    apply(hosts, text)
    table = host.run("nft -s list ruleset", netns=at(hosts, "client")).stdout
    (address,) = (one for one, _ in virtual_ips(table) if (":" in one) == (family == 6))
    places = [at(hosts, name) for name in BACKENDS]
    with servers(host, places, 8000, ipv6=family == 6, kind=kind) as api:
        for one in hosts.values():
            assert host.ping(one.netns, address)
            found = {api.connect(one.netns, address, 8000) for _ in range(6)}
            assert {who and who[0] for who in found} == set(places)
            assert all(who and who[1].startswith(("10.50.", "fd00:50:")) for who in found)


PORTS = (
    '"api-*"], ports: ["8080:80", "8080:80/udp", {target: 80, published: 8081, mode: host},'
    " {target: 80, published: 8081, protocol: udp, mode: host}]"
)


@modes
@families
@kinds
@filtering
def test_a_published_port_works_on_every_host_and_only_where_it_is_served_in_mode_host(
    host: Machine, hosts: dict[str, Host], mode: str, family: int, kind: int, bridged: str
) -> None:
    filter_bridged(host, hosts, bridged)
    apply(hosts, shop(mode, '"api-*"]', PORTS))
    places = {name: at(hosts, name) for name in BACKENDS}
    world = WORLD_IPV4 if family == 4 else WORLD_IPV6
    with servers(host, list(places.values()), 80, ipv6=family == 6, kind=kind) as api:
        reached = {
            name: {api.connect("", one.address_of(family), 8080, world) for _ in range(6)}
            for name, one in hosts.items()
        }
        by_itself = {
            name: {api.connect(one.netns, one.address_of(family), 8080) for _ in range(6)}
            for name, one in hosts.items()
        }
        inside = {
            api.connect(at(hosts, name), hosts["one"].address_of(family), 8080) for name in WHERE for _ in range(3)
        }
        kept = {
            name: replace(api, within=PATIENCE).connect("", one.address_of(family), 8081, world)
            for name, one in hosts.items()
        }
    assert reached["two"] == {(places["api-1"], world), (places["api-2"], world)}
    assert reached["three"] == {(places["api-3"], world)}
    assert {one and one[0] for one in reached["one"]} == set(places.values())
    assert {one and one[0] for one in by_itself["one"]} == {one and one[0] for one in inside} == set(places.values())
    assert {one and one[0] for one in by_itself["three"]} == {places["api-3"]}
    assert kept["one"] is None
    assert kept["two"] in {(one, world) for one in list(places.values())[:2]}
    assert kept["three"] == (places["api-3"], world)


@pytest.mark.parametrize("mode", ["l2", "l3"])
@kinds
def test_a_host_reaches_what_it_publishes_by_127_0_0_1_where_others_serve(
    host: Machine, hosts: dict[str, Host], mode: str, kind: int
) -> None:
    apply(hosts, shop(mode, '"api-*"]', PORTS))
    places = [at(hosts, name) for name in BACKENDS]
    with servers(host, places, 80, kind=kind) as api:
        for name, serving in (("one", places), ("two", places[:2]), ("three", places[2:])):
            found = {api.connect(hosts[name].netns, "127.0.0.1", 8080) for _ in range(6)}
            assert {one and one[0] for one in found} == set(serving)


@modes
@families
def test_with_affinity_a_client_stays_with_one_and_a_weight_counts_as_often_on_each_host(
    host: Machine, hosts: dict[str, Host], mode: str, family: int
) -> None:
    more = '"api-*"], affinity: client}\n  pay: {network: front, containers: ["api-*"], weights: {api-3: 2}'
    apply(hosts, shop(mode, '"api-*"]', more))
    places = [at(hosts, name) for name in BACKENDS]
    with servers(host, places, 8000, ipv6=family == 6) as api:
        for name in ("client", "far"):
            assert len(api.spread(at(hosts, name), vip(host, hosts, family), 8000, 4)) == 1
            found = api.spread(at(hosts, name), vip(host, hosts, family, "pay"), 8000, 8)
            assert found == {places[0]: 2, places[1]: 2, places[2]: 4}


@families
def test_a_virtual_ip_may_be_pinned_in_a_part_that_is_a_hosts_or_nobodys(
    host: Machine, hosts: dict[str, Host], family: int
) -> None:
    apply(hosts, shop("l3"))
    beside, apart = beside_api_3(hosts, family), in_no_part(hosts, family)
    pay = f'pay: {{network: front, containers: ["api-*"], vip: "{apart}"'
    apply(hosts, shop("l3", '"api-*"]', f'"api-*"], vip: "{beside}"}}\n  {pay}'))
    assert (vip(host, hosts, family), vip(host, hosts, family, "pay")) == (beside, apart)
    places = [at(hosts, name) for name in BACKENDS]
    clients = [at(hosts, name) for name in ("client", "far", "api-3")] + [one.netns for one in hosts.values()]
    with servers(host, places, 8000, ipv6=family == 6) as api:
        for address in (beside, apart):
            for client in clients:
                assert host.ping(client, address)
                assert api.spread(client, address, 8000, 6) == dict.fromkeys(places, 2)


def beside_api_3(hosts: dict[str, Host], family: int) -> str:
    """Return an address in the part of the host that api-3 is on: of 16 addresses, or of an /96."""
    address = ip_address(own(hosts, "api-3", family))
    return str(address + 1 if int(address) % 16 < 14 else address - 1)


def in_no_part(hosts: dict[str, Host], family: int) -> str:
    """Return an address that is in the subnet of the network and in no host's part."""
    if family == 6:
        return "fd00:50::abcd:0:0:5"
    taken = {int(ip_address(own(hosts, name, family))) % 256 // 16 for name in WHERE}
    return f"10.50.0.{16 * next(part for part in range(16) if part not in taken) + 5}"


@modes
def test_a_service_of_names_alone_means_who_serves_on_all_hosts(
    host: Machine, hosts: dict[str, Host], mode: str
) -> None:
    text = shop(mode, '"api-*"]', '"api-*"], endpoint_mode: dnsrr').replace("project: shop", "project: shop\ndns: true")
    apply(hosts, text)
    for name in ("client", "far", "api-3"):
        resolv = hosts[WHERE[name]].run(["cat", f"/etc/netns/{name}/resolv.conf"]).stdout
        server = resolv.partition("nameserver ")[2].split()[0]
        for family, kind in ((4, "A"), (6, "AAAA")):
            wanted = sorted(own(hosts, one, family) for one in BACKENDS)
            assert sorted(ask(at(hosts, name), server, "api", kind).values) == wanted


@pytest.mark.parametrize("mode", ["l2", "l3"])
@families
def test_an_internal_network_has_services_all_the_same(
    host: Machine, hosts: dict[str, Host], mode: str, family: int
) -> None:
    apply(hosts, shop(mode, "    driver: overlay\n", "    driver: overlay\n    internal: true\n"))
    places = [at(hosts, name) for name in BACKENDS]
    with servers(host, places, 8000, ipv6=family == 6) as api:
        assert api.spread(at(hosts, "far"), vip(host, hosts, family), 8000, 6) == dict.fromkeys(places, 2)


def test_what_services_brought_goes_with_them(host: Machine, hosts: dict[str, Host]) -> None:
    def everything() -> list[str]:
        return [host.snapshot(place) for place in (at(hosts, "api-3"), *(one.netns for one in hosts.values()))]

    without = shop("l3").partition("services:")[0]
    apply(hosts, without)
    before = everything()
    apply(hosts, shop("l3"))
    assert everything() != before
    apply(hosts, without)
    assert everything() == before


@families
def test_the_way_of_a_host_to_virtual_ips_is_mended_when_somebody_takes_it_away(
    host: Machine, hosts: dict[str, Host], family: int
) -> None:
    text = shop("l3")
    apply(hosts, text)
    address, one = vip(host, hosts, family), hosts["one"]
    (found,) = host.json(f"ip -j -{family} route get {address}", netns=one.netns)
    assert found["prefsrc"].startswith("10.50." if family == 4 else "fd00:50:")
    routes = host.json(f"ip -j -{family} route show dev {found['dev']} proto 110", netns=one.netns)
    for prefix in (route["dst"] for route in routes if "gateway" not in route):
        one.run(f"ip -{family} route del {prefix} dev {found['dev']}")
    one.netapply("plan", "-", "--detailed-exitcode", stdin=text, code=2)
    one.netapply("-", stdin=text)
    assert host.ping(one.netns, address)
    assert "nothing to do" in one.netapply("-", stdin=text).stdout
