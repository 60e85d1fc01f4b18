"""What the firewall lets through and what not, on real packets: both families, bridged packets filtered or not."""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

import pytest

from reconciler.firewall import FAMILY, Zone, guard_table, table
from reconciler.host import nft
from tests.isolation import inside
from tests.kernel.topology import FIRST, address, build, forward
from tests.machine import Machine, Outside

pytestmark = pytest.mark.usefixtures("bridge_nf")

SHORT = 0.4
"""Seconds to wait for what must not arrive."""

FRONT = Zone("front", "shop-front", ("10.20.0.0/24", "fd00:20::/64"))
BACK = Zone("back", "shop-back", ("10.21.0.0/24", "fd00:21::/64"))
PREFIXES = (*FRONT.subnets, *BACK.subnets)

both_families = pytest.mark.parametrize("family", [4, 6])


def _filter(*zones: Zone, project: str = "shop") -> None:
    found = table(project, zones)
    assert found is not None
    nft.replace(FAMILY, found.name, found.text)


def _lay(host: Machine, *zones: Zone) -> None:
    """Build FRONT with web1 and web2, and BACK with db, if they are among the zones, and put the table there."""
    names = {"front": ("web1", "web2"), "back": ("db",)}
    for zone in zones:
        build(host, zone, *names[zone.network])
    _filter(*zones)
    forward(host)


def _outside(host: Machine, name: str = "outside", link: str = "uplink") -> Outside:
    """Make the outside, with routes to the networks, so that only the firewall can stop it."""
    return host.outside(name, link, default_route=name == "outside", routes=PREFIXES)


def _at(zone: Zone, family: int, number: int = FIRST) -> str:
    return address(zone, number, family)


def _reaches(host: Machine, client: str, server: str, to: str) -> str | None:
    """Ping, TCP and UDP all get through: the source that the server sees. None: none of them does."""
    pinged = host.ping(client, to)
    sources = {host.tcp(client, server, to), host.udp(client, server, to)}
    assert (pinged, len(sources)) == (True, 1), (pinged, sources)
    return sources.pop()


def _nothing_arrives(host: Machine, *attempts: tuple[str, str, str]) -> bool:
    """Of each (client, server, address) neither a ping is answered nor does the server see TCP or UDP."""
    with ExitStack() as stack:
        listeners = []
        for port, (client, server, to) in enumerate(attempts, 8000):
            anywhere = "::" if ":" in to else "0.0.0.0"
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                listeners.append(stack.enter_context(host.socket(server, anywhere, port, kind)))
                with inside(client):
                    family = socket.AF_INET6 if ":" in to else socket.AF_INET
                    sender = stack.enter_context(socket.socket(family, kind | socket.SOCK_NONBLOCK))
                with suppress(BlockingIOError):
                    sender.connect((to, port))
                if kind == socket.SOCK_DGRAM:
                    sender.send(b"x")
        answered = host.pings([(client, to) for client, _, to in attempts], within=SHORT)
        return not any(answered) and not select.select(listeners, [], [], 0)[0]


@contextmanager
def _connection(host: Machine, client: str, server: str, to: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """An open TCP connection that has carried data both ways: the client's end and the server's."""
    with host.socket(server, "::" if ":" in to else "0.0.0.0", 9000) as listener:
        with inside(client):
            one = socket.create_connection((to, 9000), timeout=2)
        other = listener.accept()[0]
    with one, other:
        assert _arrivals(one, other) == (True, True)
        yield one, other


def _arrivals(client: socket.socket, server: socket.socket, within: float = 2.0) -> tuple[bool, bool]:
    """Send a byte each way through a connection. Returns whether the client's arrives, then whether the server's."""
    client.sendall(b"x")
    server.sendall(b"y")
    reached = [bool(select.select([end], [], [], within)[0]) and end.recv(1) != b"" for end in (server, client)]
    return reached[0], reached[1]


# between networks


@both_families
def test_networks_do_not_reach_each_other(host: Machine, family: int) -> None:
    _lay(host, FRONT, BACK)
    assert _reaches(host, "web1", "web2", _at(FRONT, family, FIRST + 1)) == _at(FRONT, family)
    assert host.ping("web1", _at(FRONT, family, 1))
    assert _nothing_arrives(host, ("web1", "db", _at(BACK, family)), ("db", "web1", _at(FRONT, family)))


@both_families
def test_a_network_that_is_allowed_opens_connections_and_the_other_only_answers(host: Machine, family: int) -> None:
    _lay(host, replace(FRONT, allow=("back",)), BACK)
    assert _reaches(host, "web1", "db", _at(BACK, family)) == _at(FRONT, family), "the source is kept"
    assert _nothing_arrives(host, ("db", "web1", _at(FRONT, family)))


@both_families
def test_an_allowed_network_hears_that_a_port_is_closed(host: Machine, family: int) -> None:
    _lay(host, replace(FRONT, allow=("back",)), BACK)
    with host.socket("web1", _at(FRONT, family), 0, socket.SOCK_DGRAM) as sender:
        sender.settimeout(2)
        sender.connect((_at(BACK, family), 4444))
        sender.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)


