"""Containers in one network namespace, as those of a pod, or with `network_mode: container:X`: they share interfaces'
names and default routes, so that these are settled for all of them at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..errors import Problem
from ..manifest.model import Manifest
from ..resources import Delegated, Link, State


def conflicts(manifest: Manifest, together: Mapping[str, Sequence[str]]) -> Iterator[Problem]:
    """Yield what two containers in one namespace can't both have: a network, or an interface name."""
    order = {name: place for place, name in enumerate(manifest.containers)}
    for name, members in together.items():
        before = [manifest.containers[one] for one in members if order[one] < order[name]]
        for end in manifest.containers[name].endpoints:
            where = f"containers {{}} and {name} are in one network namespace"
            for other in (one for container in before for one in container.endpoints):
                if other.network == end.network:
                    what = f"{where.format(other.container)}, and both are on network {end.network}"
                    at = manifest.position("containers", name, "networks", end.network)
                    yield Problem(at, what, f"leave it to {other.container}")
                elif end.interface_name and other.interface_name == end.interface_name:
                    what = f"{where.format(other.container)}, and both call an interface {end.interface_name}"
                    at = manifest.position("containers", name, "networks", end.network, "interface_name")
                    yield Problem(at, what, "choose another")


def names_of(others: Sequence[str], manifest: Manifest, state: State, given: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the names of interfaces of others in the namespace: those `given` by now, else those pinned, or there."""
    names = [name for one in others for name in given.get(one, ())]
    waiting = {one for one in others if one not in given}
    names += [end.interface_name for one in waiting for end in manifest.containers[one].endpoints if end.interface_name]
    for resource in state.values() if waiting else ():
        if isinstance(resource, Link | Delegated) and resource.path.rpartition("/")[0] in waiting:
            names.append(resource.inner[1])
    return names
