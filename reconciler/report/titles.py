"""What an entry of a plan is about, on one line."""

from __future__ import annotations

from ..plan import Create, Update
from ..resources import (
    HOST,
    Accepts,
    Address,
    Delegated,
    DnsHosts,
    DnsServer,
    Link,
    Netns,
    NftTable,
    Resource,
    Route,
    Sysctl,
    value_of,
)
from .entries import Entry, resource_of
from .words import DEFAULTS, brief, parent, place


def title(entry: Entry) -> str:
    """Return what the entry is about, on one line: what it will be if it is made, what it was if it goes."""
    head = resource_of(entry.head) if entry.head else None
    match entry.thing.kind:
        case "endpoint":
            name = f"endpoint {entry.thing.container}"
        case "network":
            name = f"{head.kind} {head.name}" if isinstance(head, Link) else f"network {entry.thing.network}"
            if isinstance(head, Link) and head.path.endswith("#host"):
                name = f"host access {head.name}"
        case "container":
            name = place(entry.thing.container or HOST)
        case "services":
            from .services import title as of_services

            return of_services(entry)
        case "leftover":
            name = "what an interrupted run left behind"
        case "other":
            name = brief(head) if head else entry.thing.name
        case "tunnel" | "names" | "resolver" if head:
            name = brief(head)
        case kind:
            name = f"{kind} {entry.thing.name}"
    if isinstance(entry.head, Update) and isinstance(head, Sysctl):
        more = f"{value_of(entry.head.before, 'value')} → {head.value}"
    else:
        more = _content(entry, head) if entry.action != "change" else ""
    return f"{name}: {more}" if more else name


def _content(entry: Entry, head: Resource | None) -> str:
    """Return what is made or taken away with the entry, in short."""
    match head:
        case Link():
            made = [change.after for change in entry.changes if isinstance(change, Create)]
            inner = [] if entry.thing.kind in ("network", "other", "tunnel") else [head.inner[1]]
            addresses = [one.address for one in made if isinstance(one, Address) and one.link == head.path]
            defaults = [one for one in made if isinstance(one, Route) and one.destination in DEFAULTS]
            ways = list(dict.fromkeys(one.via or "the link" for one in defaults))
            words = [*inner, *addresses, *(["via", *ways] if ways else [])]
            if entry.thing.kind == "other" and head.parent:
                words.append(f"on {parent(head.parent)}")
            if entry.thing.kind in ("network", "other", "tunnel") and head.mtu and entry.action != "remove":
                words += ["mtu", str(head.mtu)]
            if entry.thing.kind == "endpoint" or head.path.endswith("#host"):
                words.append(f"({head.kind} {head.name})" if head.peer else f"({head.kind} on {parent(head.parent)})")
            return " ".join(words)
        case Netns():
            return brief(head) if not head.sandbox.startswith("@") else ""
        case Delegated():
            from .requests import asked

            words = [head.interface, *head.addresses] if head.interface else []
            return " ".join([*words, f"({asked(head)})"] if words else [asked(head)])
        case NftTable(text=text):
            return _lines(text)
        case Sysctl(value=value):
            return value
        case Accepts(rules=rules):
            return ", ".join(rules)
        case DnsHosts() | DnsServer():
            from . import names

            return names.content(head)
        case _:
            return ""


def _lines(text: str) -> str:
    number = len(text.splitlines())
    return f"{number} line{'s' * (number != 1)}"
