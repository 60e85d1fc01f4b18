"""Encrypted networks: three hosts on one bridge, and nothing on it but WireGuard's packets, whatever is missing."""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

import pytest
from pyroute2 import WireGuard  # type: ignore[import-untyped]

from reconciler import engine
from reconciler.errors import ApplyFailed, HostLacks
from reconciler.firewall.services import virtual_ips
from reconciler.host import keyfiles
from reconciler.host.linux import LinuxHost
from reconciler.manifest import load
from reconciler.manifest.model import Manifest
from reconciler.x25519 import public_key
from tests import canaries
from tests.canaries import PEER
from tests.cluster import WORLD_IPV4, WORLD_IPV6, Host, cluster
from tests.isolation import inside
from tests.kernel.balanced import servers
from tests.kernel.test_killed import kill, run_in_a_child
from tests.kernel.test_rollback import FAILURES, OPTIONS, Counting, raising
from tests.machine import PATIENCE, Machine

pytestmark = pytest.mark.needs_kernel("wireguard")

SHOP = """
version: 1
project: shop
hosts:
  one: {{address: "{one}", private_key_file: /run/keys/wireguard.key}}
  two: {{address: "{two}", private_key_file: /run/keys/wireguard.key}}
  three: {{address: "{three}", private_key_file: /run/keys/wireguard.key, wireguard_port: 51999}}
networks:
  front:
    driver: overlay
    driver_opts: {{encrypted: true, vni: 77}}
    ipam: {{config: [{{subnet: 10.50.0.0/24}}, {{subnet: "fd00:50::/64"}}]}}
  back:
    driver: overlay
    driver_opts: {{encrypted: true, mode: l3}}
    ipam: {{config: [{{subnet: 10.60.0.0/16}}, {{subnet: "fd00:60::/48"}}]}}
containers:
  web: {{host: one, networks: [front, back]}}
  db: {{host: two, networks: [front, back]}}
  cache: {{host: three, networks: [front, back]}}
"""

PORTS = {51820, 51999}
WHERE = {"web": "one", "db": "two", "cache": "three"}
NETWORKS = ("10.", "fd0")
CANARY = b"in clear, this would be seen"


@pytest.fixture
def hosts(host: Machine) -> dict[str, Host]:
    return cluster(host)


def keyed(hosts: dict[str, Host], folder: Path, family: int = 4) -> Path:
    """Write the manifest, have every host make its key and put the public one into it; returns the file."""
    file = folder / "shop.yaml"
    file.write_text(SHOP.format(**{name: one.ipv4 if family == 4 else one.ipv6 for name, one in hosts.items()}))
    for one in hosts.values():
        one.netapply("keys", "--write", file)
    return file


@contextmanager
def wire() -> Iterator[list[bytes]]:
    """Collect the frames that come from the hosts and go to them."""
    seen: list[bytes] = []
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003)) as tap:
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        tap.setblocking(False)
        yield seen
        try:
            while True:
                seen.append(tap.recv(65536))
        except BlockingIOError:
            pass


def _port(packet: bytes) -> int:
    """Return the UDP port that an IP packet is for, or one that it is the refusal of, or the redirection."""
    start = (packet[0] & 0xF) * 4 if packet[0] >> 4 == 4 else 40
    protocol = packet[9] if packet[0] >> 4 == 4 else packet[6]
    if protocol == socket.IPPROTO_UDP:
        return int(struct.unpack_from("!H", packet, start + 2)[0])
    about_another = ((socket.IPPROTO_ICMP, 3), (socket.IPPROTO_ICMP, 5), (socket.IPPROTO_ICMPV6, 1))
    if (protocol, packet[start]) in about_another:  # unreachable, redirect
        return _port(packet[start + 8 :])
    return 0


def _is_own(frame: bytes) -> bool:
    """Whether a frame is one of those by which hosts find each other: ARP, ND and MLD."""
    if frame[12:14] != b"\x86\xdd":
        return frame[12:14] == b"\x08\x06"
    start = {socket.IPPROTO_ICMPV6: 54, socket.IPPROTO_HOPOPTS: 62}.get(frame[20])  # MLD has options before it
    return start is not None and frame[start] in (133, 134, 135, 136, 137, 143)


def assert_sealed(seen: list[bytes]) -> None:
    """Nothing but WireGuard's packets and what is the hosts' own. None of it shows what is within."""
    for frame in seen:
        assert _is_own(frame) or _port(frame[14:]) in PORTS, frame.hex()
        assert CANARY not in frame


