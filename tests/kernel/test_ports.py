"""Published ports on real packets: who reaches them, from which source, and what does not get in."""

from __future__ import annotations

import errno
import io
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from reconciler import engine
from reconciler.errors import ApplyFailed
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from tests.isolation import inside
from tests.machine import PATIENCE, REACHED_WITHIN, Machine

from .test_killed import kill, run_in_a_child
from .test_rollback import Counting, raising

both_families = pytest.mark.parametrize("family", [4, 6])

SHORT = 0.4
"""Seconds to wait for what must not arrive."""

SHOP = """
version: 1
project: shop
networks:
  front: {{ipam: {{config: [{{subnet: 10.20.0.0/24}}, {{subnet: "fd00:20::/64"}}]}}, driver_opts: {{{front}}}}}
  back: {{ipam: {{config: [{{subnet: 10.21.0.0/24}}, {{subnet: "fd00:21::/64"}}]}}}}
  db: {{internal: true, ipam: {{config: [{{subnet: 10.22.0.0/24}}, {{subnet: "fd00:22::/64"}}]}}}}
containers:
  web:
    networks: {{front: {{ipv4_address: 10.20.0.10, ipv6_address: "fd00:20::10"}}}}
    ports: {web}
  web2:
    networks: {{front: {{ipv4_address: 10.20.0.11, ipv6_address: "fd00:20::11"}}}}
    ports: {web2}
  api: {{networks: {{back: {{ipv4_address: 10.21.0.10, ipv6_address: "fd00:21::10"}}}}}}
  store: {{networks: {{db: {{ipv4_address: 10.22.0.10, ipv6_address: "fd00:22::10"}}}}}}
"""

ADDRESSES = {4: "10.20.0.10", 6: "fd00:20::10"}
GATEWAYS = {4: "10.20.0.1", 6: "fd00:20::1"}


def shop(web: str = '["8080:80", "8080:80/udp"]', web2: str = "[]", front: str = "") -> str:
    return SHOP.format(web=web, web2=web2, front=front)


def tcp(host: Machine, client: str, server: str, address: str, port: int = 8080, target: int = 80) -> str | None:
    """Connect to a published port; the client's address as the server sees it, None if there is no connection."""
    return host.tcp(client, server, address, port, target=target, within=SHORT * 2)


def udp(host: Machine, client: str, server: str, address: str, port: int = 8080, target: int = 80) -> str | None:
    """Send a datagram to a published port and take the answer; the client's address as the server sees it."""
    return host.udp(client, server, address, port, target=target, within=SHORT * 2)


def plain(address: str) -> str:
    return str(address).removeprefix("::ffff:")


def both(host: Machine, client: str, server: str, address: str) -> str | None:
    """TCP and UDP alike: the source that the server sees, None where neither gets through."""
    found = {tcp(host, client, server, address), udp(host, client, server, address)}
    assert len(found) == 1, found
    return found.pop()


# who reaches them


@both_families
def test_a_port_is_reached_from_outside_and_the_source_is_kept(host: Machine, family: int, bridge_nf: bool) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    assert both(host, "outside", "web", outside.host_address(family)) == outside.address(family)


@both_families
def test_a_port_is_reached_from_the_host_by_its_own_addresses(host: Machine, family: int, bridge_nf: bool) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    assert both(host, "", "web", outside.host_address(family)) == outside.host_address(family)
    assert both(host, "", "web", GATEWAYS[family]) == GATEWAYS[family]


def test_a_port_is_reached_from_the_host_by_127_0_0_1(host: Machine, bridge_nf: bool) -> None:
    host.outside()
    host.netapply("-", stdin=shop())
    assert both(host, "", "web", "127.0.0.1") == GATEWAYS[4]
    assert both(host, "", "web", "127.9.9.9") == GATEWAYS[4]


def test_nothing_listens_on_the_ipv6_loopback_so_that_clients_fall_back_at_once(host: Machine) -> None:
    host.netapply("-", stdin=shop())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", 8080), timeout=SHORT)


@both_families
def test_a_port_is_reached_from_other_networks_as_from_outside(host: Machine, family: int, bridge_nf: bool) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    source = {4: "10.21.0.10", 6: "fd00:21::10"}[family]
    for address in (outside.host_address(family), GATEWAYS[family], {4: "10.21.0.1", 6: "fd00:21::1"}[family]):
        assert both(host, "api", "web", address) == source
    assert tcp(host, "api", "web", ADDRESSES[family], 80) is None, "but not by the container's own address"


