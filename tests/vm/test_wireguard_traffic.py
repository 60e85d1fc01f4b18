"""What an encrypted network carries: packets as large as it says, much at once, and past firewalls of others."""

from __future__ import annotations

import hashlib
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pyroute2 import WireGuard  # type: ignore[import-untyped]

from tests.cluster import Host, cluster
from tests.isolation import inside
from tests.kernel.test_coexistence_incoming import STRICT, chain, server
from tests.machine import PATIENCE, Machine

from .test_wireguard import assert_sealed, wire, wireguard

pytestmark = pytest.mark.needs_kernel("wireguard")

SHOP = """
version: 1
project: shop
hosts:
  one: {{address: "{one}", private_key_file: /run/keys/wireguard.key}}
  two: {{address: "{two}", private_key_file: /run/keys/wireguard.key}}
networks:
  front:
    driver: overlay
    driver_opts: {{encrypted: true}}
    ipam: {{config: [{{subnet: 10.50.0.0/24}}, {{subnet: "fd00:50::/64"}}]}}
  back:
    driver: overlay
    driver_opts: {{encrypted: true, mode: l3}}
    ipam: {{config: [{{subnet: 10.60.0.0/16}}, {{subnet: "fd00:60::/48"}}]}}
containers:
  web: {{host: one, networks: [front, back]}}
  db: {{host: two, networks: [front, back]}}
"""
STARTS = {4: ("10.50.", "10.60."), 6: ("fd00:50:", "fd00:60:")}
"""What addresses of front and back begin with."""

BULK = 1 << 20
"""Bytes that are sent by TCP: hundreds of packets, which are put together and taken apart on their way."""


@pytest.fixture
def hosts(host: Machine) -> dict[str, Host]:
    return cluster(host, ("one", "two"))


def keyed(hosts: dict[str, Host], folder: Path, family: int) -> Path:
    """Write the manifest, with the keys that the hosts have made."""
    file = folder / "shop.yaml"
    file.write_text(SHOP.format(**{name: one.address_of(family) for name, one in hosts.items()}))
    for one in hosts.values():
        one.netapply("keys", "--write", file)
    return file


def until(ready: Callable[[], bool], within: float = 30) -> bool:
    """Whether something is so, or becomes so within that many seconds."""
    deadline = time.monotonic() + within * PATIENCE
    while not (so := ready()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return so


@pytest.mark.parametrize("family", [4, pytest.param(6, marks=pytest.mark.thorough)], ids=["over-ipv4", "over-ipv6"])
def test_packets_of_exactly_the_mtu_pass_in_one_piece_and_larger_ones_do_not(
    host: Machine, hosts: dict[str, Host], tmp_path: Path, family: int
) -> None:
    file = keyed(hosts, tmp_path, family)
    for one in hosts.values():
        one.netapply(file)
    web, mtu = hosts["one"].container("web"), 1500 - (130 if family == 4 else 150)
    targets = [hosts["two"].address("db", inner, start) for inner in (4, 6) for start in STARTS[inner]]
    pairs = [(web, target) for target in targets]
    assert all(host.pings(pairs)), "by then both hosts know each other"
    with wire() as seen:
        assert host.pings(pairs, size=mtu, fragment=False) == [True] * 4
        assert host.pings(pairs, size=mtu + 1, fragment=False, within=0.3) == [False] * 4
    assert_sealed(seen)  # no second pieces among them: these have no port
    assert max(map(len, seen)) == 14 + 1500
    for target in targets:
        assert digest_of_what_arrives(web, hosts["two"].container("db"), target) == hashlib.sha256(MUCH).digest()


MUCH = random.Random(7).randbytes(BULK)


def digest_of_what_arrives(client: str, server: str, address: str) -> bytes:
    """Send MUCH by TCP from one namespace to an address in another, and return the digest of what comes there."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    arrived = hashlib.sha256()
    with inside(server):
        listener = socket.create_server((address, 8000), family=family)

    def take() -> None:
        listener.settimeout(30 * PATIENCE)
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(30 * PATIENCE)
            while piece := accepted.recv(1 << 16):
                arrived.update(piece)

    taking = threading.Thread(target=take, daemon=True)
    taking.start()
    with listener, inside(client):
        with socket.create_connection((address, 8000), timeout=30 * PATIENCE) as connection:
            connection.sendall(MUCH)
        taking.join(60 * PATIENCE)
    return arrived.digest()


# firewalls of others


def notes(said: str) -> list[str]:
    """Return what is said of firewalls of others, what mends it in each line's end."""
    return [line for line in said.splitlines() if line.startswith("note: the firewall chain")]


def shaken(one: Host) -> bool:
    """Whether a host has heard its peer by WireGuard: what has the right key, and came in."""
    with inside(one.netns), closing(WireGuard()) as door:
        (device,) = door.info(wireguard(one))
    peers = device.get("WGDEVICE_A_PEERS") or ()
    return any(peer.get("WGPEER_A_LAST_HANDSHAKE_TIME")["tv_sec"] for peer in peers)


FIREWALLS = {
    "by-hand": chain("input", *STRICT, policy="drop"),
    "iptables": [*server("iptables-nft"), *server("ip6tables-nft")],
}


@pytest.mark.thorough
@pytest.mark.parametrize("commands", FIREWALLS.values(), ids=FIREWALLS.keys())
def test_a_firewall_that_drops_what_comes_by_wireguard_is_named_and_the_mends_as_printed_open_it(
    host: Machine, hosts: dict[str, Host], tmp_path: Path, commands: list[str]
) -> None:
    """WireGuard's own packets, and in them VXLAN's: each alone is not enough."""
    file, two = keyed(hosts, tmp_path, 4), hosts["two"]
    for one in hosts.values():
        one.netapply(file)
    for command in commands:
        two.run(["sh", "-c", command])
    before = two.run("nft -s list ruleset").stdout
    said = notes(two.netapply("plan", file).stdout)
    assert notes(two.netapply(file).stdout) == said
    assert two.run("nft -s list ruleset").stdout == before
    (sealed,) = (
        line for line in said if "drops what other hosts send for back, front (WireGuard, UDP port 51820); " in line
    )
    (within,) = (
        line for line in said if "drops what other hosts send for back, front (VXLAN, UDP port 4789); " in line
    )
    assert len(said) == 2
    doctor = two.netapply("doctor", file, code=None).stdout
    assert all(line.removeprefix("note: ").partition("; ")[0] in doctor for line in said)

    def answers() -> bool:
        """Whether a packet of a flow that is new each time gets from one host to the other."""
        address = two.address("db", 4, "10.50.")
        return host.udp(hosts["one"].container("web"), two.container("db"), address, within=0.5) is not None

    assert not answers()
    assert not shaken(two)
    two.run(["sh", "-c", sealed.partition("; ")[2]])
    until(lambda: answers() or shaken(two))
    assert shaken(two), "WireGuard's packets are let in now"
    assert not answers(), "and VXLAN's within are not"
    assert notes(two.netapply("plan", file).stdout) == [within]
    two.run(["sh", "-c", within.partition("; ")[2]])
    assert until(answers)
    assert notes(two.netapply("plan", file).stdout) == []
    assert "no firewall of others is in the way" in two.netapply("doctor", file, code=None).stdout
