"""Rules for containers and their endpoints: who is where, and with which addresses and names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..errors import Problem
from ..resources import ALIAS, NFT
from . import ip
from .checks import Walk
from .compiler import compiled
from .model import ContainerSpec, EndpointSpec, Manifest
from .rules import Finding, Path, Subject, name_fault
from .words import did_you_mean, shown

MAX_ALIAS = 255
"""Longest alias of a link in bytes: IFALIASZ of linux/if.h less the terminating zero."""


def findings(manifest: Manifest, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield what is wrong with the containers, each by itself and then those of each network together."""
    yield from _sandboxes(manifest)
    balanced = {service.network for service in manifest.services.values() if service.mode == "vip"}
    for container in manifest.containers.values():
        if container.endpoints:
            yield from _container(manifest, container, subjects, balanced)
    for subject in subjects.values():
        yield from _addresses(subject)
        yield from _macs(subject)


def _sandboxes(manifest: Manifest) -> Iterator[Finding]:
    seen: dict[str, dict[str | None, str]] = {}
    for name, container in manifest.containers.items():
        if container.sandbox.kind == "host":
            continue
        there = seen.setdefault(str(container.sandbox), {})
        where = container.host
        other = next((one for host, one in there.items() if host == where or None in (host, where)), name)
        there.setdefault(where, name)
        if other != name:
            path: Path = ("containers", name, "sandbox", container.sandbox.kind)
            what = f"containers {other} and {name} have the same sandbox, {container.sandbox}"
            yield Finding(path, what, f"give {name} another, or its networks to {other}")


def _container(
    manifest: Manifest, container: ContainerSpec, subjects: Mapping[str, Subject], balanced: set[str]
) -> Iterator[Finding]:
    """Yield what is wrong with a container. `balanced` are the networks with virtual IPs."""
    interfaces: dict[str, str] = {}
    alone = MAX_ALIAS - len(ALIAS) - len(manifest.project) - len(container.name) - 2
    is_balanced = any(end.network in balanced for end in container.endpoints)
    for end in container.endpoints:
        subject = subjects.get(end.network)
        if subject is None:
            if end.network not in manifest.networks:
                yield _unknown(manifest, end)
            continue
        traits = subject.driver.TRAITS
        if traits.exclusive and len(container.endpoints) > 1:
            what = f"container {container.name} is on the {subject.spec.driver} network {end.network}, and on others"
            yield Finding(_at(end), what, f"a container on a {subject.spec.driver} network can be on no other")
        if traits.in_host and container.sandbox.create:
            what = f"container {container.name} is on the {subject.spec.driver} network {end.network}"
            mend = "its namespace is the host's: remove sandbox, or set create: false"
            yield Finding(("containers", container.name, "sandbox"), what + " and has a namespace of its own", mend)
        more = _sysctls_length(end) + _own_sysctls_length(container, end, subject) + 7 * bool(end.bandwidth)
        more += len(f";{NFT}") * is_balanced
        if len(end.network) + more > alone:
            yield _too_long(manifest, end, more)
        if end.interface_name is not None:
            yield from _interface(end, interfaces)
        if end.driver_opts:
            yield from _driver_opts(end, subject)
        if end.bandwidth and (traits.wants_parent or not traits.addressed):
            yield _unshaped(end, subject)
        if end.bandwidth:
            yield from _too_slow(end, subject)
        if not traits.addressed and not traits.interface:
            yield from _not_addressed(end, subject)


def _at(end: EndpointSpec, *rest: str | int) -> Path:
    return ("containers", end.container, "networks", end.network, *rest)


def _unknown(manifest: Manifest, end: EndpointSpec) -> Finding:
    mend = did_you_mean(end.network, manifest.networks) or "add it under networks"
    return Finding(_at(end), f"there is no network {shown(end.network).strip(chr(39))}", mend)


def _sysctls_length(end: EndpointSpec) -> int:
    """Return how much longer their names make the alias of the link: ";sysctls=a,b"."""
    return len(";sysctls=") + len(",".join(end.sysctls)) if end.sysctls else 0


def _own_sysctls_length(container: ContainerSpec, end: EndpointSpec, subject: Subject) -> int:
    """Return how much longer the alias gets by the setting that turns IPv6 on where a runtime has turned it off."""
    if not container.sandbox.is_anothers or not subject.spec.enable_ipv6:
        return 0
    return len(",ipv6.conf.disable_ipv6" if end.sysctls else ";sysctls=ipv6.conf.disable_ipv6")