@both_families
def test_a_port_is_reached_from_its_own_network_by_the_hosts_address(
    host: Machine, family: int, bridge_nf: bool
) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    assert both(host, "web2", "web", outside.host_address(family)) == GATEWAYS[family]
    assert both(host, "web2", "web", GATEWAYS[family]) == GATEWAYS[family]


@both_families
def test_a_container_reaches_its_own_published_port(host: Machine, family: int, bridge_nf: bool) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    assert both(host, "web", "web", outside.host_address(family)) == GATEWAYS[family]


@both_families
def test_another_project_reaches_it_as_from_outside(host: Machine, family: int, bridge_nf: bool) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    other = shop("[]").replace("project: shop", "project: other").replace("10.2", "10.3").replace("fd00:2", "fd00:3")
    host.netapply("-", stdin=other.replace("  web", "  o-web").replace("  api", "  o-api").replace("  store", "  o-db"))
    assert both(host, "o-api", "web", outside.host_address(family))


@both_families
def test_an_internal_network_does_not_reach_it(host: Machine, family: int, bridge_nf: bool) -> None:
    host.netapply("-", stdin=shop())
    assert both(host, "store", "web", {4: "10.22.0.1", 6: "fd00:22::1"}[family]) is None


@both_families
def test_without_icc_only_those_of_the_network_itself_are_kept_out(host: Machine, family: int, bridge_nf: bool) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop(front="icc: false"))
    assert both(host, "outside", "web", outside.host_address(family)) == outside.address(family)
    assert both(host, "api", "web", outside.host_address(family))
    assert both(host, "web2", "web", outside.host_address(family)) is None


def test_what_claims_to_be_for_127_0_0_1_does_not_get_in(host: Machine, bridge_nf: bool) -> None:
    outside = host.outside(routes=["127.0.0.0/8"])
    host.netapply("-", stdin=shop('["127.0.0.1:8080:80", "127.0.0.1:8080:80/udp"]'))
    assert both(host, "", "web", "127.0.0.1") == GATEWAYS[4]
    for netns in ("outside", "web2"):
        host.sysctl("net.ipv4.conf.eth0.route_localnet", "1", netns=netns)
    host.run("ip route del local 127.0.0.0/8 dev lo table local", netns="outside", check=False)
    host.run("ip route del local 127.0.0.0/8 dev lo table local", netns="web2", check=False)
    host.run("ip route add 127.0.0.0/8 via 10.20.0.1", netns="web2")
    for client in ("outside", "web2"):
        assert both(host, client, "web", "127.0.0.1") is None
        with host.socket("", "127.0.0.1", 9999, socket.SOCK_DGRAM) as service:
            with inside(client), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"x", ("127.0.0.1", 9999))
            service.settimeout(SHORT)
            with pytest.raises(TimeoutError):
                service.recv(1)
    assert both(host, "outside", "web", outside.host_ipv4) is None, "it is published on 127.0.0.1 alone"


def test_a_port_that_is_not_published_stays_closed(host: Machine) -> None:
    outside = host.outside(routes=["10.20.0.0/24"])
    host.netapply("-", stdin=shop())
    assert tcp(host, "outside", "web", outside.host_ipv4, 8081, 81) is None
    assert tcp(host, "outside", "web", ADDRESSES[4], 81, 81) is None, "nor is it by the container's own address"
    assert tcp(host, "outside", "web", ADDRESSES[4], 80, 80) is None, "and the published one neither"


# what can be said


@both_families
def test_a_port_on_one_address_is_not_on_the_others(host: Machine, family: int) -> None:
    one, other = host.outside(), host.outside("beyond", "downlink", default_route=False)
    bound = f"[{one.host_address(family)}]" if family == 6 else one.host_address(family)
    host.netapply("-", stdin=shop(f'["{bound}:8080:80", "{bound}:8080:80/udp"]'))
    assert both(host, "outside", "web", one.host_address(family)) == one.address(family)
    assert both(host, "beyond", "web", other.host_address(family)) is None
    assert tcp(host, "outside", "web", one.host_address(10 - family)) is None


def test_a_network_says_where_its_ports_are_published(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop(front="host_binding: 127.0.0.1"))
    assert both(host, "", "web", "127.0.0.1") == GATEWAYS[4]
    assert both(host, "outside", "web", outside.host_ipv4) is None
    assert both(host, "outside", "web", outside.host_ipv6) is None


