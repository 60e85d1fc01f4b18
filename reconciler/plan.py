"""The difference between two states, as an ordered list of changes.

A plan is a value: it can be printed, compared and applied, and knows nothing of how. Rolling back is another plan, the
difference between the state of before and what there is now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from . import resources
from .resources import (
    CARRIED,
    HOST,
    Accepts,
    Address,
    BridgeVlan,
    Delegated,
    DnsHosts,
    DnsServer,
    FdbEntry,
    Key,
    Link,
    Neighbour,
    Netns,
    NftTable,
    Port,
    ResolvConf,
    Resource,
    Route,
    Shaper,
    State,
    Sysctl,
    Wireguard,
    WireguardPeer,
    differences,
    must_replace,
)
from .values import dataclass


@dataclass(frozen=True, slots=True)
class Create:
    """Make `after`. `replaces`: one of its key goes first, by a Delete or with what contains it, since `reason`."""

    after: Resource
    replaces: bool = False
    reason: str = ""

    @property
    def key(self) -> Key:
        return self.after.key


@dataclass(frozen=True, slots=True)
class Update:
    """Change `before` into `after` in place; `fields` are the differing ones, as `resources.differences` names them."""

    before: Resource
    after: Resource
    fields: tuple[str, ...]

    @property
    def key(self) -> Key:
        return self.after.key


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove `before`. `replaced`: a Create of the same key follows. What it contains goes with it, unlisted."""

    before: Resource
    replaced: bool = False
    reason: str = ""

    @property
    def key(self) -> Key:
        return self.before.key


Change: TypeAlias = Create | Update | Delete


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes in the order in which they are made, and remarks for the reader that change nothing."""

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.changes)

    @property
    def counts(self) -> tuple[int, int, int, int]:
        """How many are created, updated, deleted and replaced; a replacement counts once, as that."""
        created = sum(isinstance(change, Create) and not change.replaces for change in self.changes)
        updated = sum(isinstance(change, Update) for change in self.changes)
        deleted = sum(isinstance(change, Delete) and not change.replaced for change in self.changes)
        replaced = sum(isinstance(change, Create) and change.replaces for change in self.changes)
        return created, updated, deleted, replaced


def diff(desired: State, observed: State, *, exact: bool = False) -> Plan:
    """Return the plan that turns `observed` into `desired`.

    What others may rely on by now stays though it is not desired (`_kept`); `exact` removes that too, to roll back.
    """
    replaced: dict[Key, str] = {}
    updates: dict[Key, tuple[str, ...]] = {}
    for key, want in desired.items():
        have = observed.get(key)
        if have is None or not (changed := differences(want, have, exact=exact)):
            continue
        if reasons := must_replace(want, have, changed):
            replaced[key] = f"{', '.join(reasons)} can't be changed in place"
        else:
            updates[key] = changed
    doomed = {key for key, have in observed.items() if key not in desired and not _kept(have, exact)}
    _free_claims(desired, observed, replaced, updates)
    _cascade(desired, observed, doomed, replaced, updates)
    gone = doomed | replaced.keys()
    return Plan(
        _ordered(
            [
                Delete(observed[key], key in replaced, replaced.get(key, ""))
                for key in gone
                if key in observed and not _goes_with_another(observed[key], gone)
            ],
            [Update(observed[key], desired[key], changed) for key, changed in updates.items() if key not in replaced],
            [
                Create(want, key in replaced, replaced.get(key, ""))
                for key, want in desired.items()
                if key not in observed or key in replaced
            ],
            desired,
            observed,
        ),
        tuple(
            f"namespace {have.reference} stays until the processes in it have ended; a later run removes it"
            for key, have in observed.items()
            if key not in desired and isinstance(have, Netns) and have.busy and not have.adopted
        ),
    )


def _kept(observed: Resource, exact: bool) -> bool:
    """Whether something that is not desired stays: a namespace in use, what belongs to the whole host, and what may be
    another project's. That one removes it, or whoever is left there."""
    match observed:
        case Netns(adopted=adopted, busy=busy):
            return adopted or bool(busy)
        case Sysctl() | NftTable(name=resources.GUARD_TABLE) | Route(shared=True):
            return not exact
        case _:
            return False


def _free_claims(
    desired: State, observed: State, replaced: dict[Key, str], updates: Mapping[Key, tuple[str, ...]]
) -> None:
    """Have links replaced that give up a name which another link is to have, so that it is free before that one's turn.

    To rename them in the right order is not enough: two that swap their names have none.
    """
    given_up = {
        claim: key
        for key, want in desired.items()
        if key not in replaced and isinstance(want, Link) and (key in updates or want.mac is None)
        if isinstance(have := observed.get(key), Link)
        for claim in _claims(have) - _claims(want)
    }
    if not given_up:
        return
    for key, one in sorted(desired.items()):  # so that of two reasons it is always the same that is told
        if isinstance(one, Link):
            for claim in sorted(_claims(one) & given_up.keys()):
                replaced.setdefault(given_up[claim], f"{claim[-1]} goes to {key.name}")