def _too_long(manifest: Manifest, end: EndpointSpec, more: int) -> Finding:
    names = f"{ALIAS}{manifest.project}/{end.container}/{end.network}"
    length = len(names) + more
    what = f"the mark of the link, {shown(names)}"
    what += ", and the names of its sysctls" if end.sysctls else ""
    mend = "choose shorter names" + (", or set fewer sysctls" if end.sysctls else "")
    verb = "are" if end.sysctls else "is"
    return Finding(_at(end), f"{what} {verb} {length} bytes long, and the kernel keeps {MAX_ALIAS}", mend)


def _interface(end: EndpointSpec, interfaces: dict[str, str]) -> Iterator[Finding]:
    """Yield what is wrong with the name of an interface, by itself and beside the container's others."""
    name = end.interface_name or ""
    path = _at(end, "interface_name")
    if fault := name_fault(name):
        yield Finding(path, *fault)
    elif (other := interfaces.setdefault(name, end.network)) != end.network:
        what = f"container {end.container} has an interface {name} already, on network {other}"
        yield Finding(path, what, "choose another")


def well_formed(subject: Subject) -> list[EndpointSpec]:
    """Return the network's endpoints as its driver's `check` may see them: without options that are none."""
    if not any(end.driver_opts for end in subject.endpoints):
        return subject.endpoints
    result: list[EndpointSpec] = []
    for end in subject.endpoints:
        refused = {path[-1] for path, *_ in _driver_opts(end, subject)}
        good = {name: value for name, value in end.driver_opts.items() if name not in refused}
        result.append(replace(end, driver_opts=good) if refused else end)
    return result


def _driver_opts(end: EndpointSpec, subject: Subject) -> Iterator[Finding]:
    """Yield what is wrong with the driver's options for the endpoint.

    A driver may say in ENDPOINT_OPTIONS which it has, in the form of its OPTIONS; few have any.
    """
    from .nested import fits, is_nested

    known = getattr(subject.driver, "ENDPOINT_OPTIONS", {})
    for name, value in end.driver_opts.items():
        if name in known and is_nested(known[name]):
            if not fits(known[name], value):
                words = "a mapping" if "object" in known[name]["type"] else "a list"
                yield Finding(_at(end, "driver_opts", name), f"{name} must be {words}, not {shown(value)}")
        elif name in known:
            problems: list[Problem] = []
            compiled(known[name])(value, ("", 1, 1), name, Walk(problems))
            yield from (Finding(_at(end, "driver_opts", name), what, mend) for _, what, mend in problems)
        else:
            mend = did_you_mean(name, known) or "the network's own driver_opts are under networks"
            what = f"the driver {subject.spec.driver} has no option {shown(name)} for an endpoint"
            yield Finding(_at(end, "driver_opts", name), what, mend)


def _too_slow(end: EndpointSpec, subject: Subject) -> Iterator[Finding]:
    """Yield the rates at which the longest burst has no room for one packet: such packets would never pass."""
    from .bandwidth import slowest

    mtu = subject.spec.mtu or 0
    for direction, rate in (end.bandwidth._asdict() if end.bandwidth else {}).items():
        if rate and rate.rate < slowest(mtu):
            what = f"at {rate.rate} bit/s no packet of {mtu} bytes, the MTU of network {end.network}, would ever pass"
            yield Finding(_at(end, "bandwidth", direction), what, f"give it {slowest(mtu)} or more, or a smaller mtu")


def _unshaped(end: EndpointSpec, subject: Subject) -> Finding:
    """Return why packets of an endpoint can't be held up: nothing of it is where its container does not get at it."""
    driver = subject.spec.driver
    what = f"what containers of the {driver} network {end.network} send does not pass the host, so no bandwidth"
    if not subject.driver.TRAITS.wants_parent:
        return Finding(
            _at(end, "bandwidth"), f"the {driver} network {end.network} has no veth pairs, so no bandwidth", "remove it"
        )
    return Finding(
        _at(end, "bandwidth"), what, "use a bridge with an uplink (driver_opts: {uplink: NAME}), or remove it"
    )


def _not_addressed(end: EndpointSpec, subject: Subject) -> Iterator[Finding]:
    given = [key for key in ("link_local_ips", "mac_address", "interface_name", "sysctls") if getattr(end, key)]
    given += [key for key, sign in (("ipv4_address", "."), ("ipv6_address", ":")) if sign in "".join(end.addresses)]
    for key in given:
        what = f"the {subject.spec.driver} network {end.network} gives a container no interface, so no {key}"
        yield Finding(_at(end, key), what, "remove it")


