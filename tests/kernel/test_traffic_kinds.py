"""Kinds of networks, addresses and routes that most manifests do without, on real packets: IPv6 alone, subnets of two
addresses, link-local addresses, routes to nowhere, macvlan behind a switch, direct routes over IPv6."""

from __future__ import annotations

import errno
import socket

from tests.cluster import WORLD_IPV6, apply, captured, cluster
from tests.dns import ask
from tests.isolation import inside
from tests.machine import PATIENCE, Machine

from .balanced import servers
from .test_manifests import reach, unreached, without_what_stays
from .test_overlay import address, at, shop

SHORT = 0.4
"""Seconds to wait for what must not arrive."""


def converge(host: Machine, text: str) -> str:
    """Apply a manifest, and once more to no effect; return what the first run said."""
    said = host.netapply("-", stdin=text).stdout
    assert "nothing to do" in host.netapply("-", stdin=text).stdout
    return said


# IPv6 alone

SIX = """
project: six
networks:
  front: {enable_ipv4: false, ipam: {config: [{subnet: "fd00:20::/64"}]}}
  back: {enable_ipv4: false, internal: true, ipam: {config: [{subnet: "fd00:21::/64"}]}}
  open: {enable_ipv4: false, driver_opts: {gateway_mode: routed}, ipam: {config: [{subnet: "2001:db8:22::/64"}]}}
containers:
  web:
    networks: {front: {ipv6_address: "fd00:20::a", aliases: [www]}, back: {ipv6_address: "fd00:21::a"}}
    ports: ["8080:80", "8080:80/udp"]
  api: {networks: {front: {ipv6_address: "fd00:20::b"}}}
  db: {networks: {back: {ipv6_address: "fd00:21::b"}}}
  mail: {networks: {open: {ipv6_address: "2001:db8:22::a"}}}
services:
  pool: {network: front, vip: "fd00:20::100", containers: [web, api], ports: [{target: 80, published: 9000}]}
"""


def test_a_host_that_has_ipv6_alone_lacks_nothing(host: Machine, bridge_nf: bool) -> None:
    """Its default route and its neighbours' MTU are IPv6's, and IPv4 is forwarded for nobody."""
    outside = host.outside(mtu=1400, routes=["fd00:20::/64", "fd00:21::/64", "2001:db8:22::/64"])
    for netns in ("", outside.name):
        host.run("ip -4 addr flush scope global", netns=netns)
    converge(host, SIX)
    assert [host.addresses(name, 4) for name in ("", "web", "mail")] == [[], [], []]
    assert host.sysctl("net.ipv4.ip_forward") == "0"

    reach(host, ("web", "fd00:20::b"), ("db", "fd00:21::a"), ("web", outside.ipv6), (outside.name, "2001:db8:22::a"))
    host.run("ip route add default via fd00:21::1", netns="db")  # so that the firewall alone can stop it
    refused = [("api", "fd00:21::b"), ("db", "fd00:20::b"), ("mail", "fd00:20::b"), ("api", "2001:db8:22::a")]
    refused += [("db", outside.ipv6), (outside.name, "fd00:20::b"), (outside.name, "fd00:21::b")]
    unreached(host, *refused)
    assert host.tcp("api", outside.name, outside.ipv6) == outside.host_ipv6
    assert host.udp("mail", outside.name, outside.ipv6) == "2001:db8:22::a"

    for reaches in (host.tcp, host.udp):
        assert reaches(outside.name, "web", outside.host_ipv6, 8080, target=80) == outside.ipv6
        assert reaches("api", "web", "fd00:20::1", 8080, target=80) == "fd00:20::1"
        assert reaches("", "web", outside.host_ipv6, 8080, target=80)

    assert ask("api", "fd00:20::1", "www", "AAAA").values == ("fd00:20::a",)
    with servers(host, ("web", "api"), 80, ipv6=True) as pool:
        assert pool.spread("api", "fd00:20::100", 80, 4) == {"web": 2, "api": 2}
        assert pool.spread(outside.name, outside.host_ipv6, 9000, 4) == {"web": 2, "api": 2}

    for netns, target in (("web", "fd00:20::b"), ("db", "fd00:21::a"), ("mail", outside.ipv6)):
        assert host.ping(netns, target, size=1400, fragment=False)
    assert not host.ping("web", "fd00:20::b", size=1401, fragment=False, within=SHORT)


# subnets of two addresses