def test_a_range_leads_port_by_port(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop('["8000-8010:90-100"]'))
    for number in (0, 5, 10):
        assert tcp(host, "outside", "web", outside.host_ipv4, 8000 + number, 90 + number) == outside.ipv4


def test_a_free_port_stays_what_it_is(host: Machine) -> None:
    host.outside()
    host.netapply("-", stdin=shop("[3000]"))
    first = free_port(host)
    assert tcp(host, "", "web", "127.0.0.1", first, 3000) == GATEWAYS[4]
    host.netapply("-", stdin=shop('[3000, "8080:80"]', "[3000]"))
    assert free_port(host) == first
    with host.socket("", "0.0.0.0", first):
        assert host.netapply("-", stdin=shop("[3000]")).stdout
        assert free_port(host) == first, "whoever listens on it now"


def test_a_free_port_is_none_that_somebody_listens_on(host: Machine) -> None:
    host.netapply("-", stdin=shop("[3000]"))
    first = free_port(host)
    host.netapply("destroy", "--project", "shop")
    with host.socket("", "0.0.0.0", first):
        host.netapply("-", stdin=shop("[3000]"))
        assert free_port(host) != first


def free_port(host: Machine) -> int:
    text = host.run("nft -s list map inet netapply-shop ports_ipv4").stdout
    return int(text.partition(' comment "web" : 10.20.0.10 . 3000')[0].rpartition(" ")[2])


def test_sctp_is_published_too(host: Machine) -> None:
    """The kernel has SCTP in its connection tracking, whoever may open such sockets: by a packet made by hand."""
    outside = host.outside()
    host.netapply("-", stdin=shop('["8080:80/sctp"]'))
    with inside("web"):
        sniffer = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    with inside("outside"):
        sender = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)
    with sniffer, sender:
        sniffer.settimeout(1)
        chunk = struct.pack(">BBHIIHHI", 1, 0, 20, 1, 65535, 1, 1, 1)  # INIT (RFC 9260, 3.3.2)
        packet = struct.pack(">HHII", 40000, 8080, 0, 0) + chunk
        packet = packet[:8] + struct.pack("<I", crc32c(packet)) + packet[12:]
        sender.sendto(packet, (outside.host_ipv4, 0))
        found = sniffer.recv(200)
    assert struct.unpack_from(">HH", found, 20) == (40000, 80)


