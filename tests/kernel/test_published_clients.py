"""Clients of published services: who serves which, whom the containers see, and which connections go on."""

from __future__ import annotations

import errno
import io
import os
import socket
import struct
from collections.abc import Sequence
from contextlib import ExitStack

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from tests.cluster import Host, apply, cluster
from tests.isolation import inside
from tests.machine import PATIENCE, Machine

from .balanced import servers
from .test_killed import kill, run_in_a_child
from .test_ports import crc32c
from .test_rollback import Counting, raising

ARRIVES_WITHIN = 10 * PATIENCE
"""Seconds to wait for what must arrive, however busy the machine is."""

SHOP = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
  back: {ipam: {config: [{subnet: 10.21.0.0/24}, {subnet: "fd00:21::/64"}]}}
containers:
  api-1: {networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}
  api-2: {networks: {front: {ipv4_address: 10.20.0.12, ipv6_address: "fd00:20::12"}}}
  api-3: {networks: {front: {ipv4_address: 10.20.0.13, ipv6_address: "fd00:20::13"}}}
services:
  api: {network: front, containers: [MEMBERS], MOREports: ["8081:80", "8081:80/udp"]}
"""
BACKENDS = ("api-1", "api-2", "api-3")
GATEWAY = {4: "10.20.0.1", 6: "fd00:20::1"}

families = pytest.mark.parametrize("family", [4, 6], ids=["ipv4", "ipv6"])
kinds = pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])


def shop(members: str = '"api-*"', more: str = "") -> str:
    return SHOP.replace("MEMBERS", members).replace("MORE", more)


def nothing_to_do(host: Machine, text: str) -> bool:
    return "nothing to do" in host.netapply("-", stdin=text).stdout


# affinity


def clients(host: Machine, family: int, netns: str, link: str) -> list[str]:
    """Have twelve clients behind a link, and return their addresses."""
    found = [f"203.0.113.{20 + one}" if family == 4 else f"2001:db8:113::2{one:x}" for one in range(12)]
    length, option = (24, "") if family == 4 else (64, " nodad")
    host.run(
        "ip -batch -", netns=netns, stdin="".join(f"addr add {one}/{length} dev {link}{option}\n" for one in found)
    )
    return found


@families
@kinds
def test_with_affinity_a_client_from_outside_stays_with_one_container_and_clients_differ(
    host: Machine, bridge_nf: bool, family: int, kind: int
) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop(more="affinity: client, "))
    some = clients(host, family, "outside", "eth0")
    with servers(host, BACKENDS, 80, ipv6=family == 6, kind=kind) as api:
        found = {
            one: [api.connect("outside", outside.host_address(family), 8081, one) for _ in range(3)] for one in some
        }
    assert all(served.count(served[0]) == 3 for served in found.values()), found
    assert [served[0] and served[0][1] for served in found.values()] == some, "whom the containers see"
    assert {served[0] and served[0][0] for served in found.values()} == set(BACKENDS)
    assert nothing_to_do(host, shop(more="affinity: client, "))


@families
def test_without_affinity_connections_are_spread_within_two_percent_whoever_the_clients_are(
    host: Machine, family: int
) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    some = clients(host, family, "outside", "eth0")
    with servers(host, BACKENDS, 80, ipv6=family == 6) as api:
        found = [api.connect("outside", outside.host_address(family), 8081, some[one % 12]) for one in range(300)]
    served = [one and one[0] for one in found]
    assert all(abs(served.count(name) - 100) <= 2 for name in BACKENDS), served


def test_affinity_comes_and_goes_with_the_manifest_and_ends_no_connection(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    with ExitStack() as stack:
        some = [
            *connected(stack, host, outside.host_ipv4).values(),
            *connected(stack, host, outside.host_ipv6).values(),
        ]
        for more in ("affinity: client, ", ""):
            assert "port 8081/tcp of api" in host.netapply("plan", "-", stdin=shop(more=more)).stdout
            host.netapply("-", stdin=shop(more=more))
            assert [is_alive(*ends) for ends in some] == [True] * 6
            assert nothing_to_do(host, shop(more=more))


SPANNING = """
project: shop
hosts: {one: {address: 192.0.2.1}, two: {address: 192.0.2.2}, three: {address: 192.0.2.3}}
networks:
  front:
    driver: overlay
    driver_opts: {mode: MODE}
    ipam: {config: [{subnet: 10.50.0.0/24}, {subnet: "fd00:50::/64"}]}
