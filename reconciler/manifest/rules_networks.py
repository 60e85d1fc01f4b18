"""Rules for networks: subnets, gateways, routes, and what does not go together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from ..lowering.addressing import DEFAULT_METRIC
from . import ip, rules_uplinks
from .model import EndpointSpec, Manifest
from .rules import Entry, Finding, Path, Subject, name_fault
from .rules_containers import well_formed
from .words import did_you_mean


def findings(manifest: Manifest, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield what is wrong with the networks, each by itself and then together."""
    for subject in subjects.values():
        if subject.driver.TRAITS.addressed:
            yield from _families(subject)
            for entry in subject.entries:
                yield from _entry(subject, entry)
            yield from _overlaps_within(subject)
            yield from _routes(subject)
            yield from _room(subject)
        else:
            yield from _not_addressed(subject)
        yield from _allow(subject, subjects, manifest)
        yield from _external(subject)
        for path, what, mend, container in subject.driver.check(subject.spec, well_formed(subject)):
            at = ("containers", container, "networks", subject.spec.name) if container else subject.path
            yield Finding((*at, *path), what, mend)
    yield from _overlaps_between(subjects)
    yield from _same_link_local(subjects)
    yield from _same_bridge(subjects)
    yield from _on_own(manifest, subjects)
    yield from _passthru(subjects)
    yield from _quarrels(subjects)
    yield from rules_uplinks.findings(manifest, subjects)
    yield from _pools(manifest)


def _families(subject: Subject) -> Iterator[Finding]:
    spec = subject.spec
    if not spec.enable_ipv4 and not spec.enable_ipv6:
        yield Finding((*subject.path, "enable_ipv4"), f"network {spec.name} has neither IPv4 nor IPv6", "enable one")
    for family, enabled in ((4, spec.enable_ipv4), (6, spec.enable_ipv6)):
        for entry in subject.of(family):
            if not enabled:
                what = f"subnet {entry.subnet} is IPv{family}, and network {spec.name} has enable_ipv{family}: false"
                yield Finding(_at(subject, entry, "subnet"), what, "remove one of the two")
    if spec.enable_ipv6 and spec.mtu is not None and spec.mtu < 1280:
        what = f"mtu is {spec.mtu}, and IPv6 needs 1280 at least"
        yield Finding((*subject.path, "mtu"), what, "raise it, or set enable_ipv6: false")  # RFC 8200, 5


def _at(subject: Subject, entry: Entry, *rest: str) -> Path:
    return (*subject.path, "ipam", "config", entry.number, *rest)


def _entry(subject: Subject, entry: Entry) -> Iterator[Finding]:
    """Yield what is wrong with one entry of ipam.config."""
    subnet, config = entry.subnet, entry.config
    if entry.sized:
        if subnet.length < 8:
            what = f"subnet {subnet} is every address, not a size"
            yield Finding(_at(subject, entry, "subnet"), what, "give a length from 8 up")
        given = [key for key in ("ip_range", "gateway", "aux_addresses") if getattr(config, key)]
        for key in given:
            what = f"{key} is given, and subnet {subnet} is a size only"
            yield Finding(_at(subject, entry, key), what, "give the subnet too, or neither")
        return
    if kind := ip.special(subnet):
        what = f"subnet {subnet} has {kind} addresses, which a network can't have"
        yield Finding(_at(subject, entry, "subnet"), what, "choose another")
    if config.ip_range and (parsed := ip.prefix(config.ip_range)):
        inner = parsed[0]
        if not subnet.covers(inner):
            what = _outside("ip_range", str(inner), inner.family, subnet)
            yield Finding(_at(subject, entry, "ip_range"), what, "choose a part of it")
    yield from _gateway(subject, entry)
    for name, spelling in config.aux_addresses.items():
        found = ip.address(spelling) or (0, 0)
        path = _at(subject, entry, "aux_addresses", name)
        if not ip.is_in(found, subnet):
            yield Finding(path, _outside(f"aux address {name}", spelling, found[0], subnet), "choose one in it")
        elif spelling == config.gateway:
            yield Finding(path, f"aux address {name} is the gateway, {spelling}", "remove it: nobody gets a gateway")


def _outside(what: str, spelling: str, family: int, subnet: ip.Prefix) -> str:
    if family != subnet.family:
        return f"{what} {spelling} is IPv{family}, and subnet {subnet} is IPv{subnet.family}"
    return f"{what} {spelling} is not in subnet {subnet}"


