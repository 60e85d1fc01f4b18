"""Networks made by hand with `ip`, for tests of what must work on them whoever made them."""

from __future__ import annotations

from ipaddress import ip_network

from reconciler.firewall import Zone
from reconciler.resources import LINK_GROUP
from tests.machine import Machine

FIRST = 10
"""A zone's first container has this number in each subnet; the host, as its gateway, has 1."""


def address(zone: Zone, number: int, family: int) -> str:
    """Return an address in the zone's first subnet of a family (4 or 6): the host's for 1, containers' from FIRST."""
    return str(ip_network(zone.prefixes(family)[0])[number])


def build(host: Machine, zone: Zone, *containers: str, isolated_ports: bool = False) -> None:
    """Make the zone's bridge, in our group, with the gateway addresses, and namespaces attached to it by veth pairs.

    `isolated_ports`: as the bridge driver has it without icc. Every namespace gets default routes by the host.
    """
    bridge = zone.interface
    _no_dad(host, "")
    lines = [f"link add {bridge} group {LINK_GROUP} type bridge", f"link set {bridge} up"]
    lines += [f"addr add {_with_length(zone, subnet, 1)} dev {bridge}" for subnet in zone.subnets]
    _batch(host, lines)
    for number, container in enumerate(containers, FIRST):
        if container not in host.names():
            _no_dad(host, host.netns(container))
        outer, inner = f"v{number}{bridge}"[:15], f"e-{zone.network}"
        _batch(host, [f"link add {outer} master {bridge} type veth peer name {inner} netns {container}"])
        _batch(host, [f"link set {outer} up type bridge_slave isolated {'on' if isolated_ports else 'off'}"])
        lines = [f"link set {inner} up"]
        lines += [f"addr add {_with_length(zone, subnet, number)} dev {inner}" for subnet in zone.subnets]
        lines += [f"route append default via {ip_network(subnet)[1]}" for subnet in zone.subnets]
        _batch(host, lines, container)


def forward(host: Machine) -> None:
    """Let the host forward both families, as netapply does."""
    host.sysctl("net.ipv4.ip_forward", "1")
    host.sysctl("net.ipv6.conf.all.forwarding", "1")


def _no_dad(host: Machine, netns: str) -> None:
    """Spare the links of a namespace duplicate address detection (RFC 4862, 5.4), which takes a second or two."""
    for scope in ("all", "default"):
        host.sysctl(f"net.ipv6.conf.{scope}.accept_dad", "0", netns=netns)


def _with_length(zone: Zone, subnet: str, number: int) -> str:
    network = ip_network(subnet)
    return f"{network[number]}/{network.prefixlen}" + (" nodad" if network.version == 6 else "")


def _batch(host: Machine, lines: list[str], netns: str = "") -> None:
    host.run("ip -batch -", netns=netns, stdin="\n".join(lines))
