"""Services that are published: SCTP, turns by weight, and UDP flows whose container leaves."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import pytest

from tests.cluster import WORLD_IPV4, WORLD_IPV6, apply, cluster
from tests.isolation import inside
from tests.machine import PATIENCE, Machine

from .balanced import servers
from .test_ports import crc32c

ARRIVES_WITHIN = 10
"""Seconds to wait for what must arrive, however busy the machine is."""

SHOP = """
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}, {subnet: "fd00:20::/64"}]}}
containers:
  client: {networks: {front: {ipv4_address: 10.20.0.9, ipv6_address: "fd00:20::9"}}}
  api-1: {networks: {front: {ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}
  api-2: {networks: {front: {ipv4_address: 10.20.0.12, ipv6_address: "fd00:20::12"}}}
  api-3: {networks: {front: {ipv4_address: 10.20.0.13, ipv6_address: "fd00:20::13"}}}
services:
  api: {network: front, containers: ["api-*"], vip: [10.20.0.200, "fd00:20::200"], ports: ["8081:80/PROTOCOL"]}
"""
BACKENDS = ("api-1", "api-2", "api-3")
CLIENT = {4: "10.20.0.9", 6: "fd00:20::9"}
GATEWAY = {4: "10.20.0.1", 6: "fd00:20::1"}
VIP = {4: "10.20.0.200", 6: "fd00:20::200"}


def shop(protocol: str, containers: str = '"api-*"') -> str:
    return SHOP.replace("PROTOCOL", protocol).replace('containers: ["api-*"]', f"containers: [{containers}]")


# SCTP


def test_sctp_reaches_a_service_by_its_virtual_ip_and_by_its_port(host: Machine, bridge_nf: bool) -> None:
    """The kernel tracks its connections even where nobody can open such sockets: the packets are made by hand."""
    outside = host.outside()
    host.netapply("-", stdin=shop("sctp"))
    for family, own, theirs in ((4, outside.host_ipv4, outside.ipv4), (6, outside.host_ipv6, outside.ipv6)):
        assert host.ping("client", VIP[family])
        for client, address, port, source in (
            ("client", VIP[family], 80, CLIENT[family]),
            ("outside", own, 8081, theirs),
            ("client", own, 8081, GATEWAY[family]),
        ):
            found = [associate(client, address, port, 40000 + number, 80) for number in range(6)]
            assert sorted(found) == sorted((name, source) for name in BACKENDS * 2), (client, address)


def test_sctp_reaches_a_container_by_its_port_by_ipv6_too(host: Machine) -> None:
    outside = host.outside()
    text = shop("sctp").partition("services:")[0].replace("api-1: {", 'api-1: {ports: ["8080:80/sctp"], ')
    host.netapply("-", stdin=text)
    for own, theirs in ((outside.host_ipv4, outside.ipv4), (outside.host_ipv6, outside.ipv6)):
        assert associate("outside", own, 8080, 40000, 80) == ("api-1", theirs)


def associate(client: str, address: str, port: int, source: int, target: int) -> tuple[str, str]:
    """Send an INIT and its answer (RFC 9260, 3.3.2): who gets it at which port, and the address that it sees."""
    with ExitStack() as stack:
        sender, *listeners = (stack.enter_context(_raw(name, ":" in address)) for name in (client, *BACKENDS))
        sender.sendto(_init(1, source, port), (address, 0))
        ready, _, _ = select.select(listeners, [], [], ARRIVES_WITHIN * PATIENCE)
        assert len(ready) == 1, f"{len(ready)} got it"
        message, peer = ready[0].recvfrom(200)
        chunk = _checked(message, peer[0])
        assert struct.unpack_from(">HH", chunk) == (source, target)
        ready[0].sendto(_init(2, target, source), (peer[0], 0))
        message, server = sender.recvfrom(200)
        assert server[0] == address, "the answer is the service's"
        assert struct.unpack_from(">HH", _checked(message, server[0])) == (port, source)
        return BACKENDS[listeners.index(ready[0])], str(peer[0])


def _raw(netns: str, ipv6: bool) -> socket.socket:
    with inside(netns):
        new = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    new.settimeout(ARRIVES_WITHIN * PATIENCE)
    return new


def _init(kind: int, source: int, port: int) -> bytes:
    """Return an INIT (1) or INIT ACK (2). Both ends have the tag 1."""
    head = struct.pack(">HHI", source, port, 0 if kind == 1 else 1)
    chunk = struct.pack(">BBHIIHHI", kind, 0, 20, 1, 65535, 1, 1, 1)
    return head + struct.pack("<I", crc32c(head + bytes(4) + chunk)) + chunk


def _checked(message: bytes, source: str) -> bytes:
    """Return an SCTP packet without the IPv4 header that comes with it; its checksum must be right."""
    packet = message if ":" in source else message[(message[0] & 0xF) * 4 :]
    assert struct.unpack_from("<I", packet, 8) == (crc32c(packet[:8] + bytes(4) + packet[12:]),)
    return packet


# turns by weight


def test_a_container_with_a_weight_has_as_many_turns_at_a_published_port(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop("tcp").replace("ports: [", 'weights: {api-2: 4, "api-*": 2}, ports: ['))
    for address, source in ((outside.host_ipv4, outside.ipv4), (outside.host_ipv6, outside.ipv6)):
        with servers(host, BACKENDS, 80, ipv6=":" in address) as api:
            found = [api.connect("outside", address, 8081) for _ in range(16)]
        assert sorted(one for one in found if one) == [
            *[("api-1", source)] * 4,
            *[("api-2", source)] * 8,
            *[("api-3", source)] * 4,
        ]


# UDP flows, which have no end


@contextmanager
def listening(host: Machine, places: Sequence[str]) -> Iterator[list[socket.socket]]:
    """Have containers listen at UDP port 80, by both families."""
    with ExitStack() as stack:
        yield [stack.enter_context(host.socket(one, "::", 80, socket.SOCK_DGRAM)) for one in places]


@contextmanager
def flow(host: Machine, client: str, address: str, port: int, source: str = "") -> Iterator[socket.socket]:
    """A UDP socket that goes on sending from one port."""
    with host.socket(client, source or ("::" if ":" in address else "0.0.0.0"), 0, socket.SOCK_DGRAM) as sender:
        sender.settimeout(ARRIVES_WITHIN * PATIENCE)
        sender.connect((address, port))
        yield sender


def served(sender: socket.socket, listeners: Sequence[socket.socket]) -> int | None:
    """Send a datagram: which of the listeners gets it and has its answer come back, None if none does."""
    sender.send(b"x")
    ready, _, _ = select.select(listeners, [], [], ARRIVES_WITHIN * PATIENCE)
    if not ready:
        return None
    message, peer = ready[0].recvfrom(16)
    ready[0].sendto(message, peer)
    assert sender.recv(16) == b"x"
    return list(listeners).index(ready[0])


def test_a_udp_flow_follows_its_port_to_another_container_at_once_by_ipv6_too(host: Machine) -> None:
    outside = host.outside()
    bare = shop("udp").partition("services:")[0]
    first, second = (bare.replace(f"{name}: {{", f'{name}: {{ports: ["8080:80/udp"], ') for name in BACKENDS[:2])
    host.netapply("-", stdin=bare)
    with listening(host, BACKENDS[:2]) as there, flow(host, "outside", outside.host_ipv6, 8080) as sender:
        sender.send(b"lost")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)
        host.netapply("-", stdin=first)
        assert served(sender, there) == 0, "one that was there before it was published"
        host.netapply("-", stdin=second)
        assert served(sender, there) == 1


def test_udp_flows_leave_a_container_that_left_a_published_service_and_others_stay(
    host: Machine, bridge_nf: bool
) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop("udp", "api-1, api-2"))
    with ExitStack() as stack:
        there = stack.enter_context(listening(host, BACKENDS[:2]))
        before = {}
        for client, address, port in (
            *(("outside", one, 8081) for one in (outside.host_ipv4, outside.host_ipv6)),
            *(("client", one, 80) for one in VIP.values()),
        ):
            assert client == "outside" or host.ping(client, address)
            for _ in range(2):
                sender = stack.enter_context(flow(host, client, address, port))
                before[sender] = served(sender, there)
        assert sorted(map(str, before.values())) == ["0"] * 4 + ["1"] * 4
        host.netapply("-", stdin=shop("udp", "api-1"))
        assert [served(sender, there) for sender in before] == [0] * 8
        host.netapply("-", stdin=shop("udp", "api-1, api-2"))
        assert [served(sender, there) for sender in before] == [0] * 8, "who comes back takes nobody's flows"


OVERLAY = """
project: shop
hosts: {one: {address: 192.0.2.1}, two: {address: 192.0.2.2}}
networks: {front: {driver: overlay, ipam: {config: [{subnet: 10.50.0.0/24}, {subnet: "fd00:50::/64"}]}}}
containers:
  api-1: {host: two, networks: [front]}
  api-2: {host: two, networks: [front]}
services:
  api: {network: front, containers: ["api-*"], ports: ["8080:80/udp"]}
"""


def test_udp_flows_by_a_host_where_nobody_serves_leave_a_container_that_left_the_service(host: Machine) -> None:
    hosts = cluster(host, ("one", "two"))
    apply(hosts, OVERLAY)
    with ExitStack() as stack:
        there = stack.enter_context(listening(host, [hosts["two"].container(name) for name in BACKENDS[:2]]))
        before = {}
        for address, world in ((hosts["one"].ipv4, WORLD_IPV4), (hosts["one"].ipv6, WORLD_IPV6)):
            for _ in range(2):
                sender = stack.enter_context(flow(host, "", address, 8080, world))
                before[sender] = served(sender, there)
        assert sorted(map(str, before.values())) == ["0", "0", "1", "1"]
        apply(hosts, OVERLAY.replace('["api-*"]', "[api-2]"))
        assert [served(sender, there) for sender in before] == [1] * 4
