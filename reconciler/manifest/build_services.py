"""From the tree's services to values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from ..networks import ServicePort
from . import ip
from .model import ServiceSpec
from .tree import Map, Place, Seq


class Complain(Protocol):
    """Notes a problem at a place."""

    def __call__(self, at: Place, what: str, mend: str = "") -> None: ...


def services(nodes: Map, complain: Complain) -> Iterator[tuple[str, ServiceSpec]]:
    """Yield the services by name; one that lacks what the schema wants of it is left out."""
    for name, node in nodes.items():
        vips = tuple(_vips(name, node, complain))
        ports = tuple(_ports(node.get("ports") or (), complain))
        if "network" not in node or "containers" not in node:
            continue
        yield (
            name,
            ServiceSpec(
                name=name,
                network=node["network"],
                containers=tuple(node["containers"]),
                mode=node.get("endpoint_mode", "vip"),
                vip=tuple(one for one in vips if one),
                ports=tuple(one for one in ports if one),
                affinity=node.get("affinity", "none") == "client",
                weights=dict(node.get("weights") or {}),
            ),
        )


def _vips(name: str, node: Map, complain: Complain) -> Iterator[str | None]:
    """Yield the pinned addresses in canonical spelling, None for what is none."""
    given = node.get("vip")
    if given is None:
        return
    texts = list(zip(given, given.item_at, strict=True)) if isinstance(given, Seq) else [(given, node.value_at["vip"])]
    families: set[int] = set()
    for text, at in texts:
        found = ip.address(text)
        if found is None:
            mend = "an address has no prefix length here" if "/" in text else ""
            complain(at, f"vip is {text[:60]!r}, which is not an address", mend)
            yield None
        elif found[0] in families:
            complain(at, f"service {name} has two IPv{found[0]} addresses", "give one of each family at most")
            yield None
        else:
            families.add(found[0])
            yield ip.text(*found)


def _ports(nodes: Any, complain: Complain) -> Iterator[ServicePort | None]:
    """Yield the ports, None for what is none."""
    for number, node in enumerate(nodes):
        if isinstance(node, Map):
            words = ("target", "published", "protocol", "mode")
            yield ServicePort(**{word: node[word] for word in words if word in node})
            continue
        numbers, _, protocol = str(node).partition("/")
        published, colon, target = numbers.rpartition(":")
        if not 1 <= int(target) <= 65535 or (colon and not 1 <= int(published) <= 65535):
            complain(nodes.item_at[number], f"port {node} is out of range", "ports are 1 to 65535")
            yield None
            continue
        yield ServicePort(int(target), int(published) if colon else None, protocol or "tcp")