class Mesh:
    """The containers, with the addresses that they have once: by both networks and both families."""

    def __init__(self, hosts: dict[str, Host]) -> None:
        self.places = {name: hosts[where].container(name) for name, where in WHERE.items() if where in hosts}
        self.addresses = {
            name: [one for family in (4, 6) for one in hosts[WHERE[name]].machine.addresses(place, family)]
            for name, place in self.places.items()
        }

    def unreached(self, *names: str, within: float = 3.0) -> list[tuple[str, str]]:
        """Have every container send the canary to every other one until it has come; returns who and where it has not.

        With `names` only among these. Not both ways at once: hosts that begin to talk at the same moment try again only
        after some seconds, and again at the same moment where everything is slow.
        """
        names = names or tuple(self.places)
        with ExitStack() as stack:
            doors = {name: stack.enter_context(_door(place)) for name, place in self.places.items()}
            pairs = list(combinations(names, 2))
            there = self._unheard(pairs, doors, within)
            return [*there, *self._unheard([(other, one) for one, other in pairs], doors, within)]

    def _unheard(
        self, pairs: list[tuple[str, str]], doors: dict[str, socket.socket], within: float
    ) -> list[tuple[str, str]]:
        aims = [(one, address) for one, other in pairs for address in self.addresses[other] if address[:3] in NETWORKS]
        assert len(aims) == 4 * len(pairs)
        left = {CANARY + bytes([number]): aim for number, aim in enumerate(aims)}
        deadline = time.monotonic() + within * PATIENCE
        while left and time.monotonic() < deadline:
            for payload, (name, address) in left.items():
                with suppress(OSError):  # it does not leave
                    doors[name].sendto(payload, (address if ":" in address else f"::ffff:{address}", 7777))
            again = time.monotonic() + 0.3
            while left and (wait := again - time.monotonic()) > 0:
                for ready in select.select(list(doors.values()), [], [], wait)[0]:
                    left.pop(ready.recv(100), None)
        return list(left.values())


def _door(netns: str) -> socket.socket:
    """Return a UDP socket in a namespace, at port 7777 of all addresses of both families."""
    with inside(netns):
        door = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    door.bind(("::", 7777))
    door.setblocking(False)
    return door


def send(netns: str, address: str, port: int, payload: bytes = CANARY) -> None:
    """Send a datagram from a namespace; that it can't leave is no error."""
    with inside(netns):
        sender = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    with sender, suppress(OSError):
        sender.setblocking(False)
        sender.sendto(payload, (address, port))


def wireguard(host: Host) -> str:
    """Return the name of the host's WireGuard link."""
    return next(
        str(one["ifname"])
        for one in host.machine.json("ip -d -j link show type wireguard", netns=host.netns)
        if one.get("ifalias", "").startswith("netapply:shop/")
    )


@pytest.mark.parametrize("family", [4, pytest.param(6, marks=pytest.mark.thorough)], ids=["over-ipv4", "over-ipv6"])
def test_containers_reach_each_other_and_only_wireguard_is_on_the_wire(
    hosts: dict[str, Host], tmp_path: Path, family: int
) -> None:
    file = keyed(hosts, tmp_path, family)
    with wire() as seen:
        hosts["one"].netapply(file)
        send(hosts["one"].container("web"), _known(file, "db"), 7777)  # the other hosts are not there yet
        for name in ("two", "three"):
            hosts[name].netapply(file)
        assert Mesh(hosts).unreached() == []
        for one in hosts.values():
            assert "nothing to do" in one.netapply(file).stdout
    assert_sealed(seen)
    assert {_port(frame[14:]) for frame in seen if not _is_own(frame)} == PORTS