def _claims(link: Link) -> set[tuple[str, ...]]:
    """Return what only one link can have at a time: its names, and its MAC among the macvlans of a parent (EBUSY)."""
    claims: set[tuple[str, ...]] = {(link.sandbox, link.name), link.inner}
    if link.kind == "macvlan" and link.parent and link.mac:
        claims.add(("MAC", link.parent, link.mac))
    return claims


def _cascade(
    desired: State, observed: State, doomed: set[Key], replaced: dict[Key, str], updates: dict[Key, tuple[str, ...]]
) -> None:
    """Add what the kernel takes away together with what is deleted, replaced, or taken down to be renamed."""
    gone = doomed | replaced.keys()
    if not gone and not updates:
        return
    both = [(key, want, have) for key, want in desired.items() if (have := observed.get(key)) and key not in replaced]
    links = [(key, want) for key, want, _ in both if isinstance(want, Link)]
    for key, want in sorted(links, key=lambda link: _depth(link[1], desired)):
        master = Key("link", want.master) if want.master else None
        if lost := [need for need in want.requires if need in gone and need != master]:
            replaced[key] = f"{_below(lost[0])} is replaced"
            gone.add(key)
        elif master and (master in gone or "master" in updates.get(key, ())):
            ports = (f"port.{name}" for name in want.port)  # a port is made anew, and has none of its settings
            updates[key] = tuple(dict.fromkeys(("master", *updates.get(key, ()), *ports)))
    for key, _, have in both:
        if isinstance(have, Port):
            _carry_along(key, have, gone, replaced)
    taken_down = {
        key.name for key, changed in updates.items() if key not in gone and _is_taken_down(key, changed, desired)
    }
    plugged = {key.name for key, changed in updates.items() if "master" in changed}  # a new port has no VLANs, and a
    for key, _, have in both:  # bridge that is left forgets what was behind it
        if isinstance(have, BridgeVlan | FdbEntry):
            _carry_along(key, have, gone, replaced, have.link if have.link in plugged else None)
        elif isinstance(have, Address):
            flushed = have.link in taken_down and ":" in have.address
            _carry_along(key, have, gone, replaced, have.link if flushed else None)
        elif isinstance(have, Delegated | Wireguard | WireguardPeer | NftTable | Shaper):
            _carry_along(key, have, gone, replaced)
        elif isinstance(have, DnsServer) and Key("netns", have.sandbox) in gone:  # that names go is nothing to it
            replaced[key] = f"{have.sandbox} is {'replaced' if Key('netns', have.sandbox) in replaced else 'removed'}"
            gone.add(key)
    bare = _without_ipv4(observed, gone)
    renamed = taken_down | {key.name for key, changed in updates.items() if "mac" in changed}
    for key, _, have in both:
        if isinstance(have, Route):
            flushed = have.link in taken_down or (have.link in bare and ":" not in have.destination)
            _carry_along(key, have, gone, replaced, have.link if flushed else None)
        elif isinstance(have, Neighbour):  # neigh_ifdown, neigh_changeaddr of net/core/neighbour.c
            flushed = have.link in renamed or (have.link in bare and ":" not in have.address)
            _carry_along(key, have, gone, replaced, have.link if flushed else None)


def _below(key: Key) -> str:
    """Return what a link stands on or in, in words."""
    if key.kind == "netns":
        return f"the namespace of {key.name}"
    path, _, further = key.name.partition("#")
    return f"link {further}" if further else f"the link of network {path}"


def _carry_along(
    key: Key, have: Resource, gone: set[Key], replaced: dict[Key, str], flushed: str | None = None
) -> None:
    """Have something made again that goes with what it requires, or is `flushed` with the addresses of that link."""
    if lost := [need for need in have.requires if need in gone]:
        replaced[key] = f"{lost[0].name} is {'replaced' if lost[0] in replaced else 'removed'}"
    elif flushed:
        replaced[key] = f"{flushed} loses it"
    else:
        return
    gone.add(key)


def _is_taken_down(key: Key, changed: tuple[str, ...], desired: State) -> bool:
    """Whether the end of a link that carries addresses goes down, if only to be renamed: IPv6 and all routes go."""
    link = desired[key]
    if not isinstance(link, Link):
        return False
    end, prefix = (link.peer, "peer.") if link.peer else (link, "")
    return f"{prefix}name" in changed or (f"{prefix}up" in changed and not end.up)