def crc32c(data: bytes) -> int:
    """Return the checksum of SCTP (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


# edits


@contextmanager
def flow(host: Machine, client: str, address: str, port: int = 8080) -> Iterator[socket.socket]:
    """A UDP socket that goes on sending from one port."""
    with host.socket(client, "0.0.0.0", 0, socket.SOCK_DGRAM) as sender:
        sender.settimeout(1)
        sender.connect((address, port))
        yield sender


def exchange(sender: socket.socket, *listeners: socket.socket) -> int | None:
    """Send a datagram and say which of the listeners got it, None if none did."""
    sender.send(b"x")
    for number, listener in enumerate(listeners):
        listener.settimeout(SHORT)
        try:
            message, peer = listener.recvfrom(16)
        except TimeoutError:
            continue
        listener.sendto(message, peer)
        assert sender.recv(16) == b"x"
        return number
    return None


def test_a_udp_flow_follows_its_port_to_another_container_at_once(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop('["8080:80/udp"]'))
    with ExitStack() as stack:
        first, second = (stack.enter_context(host.socket(one, "::", 80, socket.SOCK_DGRAM)) for one in ("web", "web2"))
        sender = stack.enter_context(flow(host, "outside", outside.host_ipv4))
        assert exchange(sender, first, second) == 0
        host.netapply("-", stdin=shop("[]", '["8080:80/udp"]'))
        assert exchange(sender, first, second) == 1


def test_a_udp_flow_that_was_there_before_reaches_a_port_once_it_is_published(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop("[]"))
    with ExitStack() as stack:
        listener = stack.enter_context(host.socket("web", "::", 80, socket.SOCK_DGRAM))
        sender = stack.enter_context(flow(host, "outside", outside.host_ipv4))
        sender.send(b"lost")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)
        host.netapply("-", stdin=shop('["8080:80/udp"]'))
        assert exchange(sender, listener) == 0


def test_a_withdrawn_port_ends_its_connections_and_others_go_on(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop('["8080:80", "8081:81"]'))
    with ExitStack() as stack:
        ends = []
        for port, target in ((8080, 80), (8081, 81)):
            listener = stack.enter_context(host.socket("web", "::", target))
            with inside("outside"):
                client = socket.create_connection((outside.host_ipv4, port), timeout=2)
            ends.append((stack.enter_context(client), stack.enter_context(listener.accept()[0])))
        host.netapply("-", stdin=shop('["8081:81"]'))
        (gone, _), (client, server) = ends
        client.sendall(b"x")
        server.settimeout(2)
        assert server.recv(1) == b"x"
        gone.sendall(b"x")
        gone.settimeout(2)
        with pytest.raises(ConnectionResetError):
            gone.recv(1)


def test_an_edit_elsewhere_ends_no_flow(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop('["8080:80/udp"]'))
    with (
        host.socket("web", "::", 80, socket.SOCK_DGRAM) as listener,
        flow(host, "outside", outside.host_ipv4) as sender,
    ):
        assert exchange(sender, listener) == 0
        before = listener.getsockname()
        host.netapply("-", stdin=shop('["8080:80/udp", "8090:80/udp"]', '["8091:80"]'))
        assert exchange(sender, listener) == 0
        assert listener.getsockname() == before


def test_a_flushed_firewall_is_mended(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    host.run("nft flush ruleset")
    assert tcp(host, "outside", "web", outside.host_ipv4) is None
    assert host.netapply("plan", "-", "--detailed-exitcode", stdin=shop(), code=2).stdout
    host.netapply("-", stdin=shop())
    assert both(host, "outside", "web", outside.host_ipv4) == outside.ipv4
    assert "nothing to do" in host.netapply("-", stdin=shop()).stdout


# clashes


def test_a_port_that_a_process_listens_on_is_refused_with_its_name(host: Machine) -> None:
    listener = [sys.executable, "-c", "import socket,time; s=socket.create_server(('127.0.0.1', 8080)); time.sleep(60)"]
    process = host.start(listener)
    wait_until_taken(8080)
    before = host.snapshot()
    said = host.netapply("-", stdin=shop(), code=3).stderr
    assert f"(process {process.pid}) listens on 127.0.0.1:8080" in said
    assert "port 8080/tcp of the host" in said
    assert host.snapshot() == before
    process.kill()
    process.communicate(timeout=10)
    host.netapply("-", stdin=shop())


def wait_until_taken(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
    raise AssertionError(f"nobody listens on {port}")


def test_a_process_on_another_address_or_protocol_is_in_nobodys_way(host: Machine) -> None:
    outside = host.outside()
    with host.socket("", outside.host_ipv4, 8080), host.socket("", "127.0.0.1", 8080, socket.SOCK_DGRAM):
        host.netapply("-", stdin=shop('["127.0.0.1:8080:80"]'))
        assert tcp(host, "", "web", "127.0.0.1") == GATEWAYS[4]


def test_a_process_that_has_ipv6_alone_is_in_the_way_of_ipv6_alone(host: Machine) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as service:
        service.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        service.bind(("::", 8080))
        host.netapply("-", stdin=shop('["0.0.0.0:8080:80/udp"]'))
        host.netapply("destroy", "--project", "shop")
        assert "[::]:8080" in host.netapply("-", stdin=shop('["8080:80/udp"]'), code=3).stderr


def test_a_port_that_another_project_publishes_is_refused_with_its_name(host: Machine) -> None:
    host.netapply("-", stdin=shop())
    other = shop(web='["8080:1"]').replace("project: shop", "project: other")
    other = other.replace("10.2", "10.3").replace("fd00:2", "fd00:3").replace("  web", "  o-web")
    other = other.replace("  api", "  o-api").replace("  store", "  o-store")
    said = host.netapply("-", stdin=other, code=3).stderr
    assert "web of project shop is published on 0.0.0.0:8080" in said


def test_who_listens_on_a_port_that_is_published_already_stops_no_run(host: Machine) -> None:
    host.netapply("-", stdin=shop())
    with host.socket("", "0.0.0.0", 8080):
        assert "nothing to do" in host.netapply("-", stdin=shop()).stdout
        host.netapply("-", stdin=shop('["8080:80", "8080:80/udp", "8081:80"]'))


# what stays, and what a failure leaves


def test_without_pruning_the_ports_of_containers_that_stay_are_kept(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop('["8080:80", "127.0.0.1:8081:80"]', '["8082:80"]'))
    fewer = "".join(line for line in shop("[]").splitlines(True)[: shop().splitlines().index("containers:") + 1])
    fewer += "  api: {networks: {back: {ipv4_address: 10.21.0.10, ipv6_address: 'fd00:21::10'}}, ports: ['8090:80']}\n"
    host.netapply("--no-prune", "-", stdin=fewer)
    assert tcp(host, "outside", "web", outside.host_ipv4) == outside.ipv4
    assert tcp(host, "outside", "web2", outside.host_ipv4, 8082) == outside.ipv4
    assert tcp(host, "", "web", "127.0.0.1", 8081) == GATEWAYS[4]
    assert tcp(host, "outside", "api", outside.host_ipv4, 8090) == outside.ipv4
    assert "nothing to do" in host.netapply("--no-prune", "-", stdin=fewer).stdout
    said = host.netapply("--no-prune", "-", stdin=fewer.replace("8090", "8080"), code=3).stderr
    assert "port 8080/tcp of the host is wanted by api, and --no-prune leaves it to web" in said
    host.netapply("-", stdin=fewer, code=0)
    assert tcp(host, "", "api", "127.0.0.1", 8080) is None


def test_destroying_leaves_nothing_of_published_ports(host: Machine) -> None:
    outside = host.outside()
    before = host.snapshot()
    host.netapply("-", stdin=shop())
    host.netapply("destroy", "--project", "shop")
    assert tcp(host, "", "outside", outside.ipv4, 8080, 8080), "the host reaches others at that port"
    host.run("nft delete table inet netapply", check=False)
    assert [line for line in host.snapshot().splitlines() if "shop" in line] == []
    assert before.splitlines()[0] == host.snapshot().splitlines()[0]


def manifest(text: str) -> Manifest:
    return load(["-"], {}, io.StringIO(text))


@pytest.mark.thorough
def test_killed_at_any_operation_the_next_run_still_moves_the_flow(host: Machine) -> None:
    outside = host.outside()
    first, second = manifest(shop('["8080:80/udp"]')), manifest(shop("[]", '["8080:80/udp"]'))
    engine.converge(first, LinuxHost())
    counting = Counting(None, kill)
    engine.converge(second, LinuxHost(trap=counting))
    words: list[str] = []
    for at in range(counting.seen):
        engine.converge(first, LinuxHost(trap=words.append))
        with ExitStack() as stack:
            ends = [stack.enter_context(host.socket(one, "::", 80, socket.SOCK_DGRAM)) for one in ("web", "web2")]
            sender = stack.enter_context(flow(host, "outside", outside.host_ipv4))
            assert exchange(sender, *ends) == 0
            assert os.WIFSIGNALED(run_in_a_child(second, Counting(at, kill)))
            engine.converge(second, LinuxHost())
            assert exchange(sender, *ends) == 1, f"killed at operation {at}"
        assert not engine.plan(second, LinuxHost()).plan
    assert "forget the connections to 1 published ports" in words


def test_whatever_operation_fails_ports_are_as_before(host: Machine) -> None:
    outside = host.outside()
    first, second = manifest(shop('["8080:80", "8081:80/udp"]')), manifest(shop("[3000]", '["8080:80"]'))
    engine.converge(first, LinuxHost())
    before = host.snapshot()
    counting = Counting(None, kill)
    engine.converge(second, LinuxHost(trap=counting))
    engine.converge(first, LinuxHost())
    assert host.snapshot() == before
    for at in range(counting.seen):
        with pytest.raises(ApplyFailed):
            engine.converge(second, LinuxHost(trap=Counting(at, raising(errno.EBUSY))))
        assert host.snapshot() == before, f"operation {at} failed"
    assert tcp(host, "outside", "web", outside.host_ipv4) == outside.ipv4


LAN = """
project: shop
networks:
  lan:
    driver: macvlan
    driver_opts: {parent: uplink, host_access: true}
    ipam: {config: [{subnet: 203.0.113.0/24, gateway: 203.0.113.2, ip_range: 203.0.113.64/27}]}