@pytest.mark.thorough
@pytest.mark.parametrize("network", ["front", "back"])
def test_services_are_reached_from_every_host_and_nothing_of_that_is_in_clear(
    hosts: dict[str, Host], tmp_path: Path, network: str
) -> None:
    file = keyed(hosts, tmp_path)
    ports = f"services: {{api: {{network: {network}, containers: [db, cache], ports: ['8080:80']}}}}\n"
    file.write_text(f"{file.read_text()}{ports}")
    for one in hosts.values():
        one.netapply(file)
    assert Mesh(hosts).unreached() == []
    machine, web = hosts["one"].machine, hosts["one"].container("web")
    serving = [hosts[WHERE[name]].container(name) for name in ("db", "cache")]
    vips = [vip for vip, _ in virtual_ips(machine.run("nft -s list ruleset", netns=web).stdout)]
    assert len(vips) == 2
    for vip in vips:
        with servers(machine, serving, 80, ipv6=":" in vip) as api:
            with wire() as seen:
                for client in (web, serving[0], hosts["one"].netns, hosts["three"].netns):
                    assert api.spread(client, vip, 80, 4) == dict.fromkeys(serving, 2)
            assert_sealed(seen)
            family, world = (6, WORLD_IPV6) if ":" in vip else (4, WORLD_IPV4)
            found = [api.connect("", hosts["one"].address_of(family), 8080, world) for _ in range(4)]
            assert sorted(one[0] for one in found if one) == sorted(serving * 2)
            kept = api.connect("", hosts["two"].address_of(family), 8080, world)
            assert kept
            assert (kept[0], kept[1] == world) == (serving[0], network == "back")  # by which the default routes are
    for one in hosts.values():
        assert "nothing to do" in one.netapply(file).stdout


def _known(file: Path, container: str) -> str:
    """Return the address of a container on front, by the manifest alone."""
    from reconciler.allocation.allocate import allocate
    from reconciler.host import Facts, HostLink, Observation
    from reconciler.manifest import load

    manifest = replace(load([str(file)]), here="two")
    link = HostLink("eth0", "", 1500, True, addresses=(f"{manifest.hosts['two'].address}/24",))
    topology = allocate(manifest, Observation({}, Facts(links={"eth0": link})))
    front = next(network for network in topology.networks if network.name == "front")
    return next(end.addresses[0].partition("/")[0] for end in front.endpoints if end.container == container)


BROKEN = {
    "the link is deleted": ["ip link del {wg}"],
    "the link is down": ["ip link set {wg} down"],
    "the link is down and the firewall flushed": ["nft flush ruleset", "ip link set {wg} down"],
    "the link is deleted and the firewall flushed": ["nft flush ruleset", "ip link del {wg}"],
    "the routes are deleted": ["ip -6 route flush root fd00::/8 proto 110"],
}


def test_whatever_is_missing_nothing_leaves_in_clear_and_the_next_run_mends_it(
    hosts: dict[str, Host], tmp_path: Path
) -> None:
    file = keyed(hosts, tmp_path)
    for one in hosts.values():
        one.netapply(file)
    mesh, one = Mesh(hosts), hosts["one"]
    assert mesh.unreached() == []
    with wire() as seen:
        for name, commands in BROKEN.items():
            for command in commands:
                one.run(command.format(wg=wireguard(one)))
            assert mesh.unreached("web", "db", within=0.2), name
            one.netapply(file)
            assert mesh.unreached("web", "db") == [], name
        assert "nothing to do" in one.netapply(file).stdout
    assert_sealed(seen)


@pytest.mark.thorough
def test_in_clear_the_same_would_be_seen(hosts: dict[str, Host], tmp_path: Path) -> None:
    """What the other tests do not see on the wire is there where a network is not encrypted."""
    file = tmp_path / "shop.yaml"
    file.write_text(SHOP.format(**{name: one.ipv4 for name, one in hosts.items()}).replace("encrypted: true, ", ""))
    with wire() as seen:
        for one in hosts.values():
            one.netapply(file)
        assert Mesh(hosts).unreached() == []
    assert sum(CANARY in frame for frame in seen) >= 24


def vxlan(vni: int, destination: str, source: str, address: str) -> bytes:
    """Return a VXLAN packet without its UDP header: a datagram with the canary to port 7777 of an address."""
    udp = struct.pack("!HHHH", 7777, 7777, 8 + len(CANARY), 0) + CANARY
    ip = struct.pack(
        "!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, b"\x0a\x32\0\xfe", socket.inet_aton(address)
    )
    total = sum(struct.unpack("!10H", ip))
    total = (total & 0xFFFF) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + ip[12:]
    ethernet = bytes.fromhex(destination.replace(":", "")) + bytes.fromhex(source.replace(":", "")) + b"\x08\0"
    return struct.pack("!II", 0x08000000, vni << 8) + ethernet + ip + udp


