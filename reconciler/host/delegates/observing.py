"""What plugins keep for a project, from their records and their own word."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from ...resources import HOST, Delegated, Key
from .. import namespaces
from ..looking import Look
from ..observing import View
from . import records
from .jobs import PLUGIN_SAYS, speaker
from .records import Record

ASKED_AT_A_TIME = 4
"""Plugins that are asked side by side: each is a process, or waits for one."""


class Kept(NamedTuple):
    """What plugins keep, and the names of interfaces, as `Facts.taken` has them, that are there by it."""

    resources: list[Delegated]
    interfaces: set[Key]


def kept(view: View, containers: Collection[str] | None = None) -> Kept:
    """Return what plugins keep, of some containers only if they are given. Raises HostLacks for a broken record."""
    found = records.load_all(view.looks.host.cookie, view.scope.project)
    if containers is not None:
        found = [one for one in found if one.path.rpartition("/")[0] in containers]
    looks = {look.cookie: look for look in view.looks.others}
    parts = [found[start::ASKED_AT_A_TIME] for start in range(min(ASKED_AT_A_TIME, len(found)))]
    troubles: dict[str, str] = {}
    for answer in namespaces.side_by_side(*(partial(_troubles, part, looks) for part in parts)):
        troubles |= answer
    troubles |= dict.fromkeys(_forgotten(found, troubles, looks), "its plugin has forgotten it")
    return Kept(
        [record.resource(_sandbox(record, view, looks), troubles[record.path]) for record in found],
        {
            Key("link", f"{container} {record.interface}")
            for record in found
            if record.cookie in looks
            for container in looks[record.cookie].containers
        },
    )


def _troubles(part: Sequence[Record], looks: Mapping[int, Look]) -> dict[str, str]:
    return {record.path: _trouble(record, looks.get(record.cookie)) for record in part}


def _trouble(record: Record, look: Look | None) -> str:
    if not record.made:
        return "an interrupted run left it half-made"
    if record.sandbox != HOST and look is None:
        return "its namespace is gone"
    if trouble := speaker(record.protocol).trouble(record, look.place if look else None):
        return trouble
    if look and look.containers and not _is_in(record, look):
        return f"the container lacks {record.interface}, or its addresses or routes"
    return ""


def _is_in(record: Record, look: Look) -> bool:
    """Whether a container has the interface, as far as the record says what that is like: up, addresses, routes."""
    wanted = record.result or {}
    if not wanted.get("interface", True):
        return True  # the plugin said that it makes none
    row = next((row for row in look.links if row.name == record.interface), None)
    if row is None:
        return False
    addresses = {one.address for one in look.addresses if one.ifindex == row.ifindex}
    routes = {(one.destination, one.via) for one in look.routes if one.link == row.ifindex}
    given = wanted.get("given", {})
    return (
        (row.up or not given)
        and addresses.issuperset(given.get("addresses", ()))
        and routes.issuperset((to, via) for to, via in given.get("routes", ()))
    )


def _sandbox(record: Record, view: View, looks: Mapping[int, Look]) -> str:
    """Return the sandbox that a record's namespace is, the recorded one where it is gone."""
    look = looks.get(record.cookie)
    return view.sandbox_of(look, record.path) if look else record.sandbox


def _forgotten(found: Sequence[Record], troubles: Mapping[str, str], looks: Mapping[int, Look]) -> Iterator[str]:
    """Yield the networks that their plugin seems to have forgotten, since it says so of every endpoint on them."""
    for network in (one for one in found if one.sandbox == HOST and one.made):
        on_it = [one for one in found if network.path in one.after and one.made and one.cookie in looks]
        if on_it and all(troubles[one.path].startswith(PLUGIN_SAYS) for one in on_it):
            yield network.path
