"""What must not be done although the plan says so: harm to others, too much at once, the protected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from .errors import HostLacks
from .host import Facts
from .plan import Change, Create, Delete, Plan, Update
from .resources import (
    HOST,
    VLANS,
    Accepts,
    Delegated,
    DnsHosts,
    DnsServer,
    FdbEntry,
    Key,
    Link,
    Neighbour,
    NftTable,
    Port,
    ResolvConf,
    Resource,
    Shaper,
    State,
    Wireguard,
    differences,
    must_replace,
    value_of,
)

PRUNE_SHARE = 0.3
PRUNE_FROM = 10
"""Removing more than this share of the endpoints, if there are as many as this, is taken for a mistake."""


def conflicts(plan: Plan, facts: Facts) -> Iterator[str]:
    """Yield a line for each foreign object that stands where something of ours would have to go."""
    for change in plan.changes:
        if isinstance(change, Delete):
            continue
        if isinstance(change, Create):
            wanted = [change.key, *_names(change.after), *_vnis(change.after)]
        else:
            wanted = _names(change.after) if {"name", "peer.name"} & set(change.fields) else []
        if isinstance(change.after, Shaper | DnsServer) and isinstance(change, Update):  # it may be another's by now
            wanted.append(change.key)
        if isinstance(change.after, Wireguard) and (isinstance(change, Create) or "listen_port" in change.fields):
            wanted.append(Key("udp", str(change.after.listen_port)))
        for key in wanted:
            if what := facts.taken.get(key):
                yield f"{_words(key)} is taken: {what}"
    if any(isinstance(change, Create) and isinstance(change.after, Port) for change in plan.changes):
        from .lowering import uplinks

        yield from uplinks.objections(plan.changes, facts)
    if facts.listening:
        from . import contested

        yield from contested.objections(plan.changes, facts)
    if any(map(_is_about_uppers, plan.changes)):
        from .allocation import parents

        yield from parents.objections(plan.changes, facts)


def _is_about_uppers(change: Change) -> bool:
    """Whether it is about a link that stands on another one, or that others may stand on in the host."""
    link = change.before if isinstance(change, Delete) else change.after
    return isinstance(link, Link) and (link.parent is not None or (isinstance(change, Delete) and link.sandbox == HOST))


def _names(resource: Resource) -> list[Key]:
    """Return the interface names that a link takes, as `Facts.taken` keys them."""
    match resource:
        case Link():
            names = {(resource.sandbox, resource.name), resource.inner}
        case Delegated(interface=str(name)) if name:
            names = {resource.inner}
        case _:
            return []
    return [Key("link", f"{sandbox} {name}") for sandbox, name in sorted(names)]


def _vnis(resource: Resource) -> list[Key]:
    """Return what only one VXLAN link can have, as `Facts.taken` keys it."""
    if not isinstance(resource, Link) or resource.kind != "vxlan":
        return []
    options = resource.options
    family = 6 if "local6" in options else 4
    return [Key("vxlan", f"{options.get('id')} port {options.get('port')} IPv{family}")]


def _words(key: Key) -> str:
    match key:
        case Key("vxlan", name):
            return f"VNI {name}"
        case Key("udp", port):
            return f"UDP port {port} of the host"
        case Key("link", name):
            sandbox, _, interface = name.rpartition(" ")
            return f"interface name {interface} in {sandbox or 'the host'}"
        case Key("shaper", path):
            return f"the queue of {path}"
        case Key("resolvconf", name):
            return f"the resolv.conf of container {name}"
        case Key("resolver", name):
            return f"the address of the resolver {name}"
        case Key("netns", name):
            return f"the namespace of container {name}"
        case Key("nft", name):
            *inside, family, table = name.split(" ")
            return f"nft table {family} {table}" + (f" in container {inside[0]}" if inside else "")
        case Key("route", name):
            sandbox, _, rest = name.partition(" ")
            return f"the route to {rest} in {sandbox or 'the host'}"
        case _:
            return str(key)


def missing(desired: State, facts: Facts) -> None:
    """Raise HostLacks for links of the host that something desired stands on and that are not there."""
    needed = {need.name[1:]: need for link in desired.values() for need in link.requires if need.name[:1] == "/"}
    absent = sorted(name for name in needed if name not in facts.links)
    if absent:
        raise HostLacks(f"the host has no link {', '.join(absent)}; create it first or name another in driver_opts")
    links = [one for one in desired.values() if isinstance(one, Link)]
    masters = {one.master[1:] for one in links if one.port and one.master and one.master.startswith("/")}
    for name in sorted(masters & facts.links.keys()):
        if (kind := facts.links[name].kind) != "bridge":
            raise HostLacks(f"{name} is a {kind} link, and endpoints need a bridge; name one in driver_opts")
        tagged = any(VLANS in one.tags and one.master == f"/{name}" for one in links)
        if tagged and not facts.links[name].vlan_filtering:
            mend = f"ip link set {name} type bridge vlan_filtering 1"
            raise HostLacks(f"the bridge {name} does not filter VLANs, and endpoints on it have some; {mend}")
    for one in desired.values():
        if isinstance(one, Port) and facts.links[one.name].kind == "bridge":
            raise HostLacks(f"{one.name} is a bridge, and a bridge can't be a port of another; name another uplink")


def excess(plan: Plan, networks: Sequence[str], observed: State) -> Iterator[str]:
    """Yield a line if the plan removes so much that it looks like a mistake; --force means it.

    `networks` are those that the manifest has.
    """
    endpoints = [resource for resource in observed.values() if _is_endpoint(resource)]
    removed = sum(
        isinstance(change, Delete) and not change.replaced and _is_endpoint(change.before) for change in plan.changes
    )
    if removed and not networks:
        yield (
            f"the manifest has no networks left, and all that is attached ({removed}) would be removed;"
            " use --force if that is meant, or `netapply destroy`"
        )
    elif len(endpoints) >= PRUNE_FROM and removed > PRUNE_SHARE * len(endpoints):
        yield (
            f"{removed} of {len(endpoints)} endpoints would be removed, more than {PRUNE_SHARE:.0%};"
            " use --force if that is meant, or --no-prune to leave them"
        )


def _is_endpoint(resource: Resource) -> bool:
    return isinstance(resource, Link | Delegated) and "/" in resource.path and "#" not in resource.path


def protected(plan: Plan, networks: Iterable[str]) -> Iterator[str]:
    """Yield a line for each protected network that the plan removes or replaces; `networks` are those that remain.

    One without a link of its own is replaced where its endpoints are, because of what the network says. That a
    container leaves, or the host, or that an endpoint which was broken is made anew, is no harm to the network.
    """
    remaining, told = set(networks), set()
    made = {change.key: change.after for change in plan.changes if isinstance(change, Create)}
    for change in plan.changes:
        if not (isinstance(change, Delete) and isinstance(change.before, Link | Delegated)):
            continue
        if "protect" not in change.before.tags:
            continue
        path = change.before.path
        network = path.partition("#")[0].rpartition("/")[2]
        is_own = "/" not in path and not path.endswith("#host")
        whole = is_own or network not in remaining or _is_network_wide(change.before, made)
        if whole and network not in told:
            told.add(network)
            deed = "replaced" if change.replaced else "removed"
            yield f"network {network} is protected and would be {deed}; apply the manifest with `protect: false` first"


def _is_network_wide(before: Link | Delegated, made: Mapping[Key, Resource]) -> bool:
    """Whether an endpoint is replaced for what its network says: the driver, the parent, the mode, what its plugin is
    asked for."""
    after = made.get(before.key)
    if after is None:  # by what another driver makes
        return not {Key(kind, before.path) for kind in ("link", "delegated")}.isdisjoint(made)
    reasons = must_replace(after, before, differences(after, before))
    return not {"kind", "parent", "options.mode", "protocol", "request"}.isdisjoint(reasons)


def is_disruptive(change: Change) -> bool:
    """Whether traffic that flows now is cut, if only for a moment: what exists is taken away or gets another name."""
    match change:
        case Delete(before=NftTable() | Accepts() | Shaper() | Link(kind="ifb")) | Create(replaces=False):
            return False
        case Delete(before=FdbEntry() | Neighbour(), replaced=False):
            return False  # who was there is gone
        case Delete(before=DnsHosts() | DnsServer() | ResolvConf()):
            return False
        case Update(after=DnsHosts() | DnsServer() | ResolvConf()):
            return False
        case Update(before=NftTable(text=old), after=NftTable(text=new)):
            from . import contested

            return contested.cuts(old, new)
        case Update(before=before, fields=fields):
            if {"name", "mac", "peer.name", "peer.mac", "options.vlan_filtering"} & set(fields):
                return True
            return any(value_of(before, name) for name in {"up", "master", "peer.up"} & set(fields))
        case _:
            return True