def _gateway(subject: Subject, entry: Entry) -> Iterator[Finding]:
    subnet, spelling = entry.subnet, entry.config.gateway
    if spelling is None:
        return
    found = ip.address(spelling) or (0, 0)
    path = _at(subject, entry, "gateway")
    if not ip.is_in(found, subnet):
        yield Finding(path, _outside("gateway", spelling, found[0], subnet), "choose an address in it")
    elif bad := ip.unusable(subnet).get(found[1]):
        yield Finding(
            path,
            f"gateway {spelling} is {bad} of {subnet}",
            f"choose another, such as {_text(subnet, subnet.first + 1)}",
        )


def _text(subnet: ip.Prefix, number: int) -> str:
    return ip.text(subnet.family, number)


def _overlaps_within(subject: Subject) -> Iterator[Finding]:
    real = [entry for entry in subject.entries if not entry.sized]
    for one, other in combinations(real, 2):
        if one.subnet.overlaps(other.subnet):
            what = f"subnet {other.subnet} overlaps with {one.subnet} of the same network"
            yield Finding(_at(subject, other, "subnet"), what, "choose another")


def _routes(subject: Subject) -> Iterator[Finding]:
    seen: set[tuple[str, int]] = set()
    for number, route in enumerate(subject.spec.routes):
        path = (*subject.path, "routes", number)
        family = 6 if ":" in route.destination else 4
        metric = DEFAULT_METRIC[family] if route.metric is None else route.metric
        if (route.destination, metric) in seen:
            what = f"there is a route to {route.destination} with that metric already"
            yield Finding((*path, "destination"), what, "give one of them another metric")
        seen.add((route.destination, metric))
        if route.via is None:
            continue
        if route.type != "unicast":
            yield Finding((*path, "via"), f"a {route.type} route goes nowhere and has no via", "remove it")
            continue
        found = ip.address(route.via) or (0, 0)
        if found[0] != family:
            what = f"via {route.via} is IPv{found[0]}, and destination {route.destination} is IPv{family}"
            yield Finding((*path, "via"), what, "both must be of one family")
        elif not any(ip.is_in(found, entry.subnet) and not entry.sized for entry in subject.entries):
            if subject.spec.external and not subject.of(family):
                continue  # it has the subnets of the link that it adopts
            what = f"via {route.via} is in no subnet of network {subject.spec.name}{_subnets(subject, family)}"
            yield Finding((*path, "via"), what, "a next hop must be a neighbour")


def _subnets(subject: Subject, family: int) -> str:
    listed = [str(entry.subnet) for entry in subject.of(family) if not entry.sized]
    return f" ({', '.join(listed)})" if listed else ""


def _room(subject: Subject) -> Iterator[Finding]:
    """Yield that a network has too few addresses for its endpoints, as far as the manifest alone can tell."""
    for family in (4, 6):
        entries = subject.of(family)
        if not entries:
            continue
        pinned = {number for end in subject.endpoints for number in _pinned(end.addresses, family)}
        needed = sum(not _pinned(end.addresses, family) for end in subject.endpoints)
        room = sum(_free(entry, pinned) for entry in entries)
        if needed > room:
            what = (
                f"network {subject.spec.name} has IPv{family} addresses for {room} of {needed} containers that pin none"
            )
            key = "ip_range" if entries[0].config.ip_range else "subnet"
            yield Finding(_at(subject, entries[0], key), what, "widen the subnet or its ip_range")


def _pinned(addresses: tuple[str, ...], family: int) -> list[int]:
    numbers = (ip.address(spelling) or (0, 0) for spelling in addresses)
    return [number for of, number in numbers if of == family]


def _free(entry: Entry, pinned: set[int]) -> int:
    """Return how many addresses of an entry can be given to endpoints that pin none."""
    subnet, config = entry.subnet, entry.config
    taken = pinned | {(ip.address(spelling) or (0, 0))[1] for spelling in config.aux_addresses.values()}
    if config.gateway or subnet.length < ip.BITS[subnet.family]:
        taken.add(_router(entry))
    low, high = _dynamic(entry)
    return max(0, high - low + 1 - sum(low <= number <= high for number in taken))


def _router(entry: Entry) -> int:
    """Return the gateway: given, else the first address that is free."""
    if entry.config.gateway:
        return (ip.address(entry.config.gateway) or (0, 0))[1]
    aux = {(ip.address(spelling) or (0, 0))[1] for spelling in entry.config.aux_addresses.values()}
    low = entry.subnet.usable[0]
    return next(number for number in range(low, low + len(aux) + 1) if number not in aux)


def _dynamic(entry: Entry) -> tuple[int, int]:
    """Return the lowest and the highest of the addresses for endpoints that pin none; the lower may be above."""
    low, high = entry.subnet.usable
    if entry.config.ip_range and (parsed := ip.prefix(entry.config.ip_range)):
        low, high = max(low, parsed[0].first), min(high, parsed[0].last)
    return low, high


