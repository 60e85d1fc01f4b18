"""What a host is like beside the project's own objects, from the looks into its namespaces and a few files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..firewall import FAMILY, guard_of, owner_of, table_name
from ..resources import FENCES, GUARD_TABLE, HOST, ROUTE_PROTOCOL, Key, NftTable, Sysctl
from . import Facts, Guest, HostLink, Upper, guarding, kinds, marks, rtnetlink, sysctl
from .looking import Look
from .observing import View
from .rtnetlink import LinkRow, RouteRow

RESOLV_CONF = "/etc/resolv.conf"

_DEFAULT = ("0.0.0.0/0", "::/0")
_FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
_IFF_LOOPBACK = 8


_OF_KERNEL = frozenset(
    {"tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "sit0", "ip6tnl0", "ip6_vti0", "ip6gre0", "ip6gretap0"}
)
"""Links that a kernel with such tunnels has in each namespace from the start (net.core.fb_tunnels_only_for_init_net).
"""

_OF_KERNEL_OR_ROUTERS = (rtnetlink.KERNEL_PROTOCOL, 9)
"""Who has made a route that comes and goes by itself: RTPROT_KERNEL, RTPROT_RA of linux/rtnetlink.h."""


def tables_of(project: str, texts: Mapping[str, str]) -> Iterator[NftTable]:
    """Yield those of the tables, given as texts by name, that are the project's or the guard."""
    for name, owner in ((table_name(project), project), (GUARD_TABLE, "")):
        if name in texts and owner_of(texts[name]) == owner:
            yield NftTable(FAMILY, name, texts[name])


def settings(view: View) -> Iterator[Sysctl]:
    """Yield the host's settings that netapply may have to change."""
    for name in _FORWARDING.values():
        if (value := sysctl.read(name)) is not None:
            yield Sysctl(name, value)
    for row in _foreign(view):
        if row.accept_ra and not row.flags & _IFF_LOOPBACK:
            yield Sysctl(f"net.ipv6.conf.{row.name}.accept_ra", str(row.accept_ra))


def facts(view: View, texts: Mapping[str, str], taken: Mapping[Key, str]) -> Facts:
    """Return the facts; `texts` are the nft tables of the names that are netapply's to give, `taken` what else is."""
    host, foreign = view.looks.host, list(_foreign(view))
    guard = texts.get(GUARD_TABLE) or guarding.remembered(host.cookie)
    return Facts(
        links=_links(view, foreign),
        default_link=_default_link(host),
        routes=_routes(view),
        nameservers=nameservers(RESOLV_CONF),
        pending=view.looks.pending,
        in_host=frozenset(view.looks.in_host),
        taken={**dict(_taken(view, foreign, texts)), **taken},
        forwarding_ipv4=sysctl.read(_FORWARDING[4]) == "1",
        forwarding_ipv6=sysctl.read(_FORWARDING[6]) == "1",
        accept_ra=tuple(
            row.name
            for row in foreign
            if row.accept_ra == 1 and not row.forwards_ipv6 and not row.master and not row.flags & _IFF_LOOPBACK
        ),
        guard=guard_of(guard) if guard and owner_of(guard) == "" else {},
        uppers=tuple(_uppers(view)),
        guests=tuple(_guests(view)),
        unsure=view.unsure,
        together={
            container: tuple(sorted(look.containers))
            for look in view.looks.others
            if len(look.containers) > 1
            for container in look.containers
        },
    )


def _foreign(view: View) -> Iterator[LinkRow]:
    """Yield the host's links that are not the project's."""
    return (
        row for row in view.looks.host.links if view.inventory.foreign.get(row.name) == row.ifindex or row.ifindex == 1
    )


def _links(view: View, foreign: list[LinkRow]) -> dict[str, HostLink]:
    names = {row.ifindex: row.name for row in view.looks.host.links}
    addresses: dict[int, list[str]] = {}
    for row in view.looks.host.addresses:
        addresses.setdefault(row.ifindex, []).append(row.address)
    routes: dict[int, list[str]] = {}
    for route in view.looks.host.routes:
        if route.protocol != rtnetlink.KERNEL_PROTOCOL:
            routes.setdefault(route.link, []).append(route.destination)
    return {
        row.name: HostLink(
            row.name,
            row.kind,
            row.mtu,
            view.found_up.get(row.name, row.up),
            _owner(row),
            tuple(addresses.get(row.ifindex, ())),
            None if row.name in view.found_up else names.get(row.master),
            tuple(routes.get(row.ifindex, ())),
            row.kind == "bridge" and bool(kinds.decode(kinds.KINDS["bridge"], row.data).get("vlan_filtering")),
        )
        for row in foreign
    }


def _uppers(view: View) -> Iterator[Upper]:
    """Yield the links of others, in any namespace that can be seen, that stand on links of the host."""
    host = view.looks.host
    names = {row.ifindex: row.name for row in host.links}
    for look in view.everywhere():
        for row in look.links:
            if not row.below or row.kind == "veth" or (look.cookie, row.ifindex) in view.paths:
                continue
            if look is host if row.below_nsid is None else row.below_nsid == look.host_nsid:
                options = kinds.decode(kinds.KINDS.get(row.kind, {}), row.data)
                yield Upper(row.name, row.kind, names.get(row.below, ""), look.reference, options)