def test_a_subnet_of_two_addresses_has_the_gateway_and_one_container(host: Machine) -> None:
    """RFC 3021, RFC 6164. On a bridge the gateway is the host, on a macvlan the router that is behind the parent."""
    router = host.outside("router", "eth1", default_route=False)
    for one in ("10.31.0.0/31", "fd00:31::/127 nodad"):
        host.run(f"ip addr add {one} dev eth0", netns="router")
    outside = host.outside(routes=["10.30.0.0/31", "fd00:30::/127"])
    text = """
project: pair
networks:
  near: {ipam: {config: [{subnet: 10.30.0.0/31}, {subnet: "fd00:30::/127"}]}}
  far:
    driver: macvlan
    driver_opts: {parent: eth1}
    ipam: {config: [{subnet: 10.31.0.0/31}, {subnet: "fd00:31::/127"}]}
  given:
    driver_opts: {inhibit_gateway: true}
    ipam: {config: [{subnet: 10.32.0.0/31, gateway: 10.32.0.1}, {subnet: "fd00:32::/127", gateway: "fd00:32::1"}]}
containers: {web: {networks: [near]}, edge: {networks: [far]}, guest: {networks: [given]}}
"""
    converge(host, text)
    reach(host, ("", "10.30.0.1"), ("", "fd00:30::1"), ("web", "10.30.0.0"), ("web", "fd00:30::"))
    for family in (4, 6):
        assert host.tcp("web", "outside", outside.address(family)) == outside.host_address(family)
        assert host.tcp("edge", "router", router.address(family)) == host.addresses("edge", family)[0]
    reach(host, ("router", "10.31.0.1"), ("router", "fd00:31::1"), ("edge", "10.31.0.0"), ("edge", "fd00:31::"))
    unreached(
        host, ("outside", "10.30.0.1"), ("outside", "fd00:30::1"), ("guest", "10.32.0.1"), ("guest", "fd00:32::1")
    )
    for one in ("10.32.0.1/31", "fd00:32::1/127 nodad"):
        host.run(f"ip addr add {one} dev pair-given")
    reach(host, ("guest", "10.32.0.1"), ("", "10.32.0.0"), ("guest", "fd00:32::1"), ("", "fd00:32::"))


# link-local addresses


def test_a_link_local_address_is_reached_by_the_neighbours_and_by_nobody_else(host: Machine) -> None:
    text = """
project: near
networks:
  lan: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
  other: {ipam: {config: [{subnet: 10.21.0.0/24}]}}
containers:
  web: {networks: {lan: {ipv4_address: 10.20.0.10, link_local_ips: [169.254.7.7, "fe80::7"]}}}
  api: {networks: {lan: {ipv4_address: 10.20.0.11, link_local_ips: [169.254.7.8, "fe80::8"]}}}
  db: {networks: {other: {link_local_ips: [169.254.7.9, "fe80::9"]}}}
"""
    converge(host, text)
    reach(host, ("api", "169.254.7.7"), ("api", "fe80::7%eth0"), ("web", "fe80::8%eth0"), ("web", "10.20.0.11"))
    assert host.tcp("api", "web", "169.254.7.7") == "169.254.7.8"
    assert host.tcp("web", "api", "fe80::8%eth0")
    unreached(host, ("db", "169.254.7.7"), ("db", "fe80::7%eth0"), ("web", "169.254.7.9"))
    converge(host, text.replace(', link_local_ips: [169.254.7.7, "fe80::7"]', ""))
    unreached(host, ("api", "169.254.7.7"), ("api", "fe80::7%eth0"))
    reach(host, ("api", "10.20.0.10"))


# routes to nowhere

NOWHERE = {"blackhole": errno.EINVAL, "prohibit": errno.EACCES, "unreachable": errno.EHOSTUNREACH}
PLACES = {
    f"{prefix}{number}": (kind, length)
    for prefix, length in (("198.51.100.", 32), ("2001:db8:51::", 128))
    for number, kind in enumerate(NOWHERE, 1)
}


def failure(netns: str, place: str) -> int:
    """Return the error that a connection fails with, 0 if it does not."""
    with inside(netns), socket.socket(socket.AF_INET6 if ":" in place else socket.AF_INET) as client:
        client.settimeout(3 * PATIENCE)
        return client.connect_ex((place, 8000))


def test_a_route_to_nowhere_fails_a_connection_at_once_and_goes_with_the_manifest(host: Machine) -> None:
    host.outside()
    for place, (_, length) in PLACES.items():
        host.run(f"ip addr add {place}/{length} dev lo", netns="outside")
    routes = [f'{{destination: "{place}/{length}", type: {kind}}}' for place, (kind, length) in PLACES.items()]
    subnets = 'ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}'
    text = f"project: nowhere\nnetworks: {{front: {{{subnets}, routes: [{', '.join(routes)}]}}, back: }}\n"
    text += "containers: {web: {networks: [front]}, api: {networks: [back]}}\n"
    converge(host, text)
    assert {place: failure("web", place) for place in PLACES} == {
        place: NOWHERE[kind] for place, (kind, _) in PLACES.items()
    }
    reach(host, *(("web", one) for one in ("203.0.113.2", "2001:db8:113::2")), ("api", "198.51.100.1"))
    converge(host, text.replace(", ".join(routes), ""))
    reach(host, *(("web", place) for place in PLACES))
    with host.socket("outside", "::", 8000):
        assert {failure("web", place) for place in PLACES} == {0}