_NOT_ADDRESSED = ("ipam", "routes", "no_default_route", "metric", "mtu")


def _not_addressed(subject: Subject) -> Iterator[Finding]:
    spec = subject.spec
    why = "has no addresses" if not subject.driver.TRAITS.interface else "has the addresses that its plugin gives"
    for key in _NOT_ADDRESSED:
        if getattr(spec, key) not in (None, False, ()):
            yield Finding((*subject.path, key), f"a {spec.driver} network {why}, so no {key}", "remove it")
    if spec.enable_ipv6:
        what = f"a {spec.driver} network {why}, so no enable_ipv6"
        yield Finding((*subject.path, "enable_ipv6"), what, "remove it")


def _allow(subject: Subject, subjects: Mapping[str, Subject], manifest: Manifest) -> Iterator[Finding]:
    name = subject.spec.name
    if subject.spec.allow and subject.spec.internal:
        what = f"network {name} is internal, and opens no connections to others"
        yield Finding((*subject.path, "allow"), what, "remove allow or internal")
    for number, other in enumerate(subject.spec.allow):
        path = (*subject.path, "allow", number)
        if other == name:
            yield Finding(path, f"network {name} allows itself", "remove it; driver_opts.icc says who talks within it")
        elif other not in manifest.networks:
            mend = did_you_mean(other, manifest.networks)
            yield Finding(path, f"there is no network {other}", mend or "add it under networks")
        elif (target := subjects.get(other)) is None:
            continue
        elif target.spec.internal:
            yield Finding(path, f"network {other} is internal, and nothing comes in", "remove it, or internal there")
        elif not target.driver.TRAITS.gateway_on_host or target.spec.external:
            kind = "external" if target.spec.external else target.spec.driver
            what = f"packets of the {kind} network {other} do not pass the host's firewall"
            yield Finding(path, what, "remove it: nothing needs to be allowed there")


def _external(subject: Subject) -> Iterator[Finding]:
    if not subject.spec.external:
        return
    for key in ("internal", "protect", "allow"):
        if getattr(subject.spec, key):
            what = f"network {subject.spec.name} is external, so that its {key} is not netapply's to say"
            yield Finding((*subject.path, key), what, "remove it")