containers:
  web: {networks: [lan]}
"""


@pytest.mark.parametrize(
    ("none", "some"),
    [(shop("[]"), shop()), (LAN, LAN.replace("[lan]", '[lan], ports: ["8080:80"]'))],
    ids=["bridge", "macvlan"],
)
def test_there_is_no_moment_in_which_127_0_0_1_is_open(host: Machine, none: str, some: str) -> None:
    """Neither while the last port is withdrawn nor while the first one is published, whenever the run is killed."""
    host.outside()

    def look(what: str) -> None:
        if os.readlink("/proc/thread-self/ns/net") != home:
            return
        found = {one.read_text().strip() for one in Path("/proc/sys/net/ipv4/conf").glob("*/route_localnet")}
        dropped = "ip daddr 127.0.0.0/8 drop" in host.run("nft list ruleset").stdout
        assert dropped or found == {"0"}, what
        seen.append((found, dropped))

    home = os.readlink("/proc/thread-self/ns/net")
    seen: list[tuple[set[str], bool]] = []
    engine.converge(manifest(none), LinuxHost())
    for one in (some, none, some):
        engine.converge(manifest(one), LinuxHost(trap=look))
    engine.destroy("shop", LinuxHost(trap=look))
    assert ({"0", "1"}, True) in seen
    assert ({"0"}, False) in seen


def test_a_thousand_ports_lead_where_they_should_and_a_packet_passes_the_rules_of_one(host: Machine) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop('["9999:9999"]'))
    few = rules(host)
    host.netapply("-", stdin=shop('["10000-10999:10000-10999", "10000-10999:10000-10999/udp"]'))
    assert rules(host) == few
    for port in (10000, 10500, 10999):
        assert tcp(host, "outside", "web", outside.host_ipv4, port, port) == outside.ipv4
        assert udp(host, "outside", "web", outside.host_ipv6, port, port) == outside.ipv6
    assert (
        "nothing to do"
        in host.netapply("-", stdin=shop('["10000-10999:10000-10999", "10000-10999:10000-10999/udp"]')).stdout
    )


def rules(host: Machine) -> list[str]:
    """Return the chains of the table with their rules, without what sets and maps hold."""
    text = host.run("nft -s -t list table inet netapply-shop").stdout
    return text[text.index("\tchain ") :].splitlines()


# what a closed port answers


@both_families
def test_who_finds_nobody_behind_a_published_port_hears_so_at_once(host: Machine, family: int) -> None:
    outside = host.outside()
    host.netapply("-", stdin=shop())
    address = outside.host_address(family)
    with inside("outside"), pytest.raises(ConnectionRefusedError):
        socket.create_connection((address, 8080), timeout=2)
    with host.socket("outside", outside.address(family), 0, socket.SOCK_DGRAM) as sender:
        sender.settimeout(2)
        sender.connect((address, 8080))
        sender.send(b"x")
        with pytest.raises(ConnectionRefusedError):
            sender.recv(1)


@both_families
def test_a_container_hears_that_its_answers_are_too_long_for_the_way(host: Machine, family: int) -> None:
    """The error is for the direction in which the connection was opened, and no reply of it."""
    outside = host.outside()
    narrow(host)
    host.netapply("-", stdin=shop())
    client = {4: "198.51.100.2", 6: "2001:db8:99::2"}[family]
    kind = socket.AF_INET6 if family == 6 else socket.AF_INET
    with inside("far"):
        sender = socket.socket(kind, socket.SOCK_DGRAM)
    with sender, host.socket("web", "::", 80, socket.SOCK_DGRAM) as listener:
        sender.connect((outside.host_address(family), 8080))
        sender.send(b"x")
        listener.settimeout(2)
        peer = listener.recvfrom(16)[1]
        assert plain(peer[0]) == client
        deadline = time.monotonic() + REACHED_WITHIN * PATIENCE
        while "mtu 1280" not in (way := host.run(f"ip route get {client}", netns="web").stdout):
            assert time.monotonic() < deadline, way
            listener.sendto(bytes(1400), peer)  # again: a router sends so many errors a second, to all together
            time.sleep(SHORT)


def narrow(host: Machine) -> None:
    """Put the namespace `far` behind the outside, by a link that takes packets of 1280 bytes."""
    host.netns("far")
    host.run("ip link add narrow mtu 1280 type veth peer name eth0 mtu 1280 netns far", netns="outside")
    for netns, link, number in (("outside", "narrow", 1), ("far", "eth0", 2)):
        host.sysctl(f"net.ipv6.conf.{link}.accept_dad", "0", netns=netns)
        host.run(f"ip link set {link} up", netns=netns)
        host.run(f"ip addr add 198.51.100.{number}/24 dev {link}", netns=netns)
        host.run(f"ip addr add 2001:db8:99::{number}/64 dev {link} nodad", netns=netns)
    for family, gateway in ((4, "198.51.100.1"), (6, "2001:db8:99::1")):
        host.run(f"ip -{family} route add default via {gateway}", netns="far")
    host.sysctl("net.ipv4.ip_forward", "1", netns="outside")
    host.sysctl("net.ipv6.conf.all.forwarding", "1", netns="outside")
    host.run("ip route add default via 203.0.113.1", netns="outside")
    host.run("ip route add default via 2001:db8:113::1", netns="outside")
