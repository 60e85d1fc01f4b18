"""Which link of the host a network stands on, and what networks on one link must agree on.

A link that is there and is not the project's is used as it is, whoever made it, and never touched. Those that netapply
makes for its networks are VLAN links and dummies: docs/decisions/006-parents.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..host import Facts, Observation, Upper
from ..manifest.model import NetworkSpec
from ..naming import dummy_name
from ..networks import Parent
from ..plan import Change, Create, Delete
from ..resources import HOST, Key, Link, Option, Resource, State

MAX_VID = 4094
"""The highest VLAN ID: 0 is no VLAN, and 4095 is reserved (IEEE 802.1Q-2018, 9.6)."""

INTERNAL = "internal"
"""The tag of a dummy that is there because its network is internal, not because the host had no default route."""


def split_vlan(name: str) -> tuple[str, int] | None:
    """Return the base and the VLAN ID of a name such as "eth0.20", None for any other name."""
    base, _, tag = name.rpartition(".")
    if not base or not (tag.isascii() and tag.isdecimal()) or tag[0] == "0" or int(tag) > MAX_VID:
        return None
    return base, int(tag)


def named(name: str, facts: Facts, own: Collection[str]) -> Parent | None:
    """Return the parent of a name: there already, or to be made on its base; None where it can't come to be.

    `own` are the names of links that other networks of the project make.
    """
    if name in facts.links or name in own:
        return Parent(name)
    parts = split_vlan(name)
    below = named(parts[0], facts, own) if parts else None
    if parts is None or below is None:
        return None
    base = facts.links.get(below.name)
    return Parent(name, "vlan", f"#{name}", below, parts[1], base.mtu if base else below.mtu)


def told_none(
    spec: NetworkSpec, project: str, links: Iterable[Link], facts: Facts, own: Collection[str]
) -> tuple[Parent, str]:
    """Return the parent of a network that names none, and a remark on it ("" for none).

    It is the default route's link, and a dummy where there is no such route or the network is internal. `links` are
    those that the network has: what it stands on already it keeps, so that a failover replaces nothing.
    """
    dummy = Parent(dummy_name(project, f"{spec.name}#parent"), "dummy", f"{spec.name}#parent")
    if spec.internal:
        return dummy, ""
    links = tuple(links)
    has_dummy = any(link.path == dummy.path and INTERNAL not in link.tags for link in links)
    references = [link.parent for link in links if link.parent and link.parent[0] in "/#"]
    counts = Counter(name[1:] for name in references if name[0] == "#" or name[1:] in facts.links)
    name = max(sorted(counts), key=lambda name: counts[name]) if counts else facts.default_link
    found = named(name, facts, own) if name else None
    if found and not has_dummy:
        return found, ""
    start = f"network {spec.name} names no parent and stands on a dummy link of its own, with no way out"
    if found:
        return dummy, f"{start}; driver_opts.parent: {found.name} is where the host's default route leaves by now"
    return dummy, f"{start}, as the host has no default route; set driver_opts.parent"


def twins(parent: Parent, facts: Facts) -> Iterator[str]:
    """Yield the names of others' links that are the VLAN that a parent is to be: the kernel has it once on a base."""
    while parent.below:
        for upper in facts.uppers:
            if upper.below == parent.below.name and upper.kind == "vlan" and upper.options.get("id") == parent.vid:
                yield upper.name
        parent = parent.below


def down(parent: Parent, facts: Facts) -> str | None:
    """Return the link of the host that is down, so that a VLAN link on it can't be up (ENETDOWN)."""
    while parent.below:
        parent = parent.below
        if parent.name in facts.links and not facts.links[parent.name].up:
            return parent.name
    return None


class Stand(NamedTuple):
    """A network on a parent: `needs` is what it wants of the parent, `where` how that is called or found."""

    network: str
    where: str
    needs: Mapping[str, Option]