@both_families
def test_networks_that_allow_each_other_reach_each_other(host: Machine, family: int) -> None:
    _lay(host, replace(FRONT, allow=("back",)), replace(BACK, allow=("front",)))
    assert _reaches(host, "web1", "db", _at(BACK, family))
    assert _reaches(host, "db", "web1", _at(FRONT, family))


@both_families
def test_taking_a_permission_back_ends_established_connections(host: Machine, family: int) -> None:
    _lay(host, replace(FRONT, allow=("back",)), BACK)
    with _connection(host, "web1", "db", _at(BACK, family)) as (one, other):
        _filter(replace(FRONT, allow=("back",)), replace(BACK, icc=False))
        assert _arrivals(one, other) == (True, True), "another edit ends nothing"
        _filter(FRONT, BACK)
        assert _arrivals(one, other, SHORT) == (False, False)


@both_families
def test_turning_a_permission_around_ends_established_connections(host: Machine, family: int) -> None:
    _lay(host, replace(FRONT, allow=("back",)), BACK)
    with _connection(host, "web1", "db", _at(BACK, family)) as (one, other):
        _filter(FRONT, replace(BACK, allow=("front",)))
        assert _arrivals(one, other, SHORT)[0] is False
    assert _reaches(host, "db", "web1", _at(FRONT, family))


@both_families
def test_an_internal_network_stays_so_whatever_is_allowed(host: Machine, family: int) -> None:
    _lay(host, replace(FRONT, allow=("back",)), replace(BACK, internal=True, allow=("front",)))
    assert _nothing_arrives(host, ("web1", "db", _at(BACK, family)), ("db", "web1", _at(FRONT, family)))


@both_families
def test_projects_do_not_reach_each_other(host: Machine, family: int) -> None:
    build(host, FRONT, "web1")
    build(host, BACK, "db")
    forward(host)
    for mode in ("nat", "routed"):
        _filter(replace(FRONT, mode_ipv4=mode, mode_ipv6=mode))
        _filter(replace(BACK, mode_ipv4=mode, mode_ipv6=mode), project="other")
        assert _nothing_arrives(host, ("web1", "db", _at(BACK, family)), ("db", "web1", _at(FRONT, family)))


# within a network


@both_families
def test_without_icc_containers_do_not_reach_each_other(host: Machine, family: int, bridge_nf: bool) -> None:
    """The table drops what is bridged where it sees that, the ports' isolation (the driver's) where it does not."""
    closed = replace(FRONT, icc=False)
    build(host, closed, "web1", "web2", isolated_ports=not bridge_nf)
    _filter(closed)
    forward(host)
    outside = _outside(host)
    assert _nothing_arrives(host, ("web1", "web2", _at(closed, family, FIRST + 1)))
    assert host.ping("web1", _at(closed, family, 1))
    assert _reaches(host, "web1", "outside", outside.address(family))


@both_families
def test_without_icc_the_way_round_by_the_gateway_is_closed_too(host: Machine, family: int) -> None:
    closed = replace(FRONT, icc=False)
    build(host, closed, "web1", "web2", isolated_ports=True)
    forward(host)
    there, back, gateway = _at(closed, family, FIRST + 1), _at(closed, family), _at(closed, family, 1)
    host.run(f"ip route add {there} via {gateway}", netns="web1")
    host.run(f"ip route add {back} via {gateway}", netns="web2")
    assert host.ping("web1", there), "without the table it is open"
    _filter(closed)
    assert _nothing_arrives(host, ("web1", "web2", there))


# to and from outside


@both_families
def test_an_internal_network_has_no_way_out_and_no_way_in(host: Machine, family: int) -> None:
    _lay(host, replace(FRONT, internal=True))
    outside = _outside(host)
    assert _reaches(host, "web1", "web2", _at(FRONT, family, FIRST + 1))
    assert _nothing_arrives(host, ("web1", "outside", outside.address(family)), ("outside", "web1", _at(FRONT, family)))


@both_families
def test_an_isolated_family_has_no_way_out_and_no_way_in_and_the_other_has(host: Machine, family: int) -> None:
    isolated = replace(FRONT, mode_ipv4="isolated") if family == 4 else replace(FRONT, mode_ipv6="isolated")
    _lay(host, isolated)
    outside = _outside(host)
    assert _nothing_arrives(host, ("web1", "outside", outside.address(family)), ("outside", "web1", _at(FRONT, family)))
    assert _reaches(host, "web1", "outside", outside.address(10 - family)) == outside.host_address(10 - family)


