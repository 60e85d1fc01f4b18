"""What others have put into the namespaces that netapply makes, and on its links: it must not go with these."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from .host import Facts, Guest, Observation
from .plan import Change, Delete
from .resources import HOST, Delegated, Key, Link, Netns, Resource, State


def housing(desired: State, observation: Observation) -> dict[Key, Resource]:
    """Return the namespaces that no container needs any more, but that links of others are in."""
    full = {guest.sandbox for guest in _strangers(observation.state, observation.facts)}
    return {
        key: one
        for key, one in observation.state.items()
        if isinstance(one, Netns) and one.sandbox in full and key not in desired and not one.adopted
    }


def remarks(kept: Mapping[Key, Resource], observation: Observation) -> Iterator[str]:
    """Yield a line for each namespace that `housing` keeps."""
    strangers = list(_strangers(observation.state, observation.facts))
    for one in kept.values():
        if isinstance(one, Netns):
            there = f"{_words([guest for guest in strangers if guest.sandbox == one.sandbox])} of others is in it"
            yield f"namespace {one.reference} stays while {there}; a later run removes it"


def objections(changes: Iterable[Change], observation: Observation) -> Iterator[str]:
    """Yield a line for each change that would take something of others along."""
    strangers = list(_strangers(observation.state, observation.facts))
    for change in changes:
        if not isinstance(change, Delete):
            continue
        match change.before:
            case Link(path=path, inner=(sandbox, name)):
                where = f" in {sandbox}" if sandbox != HOST else ""
                if on_it := [guest for guest in strangers if guest.below == path]:
                    yield f"{_words(on_it)} of others is on {name}{where}, and would go with it; remove that first"
            case Netns(sandbox=sandbox, reference=reference):
                if in_it := [guest for guest in strangers if guest.sandbox == sandbox]:
                    yield f"{_words(in_it)} of others is in namespace {reference}, and would go with it; move it first"


def _strangers(observed: State, facts: Facts) -> Iterator[Guest]:
    """Yield the links that nothing of the project's accounts for: a plugin's may have no mark yet."""
    of_plugins = {one.inner for one in observed.values() if isinstance(one, Delegated)}
    return (guest for guest in facts.guests if (guest.sandbox, guest.name) not in of_plugins)


def _words(guests: list[Guest]) -> str:
    """Return "macvlan mv0", the first of several with how many more there are."""
    more = f" (and {len(guests) - 1} more)" if len(guests) > 1 else ""
    return f"{guests[0].kind or 'link'} {guests[0].name}{more}"