containers:
  api-1: {host: two, networks: [front]}
  api-2: {host: two, networks: [front]}
  api-3: {host: three, networks: [front]}
services:
  api: {network: front, containers: ["api-*"], affinity: client, ports: ["8081:80"]}
"""


@families
@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_every_host_that_publishes_a_service_sends_a_client_to_one_container(
    host: Machine, mode: str, family: int
) -> None:
    hosts: dict[str, Host] = cluster(host)
    apply(hosts, SPANNING.replace("MODE", mode))
    some = clients(host, family, "", "lan")
    places = {hosts["two"].container("api-1"), hosts["two"].container("api-2"), hosts["three"].container("api-3")}
    with servers(host, sorted(places), 80, ipv6=family == 6) as api:
        found = {
            name: [{api.connect("", one.address_of(family), 8081, client) for _ in range(3)} for client in some]
            for name, one in hosts.items()
        }
    assert all(len(served) == 1 for of_host in found.values() for served in of_host), found
    reached = {name: {one and one[0] for served in of_host for one in served} for name, of_host in found.items()}
    assert reached["one"] == places, "none serves here, and those on other hosts do"
    assert reached["two"] == {hosts["two"].container("api-1"), hosts["two"].container("api-2")}
    assert reached["three"] == {hosts["three"].container("api-3")}
    assert [{one and one[1] for one in served} for served in found["two"]] == [{client} for client in some]


@families
@pytest.mark.parametrize("mode", ["l2", "l3"])
def test_connections_go_on_with_who_has_left_on_another_host(host: Machine, mode: str, family: int) -> None:
    """Host one has none who serve until it gets one itself, which from then on has all that is new."""
    hosts: dict[str, Host] = cluster(host)
    text = SPANNING.replace("MODE", mode).replace("affinity: client, ", "")
    apply(hosts, text)
    places = [hosts["two"].container("api-1"), hosts["two"].container("api-2"), hosts["three"].container("api-3")]
    with ExitStack() as stack:
        found = connected(stack, host, hosts["one"].address_of(family), "", places)
        assert sorted(found) == sorted(places)
        apply(hosts, text.replace("services:", "  api-4: {host: one, networks: [front]}\nservices:"))
        assert [is_alive(*one) for one in found.values()] == [True] * 3
        with servers(host, [*places, hosts["one"].container("api-4")], 80, ipv6=family == 6) as api:
            assert api.spread("", hosts["one"].address_of(family), 8081, 3) == {hosts["one"].container("api-4"): 3}


# whom the containers see


@families
def test_only_the_container_whose_answers_go_another_way_sees_the_hosts_address(
    host: Machine, bridge_nf: bool, family: int
) -> None:
    outside = host.outside()
    client = outside.address(family)
    elsewhere = shop().replace('"fd00:20::12"}', '"fd00:20::12"}, back: {gw_priority: 9}')
    for text, seen in ((elsewhere, GATEWAY[family]), (shop(), client), (elsewhere, GATEWAY[family])):
        host.netapply("-", stdin=text)
        with servers(host, BACKENDS, 80, ipv6=family == 6) as api:
            found = [api.connect("outside", outside.host_address(family), 8081) for _ in range(6)]
        wanted = [("api-1", client), ("api-2", seen), ("api-3", client)]
        assert sorted(one for one in found if one) == sorted(wanted * 2)
        assert nothing_to_do(host, text)


# who leaves a service and runs on


Ends = tuple[socket.socket, socket.socket]


def connected(
    stack: ExitStack,
    host: Machine,
    address: str,
    client_in: str = "outside",
    places: Sequence[str] = BACKENDS,
    port: int = 8081,
) -> dict[str, Ends]:
    """Return a connection from outside to each of those who serve: the client's and the server's end."""
    found: dict[str, Ends] = {}
    with servers(host, places, 80, ipv6=":" in address) as api:
        for _ in places:
            with inside(client_in):
                client = stack.enter_context(socket.create_connection((address, port), timeout=ARRIVES_WITHIN))
            for name, listener in api.listeners.items():
                listener.settimeout(0.01)
                if name not in found and (server := _accepted(listener)):
                    server.settimeout(ARRIVES_WITHIN)
                    found[name] = client, stack.enter_context(server)
    return found


def _accepted(listener: socket.socket) -> socket.socket | None:
    try:
        return listener.accept()[0]
    except TimeoutError:
        return None


def is_alive(client: socket.socket, server: socket.socket) -> bool:
    """Whether both ends hear each other."""
    try:
        for one, other in ((client, server), (server, client)):
            one.sendall(b"x")
            if other.recv(1) != b"x":
                return False
    except OSError:
        return False
    return True


def ends(client: socket.socket) -> bool:
    """Whether the client hears at once that its connection is no more."""
    try:
        client.sendall(b"x")
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


@families
def test_who_leaves_a_published_service_keeps_its_connections_and_gets_no_new_ones(
    host: Machine, bridge_nf: bool, family: int
) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    before = host.snapshot()
    with ExitStack() as stack:
        found = connected(stack, host, outside.host_address(family))
        assert sorted(found) == sorted(BACKENDS)
        for members in ("api-1, api-2", "api-1", "api-2"):
            host.netapply("-", stdin=shop(members))
            assert {name: is_alive(*one) for name, one in found.items()} == dict.fromkeys(BACKENDS, True), members
            assert nothing_to_do(host, shop(members))
        with servers(host, BACKENDS, 80, ipv6=family == 6) as api:
            assert api.spread("outside", outside.host_address(family), 8081, 4) == {"api-2": 4}
        assert {is_alive(*one) for one in found.values()} == {True}
        host.netapply("-", stdin=shop())
        assert {is_alive(*one) for one in found.values()} == {True}
    assert host.snapshot() == before, "nobody has left"


@families
@pytest.mark.parametrize("first", ['"api-*"', "api-1, api-2"], ids=["serving", "left-before"])
def test_who_is_gone_loses_the_connections_whether_it_served_or_had_left(
    host: Machine, family: int, first: str
) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    with ExitStack() as stack:
        found = connected(stack, host, outside.host_address(family))
        host.netapply("-", stdin=shop(first))
        without = "\n".join(line for line in shop("api-1, api-2").splitlines() if not line.startswith("  api-3:"))
        host.netapply("-", "--force", stdin=without)
        assert ends(found["api-3"][0])
        assert is_alive(*found["api-1"])
        assert is_alive(*found["api-2"])
        assert nothing_to_do(host, without)
    assert "leaving" not in host.run("nft -s list ruleset").stdout


@families
def test_connections_of_a_port_that_is_taken_back_end_for_who_has_left_too(host: Machine, family: int) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    with ExitStack() as stack:
        found = connected(stack, host, outside.host_address(family))
        host.netapply("-", stdin=shop("api-1, api-2"))
        host.netapply("-", stdin=shop("api-1, api-2").replace('"8081:80", ', '"8082:80", '))
        assert [ends(client) for client, _ in found.values()] == [True] * 3


def test_an_association_of_sctp_goes_on_with_who_has_left(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop().replace('"8081:80", ', '"8081:80/sctp", '))
    for family, port in ((4, 40000), (6, 41000)):
        with ExitStack() as stack:
            client, *servers_ = (stack.enter_context(_sctp(name, family)) for name in ("outside", *BACKENDS))
            ways = [port + number for number in range(3)]
            for way in ways:
                client.sendto(_packet(way, 8081, 0, _OPENS), (outside.host_address(family), 0))
            peers = [_received(server) for server in servers_]
            for server, (peer, address) in zip(servers_, peers, strict=True):
                server.sendto(_packet(80, peer, 1, _ANSWERS), (address, 0))
                assert _received(client)[1] == outside.host_address(family)
            host.netapply("-", stdin=shop("api-1").replace('"8081:80", ', '"8081:80/sctp", '))
            for server, (peer, _) in zip(servers_, peers, strict=True):
                client.sendto(_packet(peer, 8081, 1, _ECHOES), (outside.host_address(family), 0))
                assert _received(server)[0] == peer
        host.netapply("-", stdin=shop().replace('"8081:80", ', '"8081:80/sctp", '))


_OPENS = struct.pack(">BBHIIHHI", 1, 0, 20, 1, 65535, 1, 1, 1)
_ANSWERS = struct.pack(">BBHIIHHIHHI", 2, 0, 28, 1, 65535, 1, 1, 1, 7, 8, 1)
_ECHOES = struct.pack(">BBHI", 10, 0, 8, 1)
"""INIT, INIT ACK with a cookie, COOKIE ECHO (RFC 9260, 3.3)."""


def _sctp(netns: str, family: int) -> socket.socket:
    with inside(netns):
        kind = socket.AF_INET if family == 4 else socket.AF_INET6
        new = socket.socket(kind, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    new.settimeout(ARRIVES_WITHIN)
    return new


def _packet(source: int, destination: int, tag: int, chunk: bytes) -> bytes:
    head = struct.pack(">HHI", source, destination, tag)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


def _received(receiver: socket.socket) -> tuple[int, str]:
    """Return the port and the address that a packet is from."""
    message, peer = receiver.recvfrom(200)
    packet = message if ":" in peer[0] else message[(message[0] & 0xF) * 4 :]
    return int(struct.unpack_from(">H", packet)[0]), str(peer[0])


def manifest(text: str) -> Manifest:
    return load(["-"], {}, io.StringIO(text))


def alive(found: Sequence[Ends]) -> bool:
    return all(is_alive(*one) for one in found)


@pytest.mark.thorough
def test_killed_at_any_operation_the_next_run_has_the_connections_go_on(host: Machine) -> None:
    outside = host.outside()
    first, second = manifest(shop()), manifest(shop("api-1"))
    engine.converge(first, LinuxHost())
    counting = Counting(None, kill)
    engine.converge(second, LinuxHost(trap=counting))
    there = host.snapshot()
    for at in range(counting.seen):
        engine.converge(first, LinuxHost())
        with ExitStack() as stack:
            found = [*connected(stack, host, outside.host_ipv4).values()]
            found += connected(stack, host, outside.host_ipv6).values()
            assert os.WIFSIGNALED(run_in_a_child(second, Counting(at, kill)))
            assert alive(found), f"killed at operation {at}"
            engine.converge(second, LinuxHost())
            assert alive(found), f"killed at operation {at}, and healed"
        assert not engine.plan(second, LinuxHost()).plan
        assert host.snapshot() == there


def test_whatever_operation_fails_the_connections_go_on(host: Machine) -> None:
    outside = host.outside()
    first, second = manifest(shop()), manifest(shop("api-1"))
    engine.converge(first, LinuxHost())
    before = host.snapshot()
    counting = Counting(None, kill)
    engine.converge(second, LinuxHost(trap=counting))
    engine.converge(first, LinuxHost())
    with ExitStack() as stack:
        found = [*connected(stack, host, outside.host_ipv4).values()]
        found += connected(stack, host, outside.host_ipv6).values()
        for at in range(counting.seen):
            with pytest.raises(ApplyFailed):
                engine.converge(second, LinuxHost(trap=Counting(at, raising(errno.EBUSY))))
            assert host.snapshot() == before, f"operation {at} failed"
            assert alive(found), f"operation {at} failed"