def _without_ipv4(observed: State, gone: set[Key]) -> set[str]:
    """Return the links that lose all their IPv4 addresses, and with them their IPv4 routes (fib_disable_ip)."""
    addresses = [
        (key, one.link) for key, one in observed.items() if isinstance(one, Address) and ":" not in one.address
    ]
    return {link for _, link in addresses} - {link for key, link in addresses if key not in gone}


def _goes_with_another(observed: Resource, gone: set[Key]) -> bool:
    """Whether it vanishes with its link, and so needs no deletion of its own.

    What is in a deleted namespace does: rolling back may bring the namespace back with all that was left in it.
    """
    if isinstance(observed, NftTable) and observed.sandbox != HOST:
        return observed.requires[0] in gone
    return isinstance(observed, CARRIED) and observed.link is not None and observed.requires[0] in gone


_STAGES = (
    *(NftTable, Sysctl, Netns, Link, Accepts, Port, Wireguard, WireguardPeer),
    *(BridgeVlan, Shaper, FdbEntry, Address, Route, Neighbour, Delegated),
    *(DnsHosts, DnsServer, ResolvConf),
)


def _ordered(
    deletes: Iterable[Delete], updates: Iterable[Update], creates: Iterable[Create], desired: State, observed: State
) -> tuple[Change, ...]:
    """Return the changes in the order in which they are made.

    First what only the firewall keeps from doing harm is taken back. Then deletes, from the inside out, so that names,
    addresses and subnets are free again; resolvers in sandboxes late, since a namespace may live by one alone, and take
    links with it, and last the names that they read. Then the firewall, so that nothing is ever open that should not
    be; then the rest from the outside in, sandbox by sandbox. Deleted namespaces come last of all: until then nothing
    is lost that can't be made again.
    """
    updates = list(updates)
    closing = [change for change in updates if _gives_up(change)]
    first = [change for change in deletes if not isinstance(change.before, Netns)]
    last = [change for change in deletes if isinstance(change.before, Netns)]
    made: list[Update | Create] = [*(change for change in updates if not _gives_up(change)), *creates]
    return (
        *sorted(closing, key=lambda change: _place(change.after, desired)),
        *sorted(first, key=lambda change: _place(change.before, observed, deleted=True), reverse=True),
        *sorted(made, key=lambda change: _place(change.after, desired, isinstance(change, Create))),
        *sorted(last, key=lambda change: _place(change.before, observed)),
    )


def _gives_up(change: Update) -> bool:
    """Whether a link of the host's loses settings and nothing else: route_localnet, say, by which packets get in that
    only the firewall drops.
    """
    if not isinstance(change.after, Link) or change.after.inner[0] != HOST:
        return False
    kept = {f"sysctls.{name}" for name in change.after.sysctls}
    return all(one.startswith("sysctls.") and one not in kept for one in change.fields)


def _place(resource: Resource, known: State, created: bool = False, deleted: bool = False) -> tuple[object, ...]:
    """Return what a resource is sorted by: its kind, how deep it stands, its sandbox, its name."""
    stage = _STAGES.index(type(resource))
    match resource:
        case Link():
            return (stage, _depth(resource, known), created, resource.inner[0], resource.path)
        case Address(link=link):
            holder = known.get(Key("link", link))
            return (_STAGES.index(Address), holder.inner[0] if isinstance(holder, Link) else HOST, 0, resource.key)
        case NftTable(sandbox=sandbox) if sandbox != HOST:  # once a link there says that it may be there
            return (_STAGES.index(Link) + 0.5, resource.key)
        case DnsServer(sandbox=sandbox) if sandbox and deleted:
            return (-1, resource.key)
        case DnsHosts() if deleted:
            return (-2, resource.key)
        case Route(sandbox="", link=None, destination=destination):  # what stops packets is there before what sends any
            return (_STAGES.index(Sysctl), False, destination)
        case Route(sandbox=sandbox):
            return (_STAGES.index(Address), sandbox, 1, resource.key)
        case Delegated(path=path):
            return (stage, "/" in path, path)
        case Sysctl(name=name):  # what keeps router advertisements coming before forwarding, which ends them
            return (stage, name.endswith(".forwarding"), name)
        case _:
            return (stage, resource.key)


def _depth(link: Link, known: State) -> int:
    """Return how many links of ours must exist before this one, one after the other."""
    depth, queue = 0, [link]
    while queue:
        queue = [
            below
            for one in queue
            for ref in (one.master, one.parent)
            if ref and isinstance(below := known.get(Key("link", ref)), Link)
        ]
        depth += bool(queue)
        if depth > len(known):
            raise ValueError(f"links stand on each other in a circle: {link.path}")
    return depth