def quarrels(stands: Iterable[Stand]) -> Iterator[tuple[tuple[str, ...], str, str]]:
    """Yield the networks that can't share their parent with one before: where in the manifest, what, and the mend.

    A link has one driver for what stands on it, and an ipvlan's mode and flag are those of all on the link.
    """
    first: dict[str, Stand] = {}
    for stand in stands:
        other = first.setdefault(stand.where, stand) if stand.needs else stand
        if not (differing := [name for name in stand.needs if stand.needs[name] != other.needs.get(name)]):
            continue
        name, path = differing[0], ("networks", stand.network)
        both = f"network {other.network}, on the same parent {stand.where}, has {other.needs.get(name)}"
        if name == "kind":
            what = f"network {stand.network} has links of kind {stand.needs[name]}, and {both}"
            yield (*path, "driver"), what, "give one of them another parent, such as a VLAN"
        else:
            what = f"network {stand.network} has {name} {stand.needs[name]}, and {both}, which is the parent's own"
            yield (*path, "driver_opts", name), what, "make them the same, or give one of them another parent"


def borne(desired: State, observation: Observation) -> dict[Key, Resource]:
    """Return the links of ours that no network needs any more, but that bear links of others, which would go with them.

    Only VLAN links on links of others: what stands on a network's own link is in the way of its removal.
    """
    below = {upper.below for upper in observation.facts.uppers}
    return {
        key: one
        for key, one in observation.state.items()
        if isinstance(one, Link) and one.path[0] == "#" and key not in desired and one.name in below
        if (one.parent or "").startswith("/")
    }


def remarks(kept: Mapping[Key, Resource], facts: Facts) -> Iterator[str]:
    """Yield a line for each link that `borne` keeps."""
    for one in kept.values():
        if isinstance(one, Link):
            yield f"link {one.name} stays while {_words(_on(one, facts))} stands on it; a later run removes it"


def objections(changes: Iterable[Change], facts: Facts) -> Iterator[str]:
    """Yield a line for each change that would take links of others along, or that these are in the way of."""
    told: set[str] = set()
    for change in changes:
        link = change.before if isinstance(change, Delete) else change.after
        if not isinstance(link, Link):
            continue
        if isinstance(change, Delete):
            lines = _taken_along(link, facts)
        elif isinstance(change, Create) or {"options.mode", "options.flag"} & set(change.fields):
            lines = _in_the_way(link, facts)
        else:
            continue
        for line in lines:
            if line not in told:
                told.add(line)
                yield line


def _taken_along(link: Link, facts: Facts) -> Iterator[str]:
    if link.sandbox == HOST and (others := _on(link, facts)):
        yield f"{_words(others)} stands on {link.name}, and would go with it; remove that first"


def _in_the_way(link: Link, facts: Facts) -> Iterator[str]:
    """Yield what the kernel would refuse (EBUSY, EINVAL), or do to the ipvlans of others."""
    if link.kind not in ("macvlan", "ipvlan") or not link.parent or link.parent[0] not in "/#":
        return
    parent = link.parent[1:]
    below = facts.links.get(parent)
    if below and below.master:
        yield f"{parent} is a port of {below.master}, and no {link.kind} can stand on it; name {below.master} as parent"
    for upper in facts.uppers:
        if upper.below != parent:
            continue
        kind = {"macvtap": "macvlan", "ipvtap": "ipvlan"}.get(upper.kind, upper.kind)
        if kind in ("macvlan", "ipvlan") and kind != link.kind:
            yield f"{_words([upper])} stands on {parent}, which can't have {_a(link.kind)} too; name another parent"
        elif kind == "macvlan" and link.kind == "macvlan":
            if "passthru" in (upper.options.get("mode"), link.options.get("mode")):
                yield f"{_words([upper])} stands on {parent}, which mode passthru leaves to one; name another parent"
        elif kind == "ipvlan":
            for name in ("mode", "flag"):
                if upper.options.get(name, link.options.get(name)) != link.options.get(name):
                    yield (
                        f"{_words([upper])} stands on {parent} with {name} {upper.options[name]}, and all ipvlans there"
                        f" would get {name} {link.options[name]}; use that {name}, or another parent"
                    )


def _on(link: Link, facts: Facts) -> list[Upper]:
    return [upper for upper in facts.uppers if upper.below == link.name]


def _a(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _words(uppers: Sequence[Upper]) -> str:
    """Return "macvlan mv0 in netns:web", the first of several with how many more there are."""
    first = uppers[0]
    more = f" (and {len(uppers) - 1} more)" if len(uppers) > 1 else ""
    return f"{first.kind} {first.name}{f' in {first.place}' if first.place else ''}{more}"