def fragments(source: str, destination: str, payload: bytes) -> Iterator[bytes]:
    """Yield IPv6 packets: a UDP datagram to port 4789 in two fragments, of which the first has UDP's header alone."""
    ends = socket.inet_pton(socket.AF_INET6, source) + socket.inet_pton(socket.AF_INET6, destination)
    checked = ends + struct.pack("!IxxxB", 8 + len(payload), 17)
    udp = struct.pack("!HHHH", 5555, 4789, 8 + len(payload), 0) + payload
    words = checked + udp + b"\0" * (len(udp) % 2)
    total = sum(struct.unpack(f"!{len(words) // 2}H", words))
    total = (total & 0xFFFF) + (total >> 16)
    udp = udp[:6] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + udp[8:]
    for offset, more, part in ((0, 1, udp[:8]), (8, 0, udp[8:])):
        fragment = struct.pack("!BBHI", 17, 0, offset | more, 77)
        yield struct.pack("!IHBB", 6 << 28, 8 + len(part), 44, 64) + ends + fragment + part


def test_frames_that_come_in_clear_are_not_taken(host: Machine, hosts: dict[str, Host], tmp_path: Path) -> None:
    """From the link between the hosts, in one piece or in two, and from containers; with the rules flushed they are."""
    file = keyed(hosts, tmp_path, 6)
    for name in ("one", "two"):
        hosts[name].netapply(file)
    one, web, db = hosts["one"], hosts["one"].container("web"), hosts["two"].container("db")
    assert Mesh({name: hosts[name] for name in ("one", "two")}).unreached() == []
    address, tunnel = one.address("web", 4, "10.50."), _tunnel_address(host, one)
    packet = vxlan(77, _mac(host, web, address), "02:00:00:00:00:fe", address)
    with _door(web) as listener:
        for sealed in (True, False):
            if not sealed:
                one.run("nft flush ruleset")
            for netns, aim in (("", one.ipv6), (db, one.ipv6), (web, one.ipv6)):
                send(netns, aim, 4789, packet)
                assert _heard(listener) is not sealed, (netns, aim)
            send(db, tunnel, 4789, packet)  # this would be by WireGuard, and from somebody who is let in
            assert not _heard(listener)
            with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x86DD)) as raw:
                (link,) = host.json("ip -j link show eth0", netns=one.netns)
                for part in fragments("2001:db8:2::fe", one.ipv6, packet):
                    raw.sendto(part, ("lan", 0x86DD, 0, 0, bytes.fromhex(link["address"].replace(":", ""))))
            assert _heard(listener) is not sealed


def _mac(host: Machine, netns: str, address: str) -> str:
    """Return the MAC of the link that has an address."""
    links = host.json("ip -j addr", netns=netns)
    return next(str(one["address"]) for one in links if any(info.get("local") == address for info in one["addr_info"]))


def _tunnel_address(host: Machine, one: Host) -> str:
    found = host.json(f"ip -j -6 addr show dev {wireguard(one)}", netns=one.netns)
    return str(found[0]["addr_info"][0]["local"])


def _heard(listener: socket.socket) -> bool:
    """Whether the canary comes within a short time."""
    if not select.select([listener], [], [], 0.3 * PATIENCE)[0]:
        return False
    return listener.recv(100) == CANARY


def test_a_new_key_and_a_host_that_moves_or_leaves(hosts: dict[str, Host], tmp_path: Path) -> None:
    file, two = keyed(hosts, tmp_path), hosts["two"]
    for one in hosts.values():
        one.netapply(file)
    mesh = Mesh(hosts)
    assert mesh.unreached() == []
    with wire() as seen:
        two.run("rm /run/keys/wireguard.key")
        assert "no private key in /run/keys/wireguard.key" in two.netapply(file, code=69).stderr
        two.netapply("keys", "--write", file)
        two.netapply(file)
        assert mesh.unreached("web", "db", within=0.2)  # the others know the old key
        hosts["one"].netapply(file)
        assert mesh.unreached("web", "db") == []
        two.run("ip addr del 192.0.2.2/24 dev eth0")
        two.run("ip addr add 192.0.2.77/24 dev eth0")
        two.run("ip route replace default via 192.0.2.254")
        file.write_text(file.read_text().replace('"192.0.2.2"', '"192.0.2.77"'))
        for one in hosts.values():
            one.netapply(file)
        assert mesh.unreached() == []
        assert "nothing to do" in two.netapply(file).stdout
        file.write_text("\n".join(line for line in file.read_text().splitlines() if "three" not in line))
        assert "- peer" in hosts["one"].netapply(file).stdout
        assert "nothing to do" in hosts["one"].netapply(file).stdout
        assert len(mesh.unreached("web", "cache", within=0.2)) == 8
        assert mesh.unreached("web", "db") == []
    assert_sealed(seen)