@both_families
def test_a_family_without_a_subnet_is_closed(host: Machine, family: int) -> None:
    one = replace(FRONT, subnets=tuple(FRONT.prefixes(10 - family)), mode_ipv4="routed", mode_ipv6="routed")
    build(host, FRONT, "web1")
    _filter(one)
    forward(host)
    outside = _outside(host)
    assert _nothing_arrives(host, ("web1", "outside", outside.address(family)), ("outside", "web1", _at(FRONT, family)))


@both_families
def test_in_mode_nat_the_outside_sees_the_host_and_cannot_open_connections(host: Machine, family: int) -> None:
    _lay(host, FRONT)
    outside = _outside(host)
    assert _reaches(host, "web1", "outside", outside.address(family)) == outside.host_address(family)
    assert _nothing_arrives(host, ("outside", "web1", _at(FRONT, family)))
    assert host.ping("", _at(FRONT, family)), "the host itself reaches its containers"


@both_families
def test_in_mode_nat_errors_from_outside_come_back(host: Machine, family: int) -> None:
    _lay(host, FRONT)
    outside = _outside(host)
    with host.socket("web1", _at(FRONT, family), 0, socket.SOCK_DGRAM) as sender:
        sender.settimeout(2)
        sender.connect((outside.address(family), 4444))
        sender.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)


@both_families
def test_in_mode_nat_a_connection_that_a_helper_expects_may_come_in(host: Machine, family: int) -> None:
    """Active FTP (RFC 959, RFC 2428): the server opens the data connection to where the client told it to."""
    helper = (
        'table inet h { ct helper f { type "ftp" protocol tcp; }; chain c { type filter hook prerouting priority 0;'
        ' tcp dport 21 ct helper set "f"; }; }'
    )
    if host.run("nft -f -", stdin=helper, check=False).returncode:
        pytest.skip("needs the kernel module nf_conntrack_ftp")
    _lay(host, replace(FRONT, masquerade=False))
    outside, client = _outside(host), _at(FRONT, family)
    told = f"PORT {client.replace('.', ',')},19,136\r\n" if family == 4 else f"EPRT |2|{client}|5000|\r\n"
    with host.socket("outside", "::" if family == 6 else "0.0.0.0", 21) as listener:
        with inside("web1"):
            control = socket.create_connection((outside.address(family), 21), timeout=2)
        with control, listener.accept()[0] as served:
            for line in ("USER web\r\n", told):  # the helper trusts only what follows the end of a line
                control.sendall(line.encode())
                assert served.recv(100) == line.encode()
            assert host.tcp("outside", "web1", client, 5000) == outside.address(family)
            assert host.tcp("outside", "web1", client, 5001, within=SHORT) is None


@both_families
def test_without_masquerade_the_outside_sees_the_container(host: Machine, family: int) -> None:
    _lay(host, replace(FRONT, masquerade=False))
    outside = _outside(host)
    assert _reaches(host, "web1", "outside", outside.address(family)) == _at(FRONT, family)
    assert _nothing_arrives(host, ("outside", "web1", _at(FRONT, family)))


@both_families
def test_what_is_not_of_the_networks_subnet_is_not_masqueraded(host: Machine, family: int) -> None:
    _lay(host, FRONT)
    outside = _outside(host)
    strange, length = ("198.51.100.7", 32) if family == 4 else ("2001:db8:51::7", 128)
    via = outside.host_address(family)
    host.run(f"ip addr add {strange}/{length} dev e-front" + (" nodad" if family == 6 else ""), netns="web1")
    host.run(f"ip route add {strange}/{length} dev shop-front")
    host.run(f"ip route add {strange}/{length} via {via}", netns="outside")
    host.run(f"ip route replace default via {_at(FRONT, family, 1)} src {strange}", netns="web1")
    assert host.udp("web1", "outside", outside.address(family)) == strange


def test_multicast_keeps_its_source(host: Machine) -> None:
    """A group is routed from the network to the outside, as a multicast daemon does it (linux/mroute.h)."""
    mrt_init, mrt_add_vif, mrt_add_mfc, by_index = 200, 202, 204, 8
    group = "233.252.0.7"  # RFC 5771, 9.2
    _lay(host, FRONT)
    _outside(host)
    with ExitStack() as stack:
        daemon = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_IGMP))
        try:
            daemon.setsockopt(socket.IPPROTO_IP, mrt_init, 1)
        except OSError:
            pytest.skip("needs a kernel with multicast routing (CONFIG_IP_MROUTE)")
        for number, link in enumerate(("shop-front", "uplink")):
            vif = struct.pack("=HBBIi4x", number, by_index, 1, 0, socket.if_nametoindex(link))
            daemon.setsockopt(socket.IPPROTO_IP, mrt_add_vif, vif)
        source, ttls = _at(FRONT, 4), bytes([0, 1]).ljust(32, b"\0")
        route = struct.pack("=4s4sH32s2x16x", socket.inet_aton(source), socket.inet_aton(group), 0, ttls)
        daemon.setsockopt(socket.IPPROTO_IP, mrt_add_mfc, route)
        listener = stack.enter_context(host.socket("outside", "0.0.0.0", 7000, socket.SOCK_DGRAM))
        with inside("outside"):
            member = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), socket.if_nametoindex("eth0"))
        listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        sender = stack.enter_context(host.socket("web1", source, 0, socket.SOCK_DGRAM))
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 8)
        sender.sendto(b"x", (group, 7000))
        listener.settimeout(2)
        assert listener.recvfrom(1)[1][0] == source


