"""What must not be done although the plan says so: harm to others, too much at once, the protected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .errors import HostLacks
from .host import Facts
from .plan import Change, Create, Delete, Plan, Update
from .resources import Key, Link, NftTable, Resource, State, differences, must_replace, value_of

PRUNE_SHARE = 0.3
PRUNE_FROM = 10
"""Removing more than this share of the endpoints, if there are as many as this, is taken for a mistake."""


def conflicts(plan: Plan, facts: Facts) -> Iterator[str]:
    """Yield a line for each foreign object that stands where something of ours would have to go."""
    for change in plan.changes:
        if isinstance(change, Delete):
            continue
        if isinstance(change, Create):
            wanted = [change.key, *_names(change.after)]
        else:
            wanted = _names(change.after) if {"name", "peer.name"} & set(change.fields) else []
        for key in wanted:
            if what := facts.taken.get(key):
                yield f"{_words(key)} is taken: {what}"


def _names(resource: Resource) -> list[Key]:
    """Return the interface names that a link takes, as `Facts.taken` keys them."""
    if not isinstance(resource, Link):
        return []
    names = {(resource.sandbox, resource.name), resource.inner}
    return [Key("link", f"{sandbox} {name}") for sandbox, name in sorted(names)]


def _words(key: Key) -> str:
    match key:
        case Key("link", name):
            sandbox, _, interface = name.rpartition(" ")
            return f"interface name {interface} in {sandbox or 'the host'}"
        case Key("netns", name):
            return f"the namespace of container {name}"
        case Key("nft", name):
            return f"nft table {name}"
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
    masters = {one.master[1:] for one in desired.values() if isinstance(one, Link) and one.port and one.master}
    for name in sorted(masters & facts.links.keys()):
        if (kind := facts.links[name].kind) != "bridge":
            raise HostLacks(f"{name} is a {kind} link, and endpoints need a bridge; name one in driver_opts")


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
    return isinstance(resource, Link) and "/" in resource.path


def protected(plan: Plan, networks: Iterable[str]) -> Iterator[str]:
    """Yield a line for each protected network that the plan removes or replaces; `networks` are those that remain.

    One without a link of its own is replaced where its endpoints are, because of what the network says. That a
    container leaves, or that an endpoint which was broken is made anew, is no harm to the network.
    """
    remaining, told = set(networks), set()
    made = {change.key: change.after for change in plan.changes if isinstance(change, Create)}
    for change in plan.changes:
        if not (isinstance(change, Delete) and isinstance(change.before, Link) and "protect" in change.before.tags):
            continue
        path = change.before.path
        network = path.partition("#")[0].rpartition("/")[2]
        whole = "/" not in path or network not in remaining or _is_network_wide(change.before, made.get(change.key))
        if whole and network not in told:
            told.add(network)
            deed = "replaced" if change.replaced else "removed"
            yield f"network {network} is protected and would be {deed}; apply it with `protect: false` first"


def _is_network_wide(before: Resource, after: Resource | None) -> bool:
    """Whether a link is replaced for what its network says: the driver, the parent, the mode."""
    reasons = must_replace(after, before, differences(after, before)) if after else ()
    return not {"kind", "parent", "options.mode"}.isdisjoint(reasons)


def is_disruptive(change: Change) -> bool:
    """Whether traffic that flows now is cut, if only for a moment: what exists is taken away or gets another name."""
    match change:
        case Delete(before=NftTable()) | Create(replaces=False):
            return False
        case Update(before=before, fields=fields):
            if {"name", "mac", "peer.name", "peer.mac"} & set(fields):
                return True
            return any(value_of(before, name) for name in {"up", "master", "peer.up"} & set(fields))
        case _:
            return True
