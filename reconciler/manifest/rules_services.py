"""Rules for services: on which networks, of which containers, with which addresses and ports."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from . import ip
from .members import by_network, is_pattern, matching, members
from .model import Manifest, ServiceSpec
from .rules import Finding, Path, Subject
from .words import did_you_mean, shown


def findings(manifest: Manifest, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield what is wrong with the services, each by itself and then all together."""
    near = by_network(manifest, {one.network for one in manifest.services.values()})
    for service in manifest.services.values():
        subject = subjects.get(service.network)
        if service.network not in manifest.networks:
            mend = did_you_mean(service.network, manifest.networks) or "add it under networks"
            what = f"there is no network {shown(service.network).strip(chr(39))}"
            yield Finding(("services", service.name, "network"), what, mend)
            continue
        if subject is not None:
            yield from _network(service, subject)
            if not subject.driver.TRAITS.addressed:
                continue
        yield from _containers(manifest, service, near[service.network])
        yield from _ports(service, subject)
    yield from _names(manifest, near)
    yield from _addresses(manifest, subjects)
    yield from _published(manifest)


def _network(service: ServiceSpec, subject: Subject) -> Iterator[Finding]:
    """Yield what keeps a network from having services."""
    path: Path = ("services", service.name, "network")
    spec, driver = subject.spec, subject.spec.driver
    if not subject.driver.TRAITS.addressed:
        what = f"network {spec.name} (driver {driver}) gives containers no addresses, and services need some"
        yield Finding(path, what, "use a network with subnets, such as one of driver bridge")
    elif spec.driver_opts.get("icc") is False:
        what = f"containers on network {spec.name} do not reach each other, so no service either"
        yield Finding(path, what, "remove icc: false, or put the service on another network")


def _containers(manifest: Manifest, service: ServiceSpec, near: Collection[str]) -> Iterator[Finding]:
    name, known = service.name, manifest.containers
    for number, text in enumerate(service.containers):
        path: Path = ("services", name, "containers", number)
        if matching(text, near):
            continue
        if is_pattern(text):
            what = f"{text} is the name of no container on network {service.network}"
            yield Finding(path, what, "change the pattern, or put containers on the network")
        elif text in known:
            what = f"container {text} is not on network {service.network}, where service {name} is"
            yield Finding(path, what, f"add {service.network} to its networks")
        else:
            mend = did_you_mean(text, known) or "add it under containers"
            yield Finding(path, f"there is no container {shown(text).strip(chr(39))}", mend)
    own = dict(members(service, near))
    for text in service.weights:
        if own and not matching(text, own):
            what = f"service {name} has no container {shown(text).strip(chr(39))}"
            yield Finding(("services", name, "weights", text), what, did_you_mean(text, own) or "remove it")


def _ports(service: ServiceSpec, subject: Subject | None) -> Iterator[Finding]:
    """Yield ports that are there twice, and what is said to no effect."""
    seen: set[tuple[int, str]] = set()
    for number, port in enumerate(service.ports):
        path: Path = ("services", service.name, "ports", number)
        if (port.target, port.protocol) in seen and port.published is None:
            what = f"service {service.name} has the port {port.target}/{port.protocol} twice"
            yield Finding(path, what, "remove one")
        seen.add((port.target, port.protocol))
        if port.published is not None and subject is not None:
            yield from _obstacles(service, subject, path)
    is_published = any(port.published for port in service.ports)
    for key, given in (("vip", service.vip), ("affinity", service.affinity), ("weights", service.weights)):
        if service.mode == "dnsrr" and given and (key == "vip" or not is_published):
            what = f"service {service.name} has no virtual IP in endpoint_mode dnsrr, so no {key}"
            yield Finding(("services", service.name, key), what, "remove it, or set endpoint_mode: vip")


def _obstacles(service: ServiceSpec, subject: Subject, path: Path) -> Iterator[Finding]:
    """Yield why nothing comes to the service by a port of the host, where that is so in both families."""
    from ..lowering.publishing import obstacle

    spec, traits = subject.spec, subject.driver.TRAITS
    families = [family for family, has in ((4, spec.enable_ipv4), (6, spec.enable_ipv6)) if has]
    found = [obstacle(spec, traits, family) for family in families]
    if traits.addressed and found and all(found) and (first := found[0]):
        what = f"service {service.name} can't be published: {first.what}"
        yield Finding(path, what, "remove published, or put the service on a bridge network")


def _names(manifest: Manifest, near: Mapping[str, Collection[str]]) -> Iterator[Finding]:
    """Yield services whose name means a container on the network already."""
    aliases: dict[tuple[str, str], str] = {}
    for container in manifest.containers.values():
        for end in container.endpoints:
            for alias in getattr(end, "aliases", ()):
                aliases[end.network, alias] = container.name
    for service in manifest.services.values():
        path: Path = ("services", service.name)
        if service.name in near[service.network]:
            what = f"a container on network {service.network} is called {service.name}, too"
            yield Finding(path, what, "give the service another name")
        elif holder := aliases.get((service.network, service.name)):
            what = f"{service.name} is an alias of container {holder} on network {service.network}, too"
            yield Finding(path, what, "give the service another name, or remove the alias")


def _addresses(manifest: Manifest, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield pinned virtual IPs that are outside, taken, or nobody's to have."""
    pinned = [one for one in manifest.services.values() if one.vip and one.network in subjects]
    if not pinned:
        return
    from .rules_containers import address_fault, taken_addresses

    by_subject = {name: taken_addresses(subjects[name]) for name in {one.network for one in pinned}}
    for name, taken in by_subject.items():
        for end in subjects[name].endpoints:
            for spelling in end.addresses:
                taken.setdefault(ip.address(spelling) or (0, 0), f"container {end.container}")
    for service in pinned:
        subject, taken = subjects[service.network], by_subject[service.network]
        if not subject.driver.TRAITS.addressed:
            continue
        for number, spelling in enumerate(service.vip):
            path: Path = ("services", service.name, "vip", *((number,) if len(service.vip) > 1 else ()))
            found = ip.address(spelling) or (0, 0)
            if holder := taken.get(found):
                what = f"is {holder} of" if holder.startswith("the ") else f"is that of {holder} on"
                yield Finding(path, f"{spelling} {what} network {service.network}", "choose another address")
            elif fault := address_fault(subject, path, spelling):
                yield fault
            else:
                taken[found] = f"service {service.name}"


def _published(manifest: Manifest) -> Iterator[Finding]:
    """Yield ports of the host that a service has, and another one or a container too."""
    seen: dict[tuple[int, str], str] = {}
    for container in manifest.containers.values():
        for spec in container.ports:
            if spec.published is not None:
                seen.setdefault((spec.published, spec.protocol), f"container {container.name}")
    for service in manifest.services.values():
        for number, port in enumerate(service.ports):
            if port.published is None:
                continue
            key, who = (port.published, port.protocol), f"service {service.name}"
            if other := seen.get(key):
                what = f"port {port.published}/{port.protocol} of the host is published by {other} already"
                yield Finding(("services", service.name, "ports", number), what, "choose another")
            seen.setdefault(key, who)