# macvlan


def switch(host: Machine, *addresses: str) -> None:
    """Make a link eth0 to a switch, which is a bridge in the namespace `switch` and has these addresses."""
    host.netns("switch")
    host.run("ip link add eth0 type veth peer name port0 netns switch")
    host.run("ip link add sw type bridge", netns="switch")
    lines = ["link set sw up addrgenmode none", "link set port0 master sw up addrgenmode none"]
    lines += [f"addr add {address} dev sw{' nodad' if ':' in address else ''}" for address in addresses]
    host.run("ip -batch -", netns="switch", stdin="\n".join(lines))
    host.run("ip link set eth0 up addrgenmode none")


LAN = """
project: lan
networks:
  lan:
    driver: macvlan
    driver_opts: {parent: eth0, mode: MODE, host_access: true}
    ipam: {config: [{subnet: 192.168.31.0/24, gateway: 192.168.31.1}, {subnet: "fd00:31::/64", gateway: "fd00:31::1"}]}
containers:
  red: {networks: {lan: {ipv4_address: 192.168.31.10, ipv6_address: "fd00:31::a"}}}
  blue: {networks: {lan: {ipv4_address: 192.168.31.20, ipv6_address: "fd00:31::14"}}}
"""
RED, BLUE = ("192.168.31.10", "fd00:31::a"), ("192.168.31.20", "fd00:31::14")


def test_macvlans_in_mode_vepa_reach_each_other_and_the_host_if_the_switch_sends_frames_back(host: Machine) -> None:
    switch(host, "192.168.31.1/24", "fd00:31::1/64")
    converge(host, LAN.replace("MODE", "vepa"))
    ways_out = [(name, one) for name in ("red", "blue") for one in ("192.168.31.1", "fd00:31::1")]
    reach(host, *ways_out, *(("switch", one) for one in (*RED, *BLUE)))
    among = [*(("red", one) for one in BLUE), *(("blue", one) for one in RED), *(("", one) for one in RED)]
    among += [("red", one) for family in (4, 6) for one in host.addresses("", family)]
    assert len(among) == 8
    unreached(host, *among)
    host.run("ip link set port0 type bridge_slave hairpin on", netns="switch")
    reach(host, *among, *ways_out)


def test_the_host_has_an_address_that_nobody_chose_and_reaches_its_macvlans_by_it(host: Machine) -> None:
    switch(host, "192.168.31.1/24", "fd00:31::1/64")
    before = without_what_stays(host.snapshot())
    text = LAN.replace("MODE", "bridge")
    converge(host, text)
    own = [*host.addresses("", 4), *host.addresses("", 6)]
    assert len(own) == 2
    assert not {"192.168.31.1", "fd00:31::1", *RED, *BLUE} & {*own}
    reach(host, *(("", one) for one in (*RED, *BLUE)), *(("red", one) for one in own), *(("blue", one) for one in own))
    for mine, theirs in zip(own, RED, strict=True):
        assert host.tcp("", "red", theirs) == mine
        assert host.udp("red", "", mine) == theirs
    host.netapply("destroy", "-", stdin=text)
    assert without_what_stays(host.snapshot()) == before


# overlay


def test_direct_routes_over_ipv6_carry_ipv6_as_it_is_and_ipv4_in_vxlan(host: Machine) -> None:
    hosts = cluster(host, ("one", "two"))
    where = {"web": "one", "db": "two"}
    text = shop(hosts, where=where, underlay=6, mode="l3", direct_routing=True)
    for one in hosts.values():  # a router asks for neighbours from its link-local address
        one.run(f"ip addr add fe80::{one.number}/64 dev eth0 nodad")
    apply(hosts, text)
    web, db = at(hosts, "web"), at(hosts, "db")
    with captured() as frames:
        assert host.tcp(web, db, address(hosts, "db", 6)) == address(hosts, "web", 6)
        assert host.udp(db, web, address(hosts, "web", 6)) == address(hosts, "db", 6)
        assert host.ping(web, address(hosts, "db", 6), size=1430, fragment=False)
        assert not host.ping(web, address(hosts, "db", 6), size=1431, fragment=False, within=SHORT)
    assert frames == []
    with captured() as frames:  # hosts that know each other by IPv6 have no IPv4 way
        assert host.tcp(web, db, address(hosts, "db", 4)) == address(hosts, "web", 4)
        assert host.ping(db, address(hosts, "web", 4), size=1430, fragment=False)
    assert frames != []
    assert host.tcp(db, "", WORLD_IPV6) == hosts["two"].ipv6
    host.run(f"ip route add fd00:50::/64 via {hosts['one'].ipv6}")
    assert host.tcp("", web, address(hosts, "web", 6), within=SHORT) is None
    apply(hosts, shop(hosts, where=where, underlay=6, mode="l3"))
    with captured() as frames:
        assert host.ping(web, address(hosts, "db", 6))
    assert frames != []