def test_a_foreign_wireguard_link_survives_everything_and_foreign_peers_on_ours_do_not(
    host: Machine, hosts: dict[str, Host], tmp_path: Path
) -> None:
    file = keyed(hosts, tmp_path)
    one = hosts["one"]
    one.run("ip link add wg0 type wireguard")
    set_port(one, "wg0", 51820)
    one.run("ip addr add fd99::1/64 dev wg0")
    one.run("ip link set wg0 up")
    with inside(one.netns):
        canaries.make("eth0")
        around = canaries.state()
    theirs = host.run("ip -d addr show wg0", netns=one.netns).stdout
    refused = one.netapply(file, code=3)
    assert "UDP port 51820 of the host is taken" in refused.stdout + refused.stderr
    assert "wg0" in refused.stdout + refused.stderr
    assert one.containers() == []
    set_port(one, "wg0", 51000)
    one.netapply(file)
    ours = wireguard(one)
    add_peer(one, ours)
    planned = one.netapply("plan", "--detailed-exitcode", file, code=2).stdout
    assert "- peer" in planned
    one.netapply(file)
    assert "nothing to do" in one.netapply(file).stdout
    one.netapply("destroy", file)
    assert host.run("ip -d addr show wg0", netns=one.netns).stdout == theirs
    assert len(host.json("ip -j link show type wireguard", netns=one.netns)) == 2
    with inside(one.netns):
        assert canaries.state() == around  # with its key and its peer
        assert PEER.public_key in str(around["wg"])
    assert "fd" not in host.run("ip -6 route show proto 110", netns=one.netns).stdout
    assert host.run("nft list table inet netapply-shop", netns=one.netns, check=False).returncode


def set_port(host: Host, link: str, port: int) -> None:
    with inside(host.netns), closing(WireGuard()) as door:
        door.set(link, listen_port=port)


def add_peer(host: Host, link: str) -> None:
    key = b64encode(public_key(b"\1" * 32)).decode()
    with inside(host.netns), closing(WireGuard()) as door:
        door.set(
            link,
            peer={"public_key": key, "endpoint_addr": "192.0.2.9", "endpoint_port": 9, "allowed_ips": ["fd98::/64"]},
        )


# --- one host alone


ALONE = """
project: shop
hosts:
  here: {{address: 203.0.113.1, private_key_file: {folder}/{key}, public_key: {public}}}
  there: {{address: 203.0.113.2, public_key: {peer}, wireguard_port: {port}}}
networks:
  front: {{driver: overlay, driver_opts: {{encrypted: true}}, ipam: {{config: [{{subnet: 10.50.0.0/24}}]}}}}
containers:
  web: {{host: here, networks: [front]}}
  db: {{host: there, networks: [front]}}
"""


def alone(folder: Path, key: str, port: int = 51820, encrypted: bool = True) -> Manifest:
    """Return the manifest of this host with the key of that name, which is made unless it is there."""
    keyfiles.create(str(folder / key))
    public = keyfiles.public_key(str(folder / key))
    peer = b64encode(public_key(b"\2" * 32)).decode()
    file = folder / f"{key}-{port}.yaml"
    text = ALONE.format(folder=folder, key=key, public=public, peer=peer, port=port)
    file.write_text(text if encrypted else text.replace("encrypted: true", "flood: true"))
    return load([str(file)])


def kernel(host: Machine) -> list[str]:
    """Return all that the host has, the keys and peers of WireGuard links too."""
    with closing(WireGuard()) as door:
        links = [one["ifname"] for one in host.json("ip -j link show type wireguard")]
        said = [
            (link, one.get("WGDEVICE_A_PRIVATE_KEY"), one.get("WGDEVICE_A_LISTEN_PORT"), _peers(one))
            for link in links
            for one in door.info(link)
        ]
    return sorted([*host.snapshot().splitlines(), *map(str, said), str(canaries.state())])


def _peers(device: Any) -> list[Any]:
    """Return keys, endpoints and prefixes of a device's peers."""
    names = ("WGPEER_A_PUBLIC_KEY", "WGPEER_A_ENDPOINT", "WGPEER_A_ALLOWEDIPS")
    return [[str(peer.get(name)) for name in names] for peer in device.get("WGDEVICE_A_PEERS") or ()]


class OfTunnel(Counting):
    """A trap that counts what is done to the tunnel and to what stands on it; tests/kernel has tried the rest."""

    WORDS = ("WireGuard", "wireguard", "link wg", "link vx", "forwarding entry", "nft table netapply-")

    def __call__(self, what: str) -> None:
        if any(word in what for word in self.WORDS):
            super().__call__(what)


