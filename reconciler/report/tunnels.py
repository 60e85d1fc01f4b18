"""The link by which encrypted networks go to other hosts, in words: one thing to the reader, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterator

from ..plan import Update
from ..resources import FENCES, HOST, WIREGUARD, Resource, Route, Wireguard, WireguardPeer, value_of


def is_part(resource: Resource) -> bool:
    """Whether a resource is that link or belongs to it."""
    if isinstance(resource, Route) and resource.link is None:
        return resource.sandbox == HOST and resource.metric in FENCES and resource.type != "unicast"
    return WIREGUARD in (getattr(resource, "link", None), getattr(resource, "path", None))


def brief(resource: Wireguard | WireguardPeer) -> str:
    """Return a resource in a few words."""
    if isinstance(resource, Wireguard):
        return f"public key {resource.public_key or 'none'} at UDP port {resource.listen_port}"
    return f"{_name(resource)}{f' at {resource.endpoint}' if resource.endpoint else ''}"


def changed(change: Update) -> Iterator[str]:
    """Yield "peer two: address fd.../128 → fd.../128" for each field."""
    start = f"{_name(change.after)}: " if isinstance(change.after, WireguardPeer) else ""
    for name in change.fields:
        old, new = value_of(change.before, name), value_of(change.after, name)
        match name:
            case "preshared":
                yield f"{start}a preshared key that the manifest does not know → none"
            case "allowed_ips":
                yield f"{start}address {_list(old)} → {_list(new)}"
            case "listen_port":
                yield f"UDP port {old} → {new}"
            case _:
                yield f"{start}public key {old or 'none'} → {new or 'none'}"


def _name(peer: WireguardPeer) -> str:
    return f"peer {peer.host or peer.public_key}"


def _list(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) and value else "none"