@both_families
def test_a_fixed_source_address_replaces_masquerading(host: Machine, family: int) -> None:
    fixed, length = ("198.51.100.77", 32) if family == 4 else ("2001:db8:51::77", 128)
    _lay(host, replace(FRONT, snat_ipv4="198.51.100.77", snat_ipv6="2001:db8:51::77"), BACK)
    outside = _outside(host)
    host.run(f"ip addr add {fixed}/{length} dev lo")
    host.run(f"ip route add {fixed}/{length} via {outside.host_address(family)}", netns="outside")
    assert _reaches(host, "web1", "outside", outside.address(family)) == fixed
    assert _reaches(host, "db", "outside", outside.address(family)) == outside.host_address(family)


@both_families
def test_in_mode_routed_both_sides_open_connections_and_see_each_other(host: Machine, family: int) -> None:
    _lay(host, replace(FRONT, mode_ipv4="routed", mode_ipv6="routed"), BACK)
    outside = _outside(host)
    assert _reaches(host, "web1", "outside", outside.address(family)) == _at(FRONT, family)
    assert _reaches(host, "outside", "web1", _at(FRONT, family)) == outside.address(family)
    assert _nothing_arrives(host, ("db", "web1", _at(FRONT, family)))


@both_families
def test_going_from_routed_to_nat_ends_connections_from_outside(host: Machine, family: int) -> None:
    _lay(host, replace(FRONT, mode_ipv4="routed", mode_ipv6="routed"))
    _outside(host)
    with _connection(host, "outside", "web1", _at(FRONT, family)) as (one, other):
        _filter(replace(FRONT, masquerade=False))
        assert _arrivals(one, other, SHORT)[0] is False


# what is not ours


@both_families
def test_the_guard_stops_forwarding_for_others_and_not_for_our_networks(host: Machine, family: int) -> None:
    _lay(host, FRONT)
    outside, beyond = _outside(host), _outside(host, "beyond", "second")
    host.run(f"ip route replace default via {outside.host_address(family)}", netns="outside")
    host.run(f"ip route replace default via {beyond.host_address(family)}", netns="beyond")
    assert _reaches(host, "outside", "beyond", beyond.address(family)), "without the guard it is open"
    guard = guard_table({4: ("second", "uplink"), 6: ("second", "uplink")})
    assert guard is not None
    nft.replace(FAMILY, guard.name, guard.text)
    assert _nothing_arrives(
        host, ("outside", "beyond", beyond.address(family)), ("beyond", "outside", outside.address(family))
    )
    assert _reaches(host, "web1", "outside", outside.address(family)) == outside.host_address(family)
    assert _reaches(host, "web1", "beyond", beyond.address(family)) == beyond.host_address(family)
    assert host.ping("", beyond.address(family))


@both_families
def test_a_guard_of_one_family_leaves_the_other_alone(host: Machine, family: int) -> None:
    outside, beyond = _outside(host), _outside(host, "beyond", "second")
    forward(host)
    for one in (4, 6):
        host.run(f"ip route replace default via {outside.host_address(one)}", netns="outside")
        host.run(f"ip route replace default via {beyond.host_address(one)}", netns="beyond")
    guard = guard_table({family: ("second", "uplink")})
    assert guard is not None
    nft.replace(FAMILY, guard.name, guard.text)
    assert _nothing_arrives(host, ("outside", "beyond", beyond.address(family)))
    assert _reaches(host, "outside", "beyond", beyond.address(10 - family))


@both_families
def test_a_guarded_bridge_goes_on_bridging(host: Machine, family: int) -> None:
    foreign = Zone("front", "br0", FRONT.subnets)
    build(host, foreign, "one", "two")
    _filter(BACK)
    guard = guard_table({4: ("br0", "eth0"), 6: ("br0", "eth0")})
    assert guard is not None
    nft.replace(FAMILY, guard.name, guard.text)
    assert _reaches(host, "one", "two", _at(foreign, family, FIRST + 1)) == _at(foreign, family)