def _guests(view: View) -> Iterator[Guest]:
    """Yield what others have in namespaces that the project made, and on its links."""
    host = view.looks.host
    for address in host.addresses:
        kernels = address.protocol in rtnetlink.KERNEL_MADE or address.address.startswith("fe80:")
        if not kernels and address.protocol != ROUTE_PROTOCOL and (path := view.carrier(host, address.ifindex)):
            yield Guest(HOST, address.address, "address", path)
    for route in host.routes:
        path = view.paths.get((host.cookie, route.link)) if route.link else None
        if path and route.protocol not in _OF_KERNEL_OR_ROUTERS and not _is_own(view, host, route):
            yield Guest(HOST, route.destination, "route", path)
    of_plugins = f"{marks.OF_PLUGINS}{view.scope.project}/"
    for look in view.looks.others:
        made = view.marked(look) is not None
        for row in look.links:
            if row.ifindex == rtnetlink.LOOPBACK or (look.cookie, row.ifindex) in view.paths:
                continue
            below = ""
            if row.below and row.below_nsid is None and row.kind != "veth":
                below = view.paths.get((look.cookie, row.below), "")
            if below or (made and row.name not in _OF_KERNEL and not row.alias.startswith(of_plugins)):
                yield Guest(view.symbols[look.cookie], row.name, row.kind, below)


def _owner(row: LinkRow) -> str | None:
    found = marks.mark(row.alias)
    return found.project if found else None


def _default_link(host: Look) -> str | None:
    """Return the link that the default route leaves by: IPv4's before IPv6's, then the one of the lowest metric."""
    names = {row.ifindex: row.name for row in host.links}
    defaults = [row for row in host.routes if row.destination in _DEFAULT and row.type == "unicast" and row.link]
    best = min(defaults, key=lambda row: (row.destination == "::/0", row.metric), default=None)
    return names.get(best.link) if best else None


def _routes(view: View) -> tuple[str, ...]:
    host = view.looks.host
    found = {
        row.destination
        for row in host.routes
        if row.destination not in _DEFAULT
        and (host.cookie, row.link) not in view.paths
        and not row.destination.startswith("fe80:")
        and row.metric not in FENCES
    }
    return tuple(sorted(found))


def nameservers(path: str) -> tuple[str, ...]:
    """Return the servers that a resolv.conf names."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.split() for line in file]
    except OSError:
        return ()
    return tuple(words[1] for words in lines if len(words) > 1 and words[0] == "nameserver")


def _taken(view: View, foreign: list[LinkRow], texts: Mapping[str, str]) -> Iterator[tuple[Key, str]]:
    for row in foreign:
        for name in (row.name, *row.other_names):
            yield Key("link", f" {name}"), _whose(row)
    for route in view.looks.host.routes:
        if route.destination.endswith(("/32", "/128")) and not _is_own(view, view.looks.host, route):
            yield _route_key(HOST, route), f"{_whose_route(route)}; remove it, or give the network no host_access"
    for look in view.looks.others:
        for container in look.containers:
            yield from _taken_in(view, look, container)
    for container, why in view.looks.blocked.items():
        yield Key("netns", container), why
    for name, owner in ((table_name(view.scope.project), view.scope.project), (GUARD_TABLE, "")):
        if name in texts and owner_of(texts[name]) != owner:
            other = owner_of(texts[name])
            what = f"project {other} made it" if other else "netapply did not make it"
            yield Key("nft", f"{FAMILY} {name}"), what


def _taken_in(view: View, look: Look, container: str) -> Iterator[tuple[Key, str]]:
    reference = view.scope.sandboxes[container]
    if reference.create and not view.marked(look):
        what = f"{reference}: {_maker(view, look)}; `create: false` uses it as it is"
        yield Key("netns", container), what
    of_plugins = f"{marks.OF_PLUGINS}{view.scope.project}/"
    for row in look.links:
        if row.alias.startswith(of_plugins):
            continue
        if (look.cookie, row.ifindex) not in view.paths and row.ifindex != rtnetlink.LOOPBACK:
            for name in (row.name, *row.other_names):
                yield Key("link", f"{container} {name}"), _whose(row)
    for address in look.addresses:
        if address.protocol in (ROUTE_PROTOCOL, *rtnetlink.KERNEL_MADE):
            continue
        if path := view.carrier(look, address.ifindex):
            yield Key("address", f"{path} {address.address}"), "somebody else gave that address to the link"
    for route in look.routes:
        if not _is_own(view, look, route):
            mend = "give the network another metric or `no_default_route: true`"
            yield _route_key(container, route), f"{_whose_route(route)}; {mend}"


def _is_own(view: View, look: Look, route: RouteRow) -> bool:
    return route.protocol == ROUTE_PROTOCOL and view.own_route(look, route) is not None


def _whose_route(route: RouteRow) -> str:
    return "a route of another project" if route.protocol == ROUTE_PROTOCOL else "netapply did not make it"


def _maker(view: View, look: Look) -> str:
    found = marks.mark(look.loopback.alias)
    if found is None:
        return "it exists and netapply did not make it"
    elsewhere = " on another host" if found.project == view.scope.project else ""
    return f"project {found.project} made it{elsewhere}"


def _route_key(sandbox: str, row: RouteRow) -> Key:
    return Key("route", f"{sandbox} {row.destination} metric {row.metric}")


def _whose(row: LinkRow) -> str:
    kind = f"{row.kind} link" if row.kind else "link"
    if owner := _owner(row):
        return f"a {kind} of project {owner}"
    return f"a {kind} that netapply did not make"
