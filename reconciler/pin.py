"""Writing allocated subnets and addresses into manifests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from . import drivers
from .allocation import ipam
from .errors import ManifestError, Problem
from .manifest.edit import Document, document
from .manifest.model import ContainerSpec, EndpointSpec, Manifest, NetworkSpec, ServiceSpec
from .networks import Endpoint, Network, Publication, Service, Topology


def pin(manifest: Manifest, topology: Topology) -> dict[str, str]:
    """Return, by file name, the new texts of the manifest's files that do not pin all that was allocated.

    What they declare then allocates to the same topology on any host. The subnets that an external bridge lends are not
    netapply's to pin, and containers that are pending have no addresses to. Raises ManifestError for places that
    an alias or a merge key shares, that come from a variable, or are written in a form that can't be added to.
    """
    problems: list[Problem] = []
    files = [one for file, text in manifest.sources.items() if (one := document(file, text, problems))]
    if problems:
        raise ManifestError(problems, manifest.sources)
    wanted: dict[str, dict[str, dict[str, str]]] = {}
    for network in topology.networks:
        if not (network.node and network.node.subnets):  # where hosts have parts of a subnet, those are not it
            _pin_network(files, manifest.networks[network.name], network)
        for endpoint in network.endpoints:
            spec = next(one for one in manifest.containers[endpoint.container].endpoints if one.network == network.name)
            if missing := _missing(spec, endpoint, network):
                wanted.setdefault(endpoint.container, {})[network.name] = missing
    for name in wanted:
        _pin_container(files, name, wanted[name])
    for container in manifest.containers_here.values():
        _pin_ports(files, container, topology.publications)
    for service in topology.services:
        if len(service.vips) > len(manifest.services[service.name].vip):
            _pin_service(files, manifest.services[service.name], service)
    texts = {one.file: one.edited() for one in files if one.edits}
    if problems:
        raise ManifestError(problems, manifest.sources)
    return texts


def _pin_service(files: Sequence[Document], spec: ServiceSpec, service: Service) -> None:
    """Write the virtual IPs of a service, those of families that none is pinned of."""
    file, path = _holder(files, "services", spec.name), ("services", spec.name, "vip")
    given = file.meant(*path)
    if isinstance(given, yaml.SequenceNode):
        if file.is_own(path, f"the virtual IP of service {spec.name}"):
            file.append(path, [one for one in service.vips if one not in spec.vip])
    elif given is not None:
        file.put(path, list(service.vips))
    elif file.is_own(path, f"the virtual IP of service {spec.name}"):
        file.add(path[:-1], {"vip": service.vips[0] if len(service.vips) == 1 else list(service.vips)})


def _missing(spec: EndpointSpec, endpoint: Endpoint, network: Network) -> dict[str, str]:
    """Return the addresses that the endpoint got and does not pin, by their keys."""
    result: dict[str, str] = {}
    pinned = {ipam.address(one)[0] for one in spec.addresses}
    own = [ipam.address(one.partition("/")[0]) for one in endpoint.addresses]
    for subnet in map(ipam.prefix, (one.cidr for one in network.subnets)):
        inside = [ipam.text(family, value) for family, value in own if family == subnet.family and value in subnet]
        if inside and subnet.family not in pinned:
            result.setdefault(f"ipv{subnet.family}_address", inside[0])
    return dict(sorted(result.items()))


def _holder(files: Sequence[Document], section: str, name: str) -> Document:
    """Return the file that declares something; no two do."""
    return next(one for one in files if one.meant(section, name) is not None)


def _pin_network(files: Sequence[Document], spec: NetworkSpec, network: Network) -> None:
    """Write the subnets that were chosen, for entries that say a size only and those that have no entry, and the host's
    own addresses."""
    driver = drivers.find(spec.driver)
    adopts = spec.external and not (driver and driver.TRAITS.wants_parent)
    file, path = _holder(files, "networks", spec.name), ("networks", spec.name, "ipam", "config")
    for number, config in enumerate(spec.ipam):
        if ipam.prefix(config.subnet).first == 0:
            file.replace(path, number, "subnet", network.subnets[number].cidr)
    more = [
        {"subnet": subnet.cidr, **({"gateway": subnet.gateway} if subnet.gateway else {})}
        for subnet in network.subnets[len(spec.ipam) :]
    ]
    if more and not adopts and file.is_own(path, f"the subnet of network {spec.name}"):
        file.append(path, more)
    if network.host_addresses and spec.driver_opts["host_access"] is True:
        plain = [one.partition("/")[0] for one in network.host_addresses]
        file.put(("networks", spec.name, "driver_opts", "host_access"), plain[0] if len(plain) == 1 else plain)


def _pin_ports(files: Sequence[Document], container: ContainerSpec, publications: Sequence[Publication]) -> None:
    """Write the free ports that were chosen."""
    path = ("containers", container.name, "ports")
    for port in container.ports:
        found = {
            one.port
            for one in publications
            if (one.owner, one.protocol) == (container.name, port.protocol)
            and any(target.port == port.target for target in one.targets)
            and port.host_ip in (None, one.host_ip)
        }
        if port.published is not None or not found:
            continue
        file, number = _holder(files, "containers", container.name), str(min(found))
        if sum(one.number == port.number for one in container.ports) > 1:
            file.refuse(path, f"the ports chosen for a range of container {container.name} make none")
            return
        host = "" if port.host_ip is None else f"[{port.host_ip}]:" if ":" in port.host_ip else f"{port.host_ip}:"
        text = f"{host}{number}:{port.target}" + (f"/{port.protocol}" if port.protocol != "tcp" else "")
        file.rewrite(path, port.number, text, {"published": number})


def _pin_container(files: Sequence[Document], name: str, wanted: Mapping[str, Mapping[str, str]]) -> None:
    """Write the addresses of a container, by network and key; a list of networks becomes a mapping."""
    if not wanted:
        return
    file, path = _holder(files, "containers", name), ("containers", name, "networks")
    if isinstance(file.meant(*path), yaml.SequenceNode):
        if file.is_own(path, f"the addresses of container {name}"):
            file.list_to_mapping(path, wanted)
        return
    for network, addresses in wanted.items():
        if file.is_own((*path, network), f"the address of container {name} on network {network}"):
            file.add((*path, network), addresses)
