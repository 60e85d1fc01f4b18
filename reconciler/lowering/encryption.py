"""What an encrypted network has beneath its VXLAN link: a WireGuard link that all of a project share.

Nothing may leave in clear, whatever is missing or removed. docs/decisions/011-encryption.md says what each part is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..firewall import Seal
from ..naming import fence_metric, wireguard_name
from ..networks import Network
from ..resources import HOST, WIREGUARD, Address, Link, Option, Resource, Route, Wireguard, WireguardPeer

OVERHEAD = {4: 60, 6: 80}
"""Bytes by the family of the hosts' addresses: outer IP, UDP, WireGuard's header and tag (20 or 40, 8, 16 and 16)."""

METRIC = 1024


def is_encrypted(options: Mapping[str, Option]) -> bool:
    """Whether a network with these driver_opts is encrypted between hosts."""
    return bool(options.get("encrypted"))


def tunnel(network: Network) -> Iterator[Resource]:
    """Yield the WireGuard link, who is at its other ends, and the ways there; the same for each network of a project.

    Last come the fences: routes to nowhere for all that is in the tunnel, for when there is no other one: the host's
    default route would take the packets otherwise, also those for a host that has left.
    """
    settled = network.tunnel
    if settled is None:
        return
    yield Link(
        WIREGUARD,
        "wireguard",
        HOST,
        wireguard_name(network.project),
        mtu=settled.mtu,
        ipv6=False,
        sysctls={"ipv6.conf.disable_ipv6": "0"},  # where the host has it off for new links
    )
    yield Wireguard(WIREGUARD, settled.public_key, settled.port, settled.key_file)
    for peer in settled.peers:
        yield WireguardPeer(WIREGUARD, peer.public_key, peer.endpoint, (f"{peer.address}/128",), host=peer.host)
    yield Address(WIREGUARD, f"{settled.address}/128")
    yield Route(HOST, settled.prefix, link=WIREGUARD, metric=METRIC)
    for prefix in (settled.prefix, *network.whole):
        yield Route(HOST, prefix, metric=fence_metric(network.project), type="unreachable")


def seal(network: Network, port: int) -> Seal | None:
    """Return what the firewall must know: packets go by the WireGuard link, at that port, or not at all."""
    if network.tunnel is None:
        return None
    subnets = network.whole or tuple(subnet.cidr for subnet in network.subnets)
    return Seal(wireguard_name(network.project), port, int(network.options["vni"]), subnets)