@pytest.mark.thorough
@pytest.mark.parametrize("encrypted", [True, False], ids=["rotated", "plain"])
def test_a_failure_at_any_operation_brings_back_the_key_that_only_the_kernel_had(
    host: Machine, tmp_path: Path, encrypted: bool
) -> None:
    """Where the key is replaced, and where the link goes that has it."""
    host.outside()
    canaries.make("uplink")
    before, after = alone(tmp_path, "old.key"), alone(tmp_path, "new.key", 51999, encrypted)
    engine.converge(before, LinuxHost(), OPTIONS)
    (tmp_path / "old.key").unlink()
    as_before = kernel(host)
    for at, failure in zip(range(100), cycle(FAILURES), strict=False):
        if trap_ended(after, OfTunnel(at, raising(failure))):
            break
        assert kernel(host) == as_before, f"operation {at} failed with {errno.errorcode[failure]}"
    assert at >= 3
    assert kernel(host) != as_before
    assert not engine.plan(after, LinuxHost(), OPTIONS).plan


def trap_ended(manifest: Manifest, trap: Counting) -> bool:
    """Converge; whether that had ended before the trap did anything."""
    try:
        engine.converge(manifest, LinuxHost(trap=trap), OPTIONS)
    except ApplyFailed:
        return False
    return trap.armed


@pytest.mark.thorough
def test_killed_at_any_operation_the_next_run_converges(host: Machine, tmp_path: Path) -> None:
    host.outside()
    canaries.make("uplink")
    before, after = alone(tmp_path, "old.key"), alone(tmp_path, "new.key", 51999)
    engine.converge(after, LinuxHost(), OPTIONS)
    as_after = kernel(host)
    for at in range(100):
        engine.converge(before, LinuxHost(), OPTIONS)
        (ours,) = (one for one in host.json("ip -j link show type wireguard") if "ifalias" in one)
        host.run(f"ip link del {ours['ifname']}")
        killed = os.WIFSIGNALED(run_in_a_child(after, OfTunnel(at, kill)))
        engine.converge(after, LinuxHost(), OPTIONS)
        assert kernel(host) == as_after, f"killed at operation {at}"
        if not killed:
            break
    assert at >= 8


def test_a_key_that_is_missing_or_open_or_another_one_is_told_before_anything_is_touched(
    host: Machine, tmp_path: Path
) -> None:
    host.outside()
    manifest = alone(tmp_path, "a.key")
    file, before = tmp_path / "a.key", host.snapshot()
    text = file.read_text()
    file.chmod(0o640)
    refusals = {
        "chmod 600": text,
        "there is no private key": None,
        "holds no private key": "x" * 44,
        "belongs to the public key": "",
    }
    for words, content in refusals.items():
        if content is None:
            file.unlink()
        elif content != text:
            file.write_text(content or b64encode(b"\3" * 32).decode())
            file.chmod(0o600)
        with pytest.raises(HostLacks, match=words) as told:
            engine.converge(manifest, LinuxHost(), OPTIONS)
        assert text.strip() not in str(told.value)
        assert host.snapshot() == before


def test_no_private_key_is_in_anything_that_netapply_says_or_leaves(host: Machine, tmp_path: Path) -> None:
    host.outside()
    manifest = alone(tmp_path, "a.key")
    file, secret = next(tmp_path.glob("*.yaml")), (tmp_path / "a.key").read_text().strip()
    said = []
    for words in (["plan", "-v"], ["plan", "--format", "json"], ["apply", "-v", "--debug"], ["status"], ["keys"]):
        done = host.netapply(*words, file)
        said.append(done.stdout + done.stderr)
    with closing(WireGuard()) as door:
        link = host.json("ip -j link show type wireguard")[0]["ifname"]
        assert door.info(link)[0].get("WGDEVICE_A_PRIVATE_KEY").decode() == secret  # it is the one that is looked for
    said += [repr(engine.plan(manifest, LinuxHost(), OPTIONS)), host.run("ip -d link").stdout, host.snapshot()]
    said.append(host.netapply("status", "--format", "json", file).stdout)
    forms = (secret, secret.rstrip("="), b64decode(secret).hex(), str(b64decode(secret))[2:-1])
    assert not [text for text in said for form in forms if form in text]
    assert keyfiles.public_key(str(tmp_path / "a.key")) in said[1]
