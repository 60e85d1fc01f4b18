"""Links of others, of four kinds that netapply makes too, on a parent that its networks use: none of them ever changes.

A macvlan and a vxlan, and where the kernel has them a VLAN link and a WireGuard link with a key and a peer. Each is up,
with addresses of both families; one has a route. `make` and `state` are about the namespace that the caller is in.
"""

from __future__ import annotations

import json
import socket
import subprocess
from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from reconciler.host import wireguard
from reconciler.host.fake_kernel import Kernel
from reconciler.host.fake_links import Device, Hop
from reconciler.resources import FdbEntry, Option, WireguardPeer
from reconciler.x25519 import public_key

from .features import has


class Canary(NamedTuple):
    """`words` are what `ip link add` is told of it. `mac` and `options` are the same for a kernel in memory."""

    name: str
    kind: str
    words: str
    mac: str | None = None
    options: Mapping[str, Option] = MappingProxyType({})


REMOTE = "192.0.2.99"
LINKS = (
    Canary(
        "canary-macvlan",
        "macvlan",
        "address 02:ee:00:00:00:01 link {parent} type macvlan mode bridge",
        "02:ee:00:00:00:01",
        {"mode": "bridge"},
    ),
    Canary(
        "canary-vxlan",
        "vxlan",
        f"address 02:ee:00:00:00:02 type vxlan dev {{parent}} id 4242 dstport 4789 remote {REMOTE}",
        "02:ee:00:00:00:02",
        {"id": 4242, "port": 4789},
    ),
    Canary("canary-vlan", "vlan", "link {parent} type vlan id 77", options={"id": 77}),
    Canary("canary-wg", "wireguard", "type wireguard"),
)
EVERYWHERE = ("macvlan", "vxlan")
"""The kinds that every kernel has on which the tests run."""

ROUTE, VIA = "100.65.0.0/16", "100.64.0.7"

PRIVATE, PORT = b"\11" * 32, 40777
PEER = WireguardPeer("", b64encode(public_key(b"\12" * 32)).decode(), f"{REMOTE}:9", ("100.66.0.0/16", "fd66::/64"))


def addresses(number: int) -> tuple[str, str]:
    """Return the addresses of a canary, by its place among LINKS."""
    return f"100.64.{number}.1/24", f"2001:db8:64:{number}::1/64"


def make(parent: str) -> None:
    """Make those that the kernel has. They accept no router advertisements, so that forwarding concerns none of them.

    Link-local addresses, which come and go in the kernel's own time, they have none.
    """
    made = [(place, one) for place, one in enumerate(LINKS) if one.kind in EVERYWHERE or has(one.kind)]
    lines = [line for place, one in made for line in _lines(place, one, parent)]
    _run("ip -batch -", "\n".join([*lines, f"route add {ROUTE} via {VIA}"]))
    for _, one in made:
        Path("/proc/sys/net/ipv6/conf", one.name, "accept_ra").write_text("0")
        if one.kind == "wireguard":
            body = wireguard.identity(PRIVATE, PORT) + wireguard.peer(PEER)
            with closing(wireguard.Door()) as door:
                assert not door.send(wireguard.set_device(socket.if_nametoindex(one.name), body)).errno


def _lines(place: int, one: Canary, parent: str) -> list[str]:
    """Return what `ip` is told to make one of them."""
    ipv4, ipv6 = addresses(place)
    return [
        f"link add name {one.name} {one.words.format(parent=parent)}",
        f"link set {one.name} addrgenmode none",
        f"addr add {ipv4} dev {one.name}",
        f"addr add {ipv6} dev {one.name} nodad",
        f"link set {one.name} up",
    ]


def state() -> dict[str, Any]:
    """Return all that `ip -d addr` says of those that there are, who is behind the vxlan, and keys and peers.

    Identity, the number of a link, is part of it. Private keys are told by their public ones. Left out is whether
    there is a carrier, and the longest of the queues that macvlans on one parent ask for, which is the parent's.
    """
    names = {one.name for one in LINKS}
    found = [one for one in json.loads(_run("ip -d -j addr show")) if one["ifname"] in names]
    seen: dict[str, Any] = {one["ifname"]: _configured(one) for one in found}
    if "canary-vxlan" in seen:
        seen["fdb"] = json.loads(_run("bridge -j fdb show dev canary-vxlan"))
    if "canary-wg" in seen:
        with closing(wireguard.Door()) as door:
            messages = door.dump(seen["canary-wg"]["ifindex"])
        seen["wg"] = [str(one) for one in wireguard.resources("", messages)]
    return seen


def _configured(link: dict[str, Any]) -> dict[str, Any]:
    link["flags"] = [flag for flag in link["flags"] if flag not in ("LOWER_UP", "NO-CARRIER")]
    link["linkinfo"].get("info_data", {}).pop("usedbcqueuelen", None)
    return {key: value for key, value in link.items() if key != "operstate"}


def _run(command: str, lines: str = "") -> str:
    done = subprocess.run(command.split(), input=lines, text=True, check=True, capture_output=True, timeout=50)
    return done.stdout


def make_in_memory(kernel: Kernel, parent: Device) -> None:
    """Make all of them in a kernel in memory."""
    for place, one in enumerate(LINKS):
        below = parent if "{parent}" in one.words else None
        link = kernel.add_link(kernel.host, one.name, one.kind, mac=one.mac, parent=below, options=one.options)
        for address in addresses(place):
            kernel.add_address(link, address)
        kernel.set_up(link, True)
        if one.kind == "vxlan":
            link.fdb[FdbEntry.FLOOD] = (0, (REMOTE,))
        if one.kind == "wireguard":
            link.public_key, link.port_number = b64encode(public_key(PRIVATE)).decode(), PORT
            link.peers[PEER.public_key] = (PEER.endpoint, PEER.allowed_ips)
    kernel.add_route(kernel.host, Hop(ROUTE, 0, VIA, kernel.host.devices[LINKS[0].name]))