def _addresses(subject: Subject) -> Iterator[Finding]:
    """Yield pinned addresses that are outside, taken, or no container's to have."""
    if not subject.driver.TRAITS.addressed:
        return
    taken = taken_addresses(subject)
    if "host_access" in subject.spec.driver_opts and subject.driver.TRAITS.wants_parent:
        yield from _host_access(subject, taken)
    for end in subject.endpoints:
        for spelling in end.addresses:
            found = ip.address(spelling) or (0, 0)
            if (holder := taken.get(found)) is None and _fits(subject, found):
                taken[found] = f"container {end.container}"
                continue
            path = _address_path(end, spelling)
            if holder is not None:
                name = subject.spec.name
                what = f"is {holder} of" if holder.startswith("the ") else f"is that of {holder} on"
                yield Finding(path, f"{spelling} {what} network {name}", "choose another address")
            else:
                yield _outside(subject, path, spelling, found[0])


def _host_access(subject: Subject, taken: dict[tuple[int, int], str]) -> Iterator[Finding]:
    """Yield what is wrong with the addresses that the host is to have on the network, and add them to those `taken`."""
    from ..lowering.uppers import host_addresses

    path: Path = (*subject.path, "driver_opts", "host_access")
    families: set[int] = set()
    for spelling in host_addresses(subject.spec.driver_opts["host_access"]) or ():
        found = ip.address(spelling)
        if found is None:
            what = f"host_access is {shown(spelling)}, which is not an address"
            yield Finding(path, what, "give true, an address without prefix length, or one of each family")
        elif found[0] in families:
            yield Finding(path, f"host_access has two IPv{found[0]} addresses", "give one of each family at most")
        elif holder := taken.get(found):
            yield Finding(path, f"{spelling} is {holder} of network {subject.spec.name}", "choose another address")
        elif not _fits(subject, found):
            yield _outside(subject, path, spelling, found[0])
        else:
            families.add(found[0])
            taken[found] = "the host_access address"


def taken_addresses(subject: Subject) -> dict[tuple[int, int], str]:
    """Return, for addresses that no container may have, what they are."""
    taken: dict[tuple[int, int], str] = {}
    for entry in subject.entries:
        if entry.sized:
            continue
        for number, what in ip.unusable(entry.subnet).items():
            taken[entry.subnet.family, number] = what
        for name, spelling in entry.config.aux_addresses.items():
            taken[ip.address(spelling) or (0, 0)] = f"the aux address {name}"
        if entry.config.gateway:
            taken[ip.address(entry.config.gateway) or (0, 0)] = "the gateway"
    return taken


def address_fault(subject: Subject, path: Path, spelling: str) -> Finding | None:
    """Return what keeps an address out of the network, None where nothing does."""
    found = ip.address(spelling) or (0, 0)
    return None if _fits(subject, found) else _outside(subject, path, spelling, found[0])


def _fits(subject: Subject, found: tuple[int, int]) -> bool:
    """Whether an address may be in the network; where a subnet is not chosen yet, allocating it will tell."""
    family, number = found
    if not (subject.spec.enable_ipv4 if family == 4 else subject.spec.enable_ipv6):
        return False
    entries = [entry for entry in subject.entries if entry.subnet.family == family]
    return not entries or any(entry.sized or number in entry.subnet for entry in entries)


def _address_path(end: EndpointSpec, spelling: str) -> Path:
    key = "ipv6_address" if ":" in spelling else "ipv4_address"
    family = [one for one in end.addresses if (":" in one) == (":" in spelling)]
    return _at(end, key, family.index(spelling)) if len(family) > 1 else _at(end, key)


def _outside(subject: Subject, path: Path, spelling: str, family: int) -> Finding:
    name = subject.spec.name
    if not (subject.spec.enable_ipv4 if family == 4 else subject.spec.enable_ipv6):
        mend = f"set enable_ipv{family}: true there, or remove it"
        return Finding(path, f"{spelling} is IPv{family}, which network {name} does not have", mend)
    subnets = ", ".join(str(entry.subnet) for entry in subject.of(family))
    return Finding(path, f"{spelling} is in no subnet of network {name} ({subnets})", "choose an address in one")


def _macs(subject: Subject) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for end in subject.endpoints:
        mac = end.mac_address
        if mac is None:
            continue
        if mac == "00:00:00:00:00:00" or int(mac[:2], 16) & 1:
            kind = "no address at all" if mac == "00:00:00:00:00:00" else "a multicast address"
            mend = "the first octet of a container's is even, such as 02"
            yield Finding(_at(end, "mac_address"), f"the MAC {mac} is {kind}", mend)
        elif (other := seen.setdefault(mac, end.container)) != end.container:
            what = f"containers {other} and {end.container} have the same MAC {mac} on network {end.network}"
            yield Finding(_at(end, "mac_address"), what, "choose another")
