"""The fields of a resource that change, from what to what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..resources import NFT, SHAPED, VLANS, Accepts, Delegated, Link, NftTable, Port, Resource, Sysctl, value_of
from .words import parent, place, shown

_LABELS = {
    "name": "name",
    "peer.name": "interface",
    "mtu": "mtu",
    "peer.mtu": "mtu",
    "mac": "mac",
    "peer.mac": "mac",
    "master": "bridge",
    "parent": "parent",
    "kind": "kind",
    "ipv6": "IPv6 of its own making",
    "peer.ipv6": "IPv6 of its own making",
    "peer.sandbox": "the container",
    "sandbox": "the container",
    "reference": "namespace",
}
_STATES = {"up": "link", "peer.up": "inner end", "loopback_up": "lo"}


def field_changes(before: Resource, after: Resource, fields: Iterable[str]) -> Iterator[str]:
    """Yield "mtu 1500 → 1400" for each field, named as `resources.differences` does."""
    for name in fields:
        if isinstance(after, NftTable | Sysctl):
            continue
        if isinstance(before, Accepts) and isinstance(after, Accepts):
            yield from (f"+ {rule}" for rule in after.rules if rule not in before.rules)
            yield from (f"- {rule}" for rule in before.rules if rule not in after.rules)
            continue
        if name == "peer":
            yield "its inner end is lost"
            continue
        if isinstance(before, Delegated) and isinstance(after, Delegated) and name in ("request", "tags", "healthy"):
            from .requests import differing

            yield from differing(name, before, after)
            continue
        old, new = value_of(before, name), value_of(after, name)
        if name == "tags":
            old, new = _plain_tags(old), _plain_tags(new)
        if old == new:
            continue  # set again, since something else that changes resets it
        if name in _STATES:
            yield f"{_STATES[name]} {_state(old)} → {_state(new)}"
        elif name in ("sandbox", "peer.sandbox"):
            yield f"moves from {place(str(old))} to {place(str(new))}"
        elif name == "parent" and isinstance(before, Link) and isinstance(after, Link):
            yield f"parent {parent(before.parent)} → {parent(after.parent)}"
        else:
            yield f"{label(name)} {shown(old)} → {shown(new)}"


def _plain_tags(tags: object) -> tuple[str, ...]:
    """Return the tags without those that other lines say: of VLANs, uplinks and bandwidth."""
    told = [str(tag) for tag in tags if tag not in (NFT, SHAPED, VLANS)] if isinstance(tags, tuple) else []
    return tuple(tag for tag in told if not any(Port.tagged([tag])))


def label(name: str) -> str:
    """Return what a field is called."""
    head, _, rest = name.partition(".")
    match head:
        case "options":
            return rest
        case "port":
            return f"port {rest}"
        case "sysctls":
            return f"net.{rest}"
        case _:
            return _LABELS.get(name, name)


def _state(value: object) -> str:
    return "up" if value else "down"
