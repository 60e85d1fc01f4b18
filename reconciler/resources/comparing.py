"""What is different between a resource as it should be and as it is, and whether the kernel can change that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING

from .links import Link, Peer
from .names import VLANS

if TYPE_CHECKING:
    from . import Resource


def differences(desired: Resource, observed: Resource, *, exact: bool = False) -> tuple[str, ...]:
    """Return the names of the fields in which the observed resource is not as desired, nested ones dotted.

    `exact`: the desired one was observed before, so that no master means no master.
    """
    if desired == observed:
        return ()
    return tuple(_differing(desired, observed, "", _SAYING_NONE | {"master"} if exact else _SAYING_NONE))


_SAYING_NONE = frozenset({"via", "link"})
"""Fields whose None is a value: a route without a next hop, and one that leads nowhere."""


def _differing(desired: object, observed: object, prefix: str, saying_none: frozenset[str]) -> Iterator[str]:
    for one in fields(desired):  # type: ignore[arg-type]
        want = getattr(desired, one.name)
        if (want is None and one.name not in saying_none) or not one.compare:
            continue
        have, name = getattr(observed, one.name, None), prefix + one.name
        if isinstance(want, Mapping):
            yield from (f"{name}.{key}" for key in want if have is None or have.get(key) != want[key])
            if one.name == "sysctls" and have:  # the names of ours are in the link's alias: one too many is drift
                yield from (f"{name}.{key}" for key in have if key not in want)
        elif isinstance(want, Peer) and isinstance(have, Peer):
            yield from _differing(want, have, f"{name}.", saying_none)
        elif want != have:
            yield name


def value_of(resource: object, name: str) -> object:
    """Return the value of a field that `differences` named, None where there is none."""
    head, _, rest = name.partition(".")
    value: object = getattr(resource, head, None)
    if rest and isinstance(value, Mapping):
        return value.get(rest)
    return value_of(value, rest) if rest else value


def must_replace(desired: Resource, observed: Resource, changed: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the changed fields that the kernel can't change in place."""
    immutable = [name for name in changed if name in desired.IMMUTABLE]
    if "kind" in immutable:
        return ("kind",)  # all else is different because of it
    if isinstance(desired, Link) and isinstance(observed, Link):
        immutable += [name for name in changed if name == "peer"]  # the inner end is gone
        modes = {desired.options.get("mode"), observed.options.get("mode")}
        if desired.kind == "macvlan" and "options.mode" in changed and "passthru" in modes:
            immutable.append("options.mode")  # macvlan_changelink: EINVAL to and from passthru
        if desired.kind == "vxlan":
            immutable += _fixed_of_vxlan(observed, changed)
            immutable += ["parent"] if observed.parent and not desired.parent else []
        if VLANS in observed.tags and VLANS not in desired.tags and (desired.master or "").startswith("/"):
            immutable.append("tags")  # only a new port gets the VLAN that this bridge gives to all
    return tuple(immutable)


def _fixed_of_vxlan(observed: Link, changed: tuple[str, ...]) -> list[str]:
    """Return what vxlan_nl2conf of drivers/net/vxlan refuses to change: VNI, port, and the address's family."""
    families = {f"options.{name}" for name in ("local", "local6") if name not in observed.options}
    return [name for name in changed if name in ("options.id", "options.port") or name in families]
