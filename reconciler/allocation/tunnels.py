"""What encrypted networks need settled: keys, ends and addresses of the tunnel that all of a project's share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from .. import drivers
from ..errors import HostLacks, Problem
from ..host import Facts, Host
from ..lowering import encryption
from ..manifest.model import HostSpec, Manifest
from ..naming import tunnel_address, tunnel_prefix
from ..networks import Network, Tunnel, TunnelPeer
from ..resources import WIREGUARD, Key, State, Wireguard
from .spanning import ETHERNET_MTU, IPV6_MTU, underlay


def encrypted(manifest: Manifest) -> list[str]:
    """Return the names of the networks that are encrypted between hosts, sorted."""
    found = {name: drivers.find(name) for name in {spec.driver for spec in manifest.networks.values()}}
    spans = {name: driver.TRAITS.span for name, driver in found.items() if driver}
    return sorted(
        name
        for name, spec in manifest.networks.items()
        if (span := spans.get(spec.driver)) and span.encrypted(spec.driver_opts)
    )


def without_keys(manifest: Manifest) -> Iterator[Problem]:
    """Yield the hosts whose public key is not known, where one is needed."""
    names = encrypted(manifest) if manifest.hosts else []
    for host in manifest.hosts.values() if names else ():
        if host.public_key is None:
            what = f"host {host.name} has no public_key, and network {names[0]} is encrypted"
            mend = "run `netapply keys --write` on that host, with this manifest"
            yield Problem(manifest.position("hosts", host.name), what, mend)


def tunnel(manifest: Manifest, facts: Facts, problems: list[Problem]) -> Tunnel | None:
    """Return the tunnel of the manifest's encrypted networks, None where there are none; what is wrong is a problem.

    `here` must be known.
    """
    names = encrypted(manifest)
    if not names or manifest.here is None:
        return None
    missing = list(without_keys(manifest))
    problems += missing
    here, link = manifest.hosts[manifest.here], underlay(manifest, facts)
    base = link.mtu if link and link.name != "lo" else ETHERNET_MTU
    mtu = base - encryption.OVERHEAD[6 if ":" in here.address else 4]
    if mtu < IPV6_MTU and link:
        what = f"the link {link.name} to the other hosts has an MTU of {base}, and WireGuard leaves {mtu} of it"
        mend = f"what goes in it is IPv6, which needs {IPV6_MTU}: raise that of {link.name}"
        problems.append(Problem(manifest.position("networks", names[0]), what, mend))
    if missing:
        return None
    return Tunnel(
        mtu,
        here.public_key or "",
        here.private_key_file,
        here.wireguard_port,
        tunnel_prefix(manifest.project),
        tunnel_address(manifest.project, endpoint(here)),
        tuple(
            TunnelPeer(host.name, host.public_key or "", endpoint(host), address_of(manifest, host))
            for _, host in sorted(manifest.hosts.items())
            if host.name != here.name
        ),
    )


def through(networks: Iterable[Network], manifest: Manifest, tunnel: Tunnel) -> Iterator[Network]:
    """Yield the networks, the encrypted ones as they are within the tunnel: the hosts' addresses are those there."""
    names = set(encrypted(manifest))
    inside = {host.address: address_of(manifest, host) for host in manifest.hosts.values()}
    for network in networks:
        if network.name not in names or network.node is None:
            yield network
            continue
        yield replace(
            network,
            tunnel=tunnel,
            node=network.node._replace(address=tunnel.address),
            nodes=tuple(node._replace(address=inside[node.address]) for node in network.nodes),
            remotes=tuple(one._replace(via=inside[one.via]) for one in network.remotes),
        )


def endpoint(host: HostSpec) -> str:
    """Return where a host is reached by WireGuard: "192.0.2.12:51820", "[2001:db8::12]:51820"."""
    address = f"[{host.address}]" if ":" in host.address else host.address
    return f"{address}:{host.wireguard_port}"


def address_of(manifest: Manifest, host: HostSpec) -> str:
    """Return a host's address in the tunnel, without prefix length."""
    return tunnel_address(manifest.project, endpoint(host))


def demand_key(manifest: Manifest, desired: State, host: Host) -> None:
    """Raise HostLacks where the host can't be who the manifest says: it has no private key, or another."""
    one = desired.get(Key("wireguard", WIREGUARD))
    if not isinstance(one, Wireguard) or not one.key_file:
        return
    found = host.public_key(one.key_file)
    if found != one.public_key:
        raise HostLacks(
            f"the private key in {one.key_file} belongs to the public key {found}, and the manifest says that host"
            f" {manifest.here} has {one.public_key}; put the right key there, or run `netapply keys --write`"
        )