def _overlaps_between(subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield overlaps of subnets that meet: on the host where it is the gateway, on one parent link elsewhere."""
    order = {name: number for number, name in enumerate(subjects)}
    places: dict[object, list[tuple[ip.Prefix, Subject, Entry]]] = {}
    for subject in subjects.values():
        if not subject.driver.TRAITS.addressed or subject.spec.external:
            continue
        where = () if subject.driver.TRAITS.gateway_on_host else (_place(subject),)
        places.setdefault(where, []).extend(
            (entry.subnet, subject, entry) for entry in subject.entries if entry.subnet.first
        )
    for group in filter(None, places.values()):
        group.sort(key=lambda one: one[0])
        widest = group[0]  # of those so far, the one that reaches furthest
        for one in group[1:]:
            if one[0].overlaps(widest[0]) and one[1] is not widest[1]:
                yield _overlap(order, widest, one)
            if one[0].family != widest[0].family or one[0].last > widest[0].last:
                widest = one


def _overlap(
    order: Mapping[str, int], one: tuple[ip.Prefix, Subject, Entry], other: tuple[ip.Prefix, Subject, Entry]
) -> Finding:
    """Return the finding at the one of two that the manifest has later."""
    first, second = sorted((one, other), key=lambda each: order[each[1].spec.name])
    what = f"subnet {second[0]} overlaps with {first[0]} of network {first[1].spec.name}"
    return Finding(_at(second[1], second[2], "subnet"), what, "choose another")


def _same_link_local(subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield link-local addresses that two endpoints have on one segment: a network, or all those on one parent."""
    taken: dict[tuple[object, tuple[int, int]], EndpointSpec] = {}
    for subject in subjects.values():
        segment = _place(subject) if subject.driver.TRAITS.wants_parent else subject.path
        for end in subject.endpoints:
            for number, spelling in enumerate(end.link_local_ips):
                found = ip.address(spelling)
                if found and (other := taken.setdefault((segment, found), end)) is not end:
                    where = f"on network {other.network}" + ("" if other.network == end.network else ", on one parent")
                    path = ("containers", end.container, "networks", end.network, "link_local_ips", number)
                    yield Finding(path, f"{spelling} is that of container {other.container} {where}", "choose another")


def _same_bridge(subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    seen: dict[object, str] = {}
    for subject in subjects.values():
        link = subject.spec.driver_opts.get("name")
        if link is None or subject.spec.external:
            continue
        if (other := seen.setdefault(link, subject.spec.name)) != subject.spec.name:
            what = f"networks {other} and {subject.spec.name} have the same name {link} for their links"
            yield Finding((*subject.path, "driver_opts", "name"), what, "choose another")
        if fault := name_fault(str(link)):
            yield Finding((*subject.path, "driver_opts", "name"), *fault)


def _on_own(manifest: Manifest, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield what is wrong with networks on links that other networks make: they are one segment, and may be one subnet,
    but no address may be both's to give."""
    makers = {
        subject.driver.TRAITS.host_link(manifest.project, name, subject.spec.driver_opts): subject
        for name, subject in subjects.items()
        if not subject.spec.external
    }
    for name, subject in subjects.items():
        key = "parent" if subject.driver.TRAITS.wants_parent else "name"
        link = subject.spec.driver_opts.get(key)
        maker = makers.get(str(link)) if link else None
        if maker is None or maker is subject:
            continue
        other = maker.spec.name
        if subject.spec.external:
            what = f"network {name} is external, and network {other} makes its link {link}"
            yield Finding((*subject.path, "driver_opts", key), what, f"attach its containers to {other}")
        elif key == "parent" and (both := _both_give(subject, maker)):
            what = f"network {name} stands on the link of network {other}, and both can give {both}"
            yield Finding((*subject.path, "ipam"), what, "give each an ip_range of its own")


def _both_give(one: Subject, other: Subject) -> str | None:
    """Return an address that two networks can give, dynamically or pinned, or that is the gateway of the second."""
    for family in (4, 6):
        routers = {_router(entry) for entry in one.of(family) if not entry.sized}
        theirs = [*_given(other, family), *((_router(entry),) * 2 for entry in other.of(family) if not entry.sized)]
        for low, high in _given(one, family):
            for first, last in theirs:
                start = max(low, first)
                start = next(number for number in range(start, start + len(routers) + 1) if number not in routers)
                if start <= min(high, last):
                    return ip.text(family, start)
    return None


def _given(subject: Subject, family: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the last address of each stretch that a network gives addresses from."""
    yield from (_dynamic(entry) for entry in subject.of(family) if not entry.sized)
    yield from ((number, number) for end in subject.endpoints for number in _pinned(end.addresses, family))


def _passthru(subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield the networks that share a parent with one in mode passthru, which has it for itself (macvlan_newlink)."""
    standing = [one for one in subjects.values() if one.driver.TRAITS.wants_parent and one.endpoints]
    for subject in standing:
        others = [one.spec.name for one in standing if one is not subject and _place(one) == _place(subject)]
        if others and subject.spec.driver_opts.get("mode") == "passthru":
            what = f"network {subject.spec.name} has its parent for itself, and network {others[0]} stands on it too"
            yield Finding((*subject.path, "driver_opts", "mode"), what, "use mode bridge, or another parent")


def _place(subject: Subject) -> object:
    """Return what tells the parent of a network from others': an internal one that names none has one for itself."""
    spec = subject.spec
    return spec.driver_opts.get("parent") or (subject.path if spec.internal else None)


def _quarrels(subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield the networks that can't share the parent that they name. What others stand on the host tells."""
    standing = [one for one in subjects.values() if one.spec.driver_opts.get("parent") and one.endpoints]
    if len(standing) > 1:
        from ..allocation.parents import Stand, quarrels

        stands = [
            Stand(one.spec.name, str(opts["parent"]), one.driver.TRAITS.needs(opts))
            for one in standing
            for opts in (one.spec.driver_opts,)
        ]
        yield from (Finding(*found) for found in quarrels(stands))


def _pools(manifest: Manifest) -> Iterator[Finding]:
    bases: list[ip.Prefix] = []
    for number, pool in enumerate(manifest.default_address_pools):
        path: Path = ("default_address_pools", number)
        parsed = ip.prefix(pool.base)
        if parsed is None:
            continue
        base = parsed[0]
        if not base.length <= pool.size <= ip.BITS[base.family]:
            what = f"size is {pool.size}, and subnets of {base} have between {base.length} and {ip.BITS[base.family]}"
            yield Finding((*path, "size"), what)
        if kind := ip.special(base):
            yield Finding((*path, "base"), f"base {base} has {kind} addresses, which a network can't have")
        if other := next((one for one in bases if one.overlaps(base)), None):
            yield Finding((*path, "base"), f"base {base} overlaps with the pool {other}", "choose another")
        bases.append(base)
