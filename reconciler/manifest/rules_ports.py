"""Rules for published ports: by which network, on which address, and that no two want the same port of a host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from ..drivers import Traits
from ..lowering import publishing
from ..lowering.ports import ROUTE_LOCALNET
from ..lowering.uppers import HOST_SETTINGS
from ..resources import ALIAS, VLANS, VTEP
from .model import ContainerSpec, Manifest, NetworkSpec, PortSpec
from .rules import Finding, Path, Subject
from .rules_containers import MAX_ALIAS


def findings(manifest: Manifest, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield what is wrong with the ports of containers."""
    networks = {name: (subject.spec, subject.driver.TRAITS) for name, subject in subjects.items()}
    claims = _Claims(manifest)
    marked: set[str] = set()
    for container in manifest.containers.values():
        if not container.ports:
            continue
        whole = all(end.network in networks for end in container.endpoints)  # else that is wrong, and said
        ends = {family: publishing.way_in(container, networks, family) for family in (4, 6)}
        ways = {family: networks[end.network][0] for family, end in ends.items() if end}
        if not ways:
            if whole:
                yield _no_way(container, networks)
            continue
        yield from _too_long(manifest, ways.values(), networks, marked)
        for _, group in groupby(container.ports, key=lambda port: port.number):
            ports = list(group)
            if _family(ports[0]) in (None, *ways):
                yield from _entry(container, ports, ways, claims)
            elif whole:
                yield _no_family(container, ports[0])
    for service in manifest.services.values():
        if service.network in networks and any(port.published for port in service.ports):
            yield from _too_long(manifest, [networks[service.network][0]], networks, marked)


def path_of(container: ContainerSpec, port: PortSpec) -> Path:
    """Return where in the manifest a port is said."""
    return ("containers", container.name, "ports", port.number)


def _no_way(container: ContainerSpec, networks: Mapping[str, tuple[NetworkSpec, Traits]]) -> Finding:
    path: Path = ("containers", container.name, "ports")
    for end in sorted(container.endpoints, key=lambda end: -end.gw_priority):
        spec, traits = networks[end.network]
        if found := publishing.obstacle(spec, traits, 4 if spec.enable_ipv4 else 6):
            return Finding(path, f"container {container.name} can't publish ports: {found.what}", found.mend)
    what = f"container {container.name} publishes ports and is on no network"
    return Finding(path, what, "attach it to one")


def _too_long(
    manifest: Manifest,
    ways: Iterable[NetworkSpec],
    networks: Mapping[str, tuple[NetworkSpec, Traits]],
    marked: set[str],
) -> Iterator[Finding]:
    """Yield networks whose link has too long a mark with the setting that 127.0.0.1 takes; each once, by `marked`."""
    for spec in ways:
        if spec.name in marked:
            continue
        marked.add(spec.name)
        settings, tags = [ROUTE_LOCALNET], ["protect"] if spec.protect else []
        mark = f"{ALIAS}{manifest.project}/{spec.name}"
        if networks[spec.name][1].wants_parent:
            settings, mark = [*HOST_SETTINGS, ROUTE_LOCALNET], f"{mark}#host"
        if networks[spec.name][1].span and spec.driver_opts.get("mode") == "l3":
            mark += VTEP
        if uplink := spec.driver_opts.get("uplink"):
            tags.append(f"uplink-down={uplink}")
        if spec.driver_opts.get("vlan_filtering"):
            tags.append(VLANS)
        length = len(";".join([mark, *tags, f"sysctls={','.join(settings)}"]).encode())
        if length > MAX_ALIAS:
            what = f"the mark of the link of network {spec.name}, by which ports are published, is {length} bytes long"
            yield Finding(("networks", spec.name), f"{what}, and the kernel keeps {MAX_ALIAS}", "choose shorter names")


def _family(port: PortSpec) -> int | None:
    return None if port.host_ip is None else 6 if ":" in port.host_ip else 4


def _no_family(container: ContainerSpec, port: PortSpec) -> Finding:
    family = _family(port)
    what = (
        f"container {container.name} can't publish on {port.host_ip}: it has no IPv{family} by which the host leads in"
    )
    return Finding(path_of(container, port), what, f"give one of its networks IPv{family}, or another host_ip")


def _entry(
    container: ContainerSpec, ports: Sequence[PortSpec], ways: Mapping[int, NetworkSpec], claims: _Claims
) -> Iterator[Finding]:
    """Yield what is wrong with the ports of one entry; of a range the first fault stands for all.

    `ways` are the networks that they are published by, by family.
    """
    for port in ports:
        for one, network in ways.items():
            for address in publishing.host_ips(port, network, one):
                if found := claims.taken(container, port, one, address):
                    yield found
                    return


class _Claims:
    """The ports of hosts that are given away: by protocol and port, who has them on which address."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.seen: dict[tuple[str, int], list[tuple[ContainerSpec, PortSpec, int, str | None]]] = {}

    def taken(self, container: ContainerSpec, port: PortSpec, family: int, address: str | None) -> Finding | None:
        """Return who has the port already on the same host, and note that this container wants it."""
        if port.published is None:
            return None
        known = self.seen.setdefault((port.protocol, port.published), [])
        for other, first, its_family, its_address in known:
            near = None in (container.host, other.host) or container.host == other.host
            if near and family == its_family and (None in (address, its_address) or address == its_address):
                return self._twice(container, port, other, first)
        known.append((container, port, family, address))
        return None

    def _twice(self, container: ContainerSpec, port: PortSpec, other: ContainerSpec, first: PortSpec) -> Finding:
        place = self.manifest.position(*path_of(other, first))
        who = "this container" if other is container else f"container {other.name}"
        what = f"port {port.published}/{port.protocol} of the host is published by {who} already, at {place}"
        return Finding(path_of(container, port), what, "choose another, or another host_ip for both")
