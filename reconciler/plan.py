"""The difference between two states, as an ordered list of changes.

A plan is a value: it can be printed, compared and applied, and knows nothing of how. Rolling back is another plan, the
difference between the state of before and what there is now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from . import resources
from .resources import (
    HOST,
    Address,
    Key,
    Link,
    Netns,
    NftTable,
    Resource,
    Route,
    State,
    Sysctl,
    differences,
    must_replace,
)


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
        if have is None or not (changed := differences(want, have)):
            continue
        if reasons := must_replace(want, have, changed):
            replaced[key] = f"{', '.join(reasons)} can't be changed in place"
        else:
            updates[key] = changed
    doomed = {key for key, have in observed.items() if key not in desired and not _kept(have, exact)}
    _swap_names(desired, observed, doomed, replaced, updates)
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
            {**observed, **desired},
        ),
        tuple(
            f"namespace {have.reference} stays until the processes in it have ended; a later run removes it"
            for key, have in observed.items()
            if key not in desired and isinstance(have, Netns) and have.busy and not have.adopted
        ),
    )


def _kept(observed: Resource, exact: bool) -> bool:
    """Whether something that is not desired stays: a namespace in use, and what belongs to the whole host."""
    match observed:
        case Netns(adopted=adopted, busy=busy):
            return adopted or bool(busy)
        case Sysctl() | NftTable(name=resources.GUARD_TABLE):
            return not exact
        case _:
            return False


def _swap_names(
    desired: State, observed: State, doomed: set[Key], replaced: dict[Key, str], updates: Mapping[Key, tuple[str, ...]]
) -> None:
    """Have links replaced whose new name is still held by another link of ours that is renamed only later."""
    held = {have.inner: key for key, have in observed.items() if isinstance(have, Link) and key not in doomed}
    for key, changed in updates.items():
        want = desired[key]
        if isinstance(want, Link) and {"name", "peer.name"} & set(changed):
            other = held.get(want.inner)
            if other is not None and other != key and other not in replaced:
                replaced[key] = f"its name {want.inner[1]} is taken until {other.name} is renamed"


def _cascade(
    desired: State, observed: State, doomed: set[Key], replaced: dict[Key, str], updates: dict[Key, tuple[str, ...]]
) -> None:
    """Add what the kernel takes away together with what is deleted, replaced, or taken down to be renamed."""
    gone = doomed | replaced.keys()
    flushed = {  # (link, family): deleting an address can take the family's routes along, renaming takes all
        (have.link, ":" in have.address) for key in gone if isinstance(have := observed.get(key), Address)
    }
    renamed = {key.name for key, changed in updates.items() if {"name", "peer.name"} & set(changed)}
    flushed |= {(link, family) for link in renamed for family in (False, True)}
    for key, want in sorted(desired.items(), key=lambda item: isinstance(item[1], Address | Route)):
        if key not in observed or key in replaced:
            continue
        lost = [need for need in want.requires if need in gone]
        match want:
            case Link(master=str(master)) if lost == [Key("link", master)]:
                ports = (f"port.{name}" for name in want.port)
                updates[key] = tuple(dict.fromkeys((*updates.get(key, ()), "master", *ports)))
            case Address(link=link) if not lost and link in renamed and ":" in want.address:
                replaced[key] = "its link is renamed"
            case Route(link=str(link)) if not lost and (link, ":" in want.destination) in flushed:
                replaced[key] = "its link's addresses change"
            case _ if lost:
                replaced[key] = f"{lost[0].name} is replaced"
                gone.add(key)


def _goes_with_another(observed: Resource, gone: set[Key]) -> bool:
    """Whether it vanishes with what contains it, and so needs no deletion of its own."""
    return isinstance(observed, Address | Route) and any(need in gone for need in observed.requires)


_STAGES = (NftTable, Sysctl, Netns, Link, Address, Route)


def _ordered(
    deletes: Iterable[Change], updates: Iterable[Change], creates: Iterable[Change], known: State
) -> tuple[Change, ...]:
    """Return the changes in the order in which they are made.

    Deletes first, from the inside out, so that names, addresses and subnets are free again; then the firewall, so that
    nothing is ever open that should not be; then the rest from the outside in, sandbox by sandbox. Deleted namespaces
    come last of all: until then nothing is lost that can't be made again.
    """

    def place(change: Change) -> tuple[object, ...]:
        resource = change.before if isinstance(change, Delete) else change.after
        stage = _STAGES.index(type(resource))
        match resource:
            case Link():
                depth = _depth(resource, known)
                return (stage, depth, isinstance(change, Create), resource.inner[0], resource.path)
            case Address(link=link):
                holder = known.get(Key("link", link))
                inside = holder.inner[0] if isinstance(holder, Link) else HOST
                return (_STAGES.index(Address), inside, 0, resource.key)
            case Route(sandbox=sandbox):
                return (_STAGES.index(Address), sandbox, 1, resource.key)
            case _:
                return (stage, resource.key)

    last = [change for change in deletes if isinstance(change, Delete) and isinstance(change.before, Netns)]
    first = [change for change in deletes if change not in last]
    return (
        *sorted(first, key=place, reverse=True),
        *sorted((*updates, *creates), key=place),
        *sorted(last, key=place),
    )


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
