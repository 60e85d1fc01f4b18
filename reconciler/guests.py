"""What others have put into the namespaces that netapply makes, and on its links: it must not go with these."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from .host import Guest, Observation
from .plan import Change, Delete, Update
from .resources import HOST, Address, Delegated, Key, Link, Netns, Resource, State


def housing(desired: State, observation: Observation) -> dict[Key, Resource]:
    """Return the namespaces that no container needs any more, but that links of others are in."""
    full = {guest.sandbox for guest in _strangers(observation)}
    return {
        key: one
        for key, one in observation.state.items()
        if isinstance(one, Netns) and one.sandbox in full and key not in desired and not one.adopted
    }


def remarks(kept: Mapping[Key, Resource], observation: Observation) -> Iterator[str]:
    """Yield a line for each namespace that `housing` keeps."""
    strangers = _strangers(observation)
    for one in kept.values():
        if isinstance(one, Netns):
            there = f"{_words([guest for guest in strangers if guest.sandbox == one.sandbox])} of others is in it"
            yield f"namespace {one.reference} stays while {there}; a later run removes it"


def objections(changes: Sequence[Change], observation: Observation) -> Iterator[str]:
    """Yield a line for each change that would take something of others along."""
    strangers = _strangers(observation)

    def taken(path: str, which: Callable[[Guest], bool]) -> list[Guest]:
        return [guest for guest in strangers if guest.below == path and which(guest)]

    for change in changes:
        match change:
            case Delete(before=Link(path=path, inner=(sandbox, name))):
                where = f" in {sandbox}" if sandbox != HOST else ""
                if on_it := taken(path, lambda _: True):
                    yield f"{_words(on_it)} of others is on {name}{where}, and would go with it; remove that first"
            case Delete(before=Netns(sandbox=sandbox, reference=reference)):
                if in_it := [guest for guest in strangers if guest.sandbox == sandbox]:
                    yield f"{_words(in_it)} of others is in namespace {reference}, and would go with it; move it first"
            case Update(before=Link(path=path, inner=(sandbox, name)), fields=fields) if sandbox == HOST:
                if {"name", "up"} & set(fields) and (on_it := taken(path, _goes_when_down)):
                    what = f"{_words(on_it)} of others is on {name}, and would go when it is taken down"
                    yield f"{what}; remove that first"
    for path in _bare(changes, observation.state):
        if not taken(path, _is_ipv4_address) and (on_it := taken(path, _is_ipv4_route)):
            link = observation.state[Key("link", path)]
            name = link.name if isinstance(link, Link) else path
            yield f"{_words(on_it)} of others is on {name}, and would go with its last IPv4 address; remove that first"


def _bare(changes: Sequence[Change], observed: State) -> list[str]:
    """Return the links of the host's that stay and lose all the IPv4 addresses that they have, if only for others: with
    the last one the kernel takes their IPv4 routes (fib_disable_ip)."""
    gone = {change.key for change in changes if isinstance(change, Delete)}
    left: dict[str, bool] = {}
    for key, one in observed.items():
        if isinstance(one, Address) and ":" not in one.address:
            left[one.link] = left.get(one.link, False) or key not in gone
    return sorted(path for path, some in left.items() if not some and Key("link", path) not in gone)


def _goes_when_down(guest: Guest) -> bool:
    return guest.kind == "route" or (guest.kind == "address" and ":" in guest.name)


def _is_ipv4_address(guest: Guest) -> bool:
    return guest.kind == "address" and ":" not in guest.name


def _is_ipv4_route(guest: Guest) -> bool:
    return guest.kind == "route" and ":" not in guest.name


def _strangers(observation: Observation) -> list[Guest]:
    """Return what nothing of the project's accounts for: a link of a plugin's may have no mark yet."""
    of_plugins = {one.inner for one in observation.state.values() if isinstance(one, Delegated)}
    return [guest for guest in observation.facts.guests if (guest.sandbox, guest.name) not in of_plugins]


def _words(guests: Sequence[Guest]) -> str:
    """Return "macvlan mv0", the first of several with how many more there are."""
    more = f" (and {len(guests) - 1} more)" if len(guests) > 1 else ""
    return f"{guests[0].kind or 'link'} {guests[0].name}{more}"
