"""Names, resolvers and containers' resolv.conf in words."""

from __future__ import annotations

from collections.abc import Iterator

from ..plan import Update
from ..resources import HALF_MADE, DnsHosts, DnsServer, ResolvConf


def brief(resource: DnsHosts | DnsServer | ResolvConf) -> str:
    """Return what it is in a few words."""
    match resource:
        case DnsHosts(network=network):
            return f"names of {network}"
        case DnsServer(name=name) if name.startswith(HALF_MADE):
            return "resolver that an interrupted run left behind"
        case DnsServer(name=name, networks=networks) if name.startswith(DnsServer.INSIDE):
            return f"resolver {name} of {{{', '.join(networks)}}}"
        case DnsServer(networks=networks, upstream=upstream):
            asking = "" if upstream == DnsServer.HOSTS_OWN else f" asking {', '.join(upstream) or 'nobody'}"
            return f"resolver of {{{', '.join(networks)}}}{asking}"
        case ResolvConf(lines=lines):
            return f"resolv.conf {'; '.join(lines)}"


def content(resource: DnsHosts | DnsServer) -> str:
    """Return what is made or taken away with it: how many names there are, where a resolver listens."""
    if isinstance(resource, DnsHosts):
        return str(len(_names(resource)))
    where = [f"{', '.join(resource.listen)} port {resource.port}"] if resource.listen else []
    if resource.sandbox:
        where.append(f"asks {', '.join(resource.upstream) or 'nobody'}")
    return ", ".join([*where, *([f"pid {resource.pid}"] if resource.pid else [])])


def changed(change: Update) -> Iterator[str]:
    """Yield what changes in one of them."""
    match change:
        case Update(before=DnsHosts() as before, after=DnsHosts() as after):
            yield from _renamed(before, after)
            if not before.healthy:
                yield "an interrupted run left them unread"
        case Update(before=DnsServer() as before, after=DnsServer() as after):
            if before.trouble:
                yield f"started anew: {before.trouble}"
            for name, word in _WORDS.items():
                old, new = getattr(before, name), getattr(after, name)
                if old != new:
                    yield f"{word} {_value(old)} → {_value(new)}"
        case Update(before=ResolvConf() as before, after=ResolvConf() as after):
            yield f"resolv.conf {'; '.join(before.lines) or 'empty'} → {'; '.join(after.lines)}"


_SHOWN = 5
_WORDS = {
    "listen": "listens at",
    "port": "port",
    "local": "asks nobody for",
    "reverse": "asks nobody who is in",
    "upstream": "asks",
    "networks": "networks",
    "sandbox": "in",
}


def _renamed(before: DnsHosts, after: DnsHosts) -> Iterator[str]:
    old, new = set(before.records), set(after.records)
    for words, some in (("no more", old - new), ("new", new - old)):
        shown = sorted(some)[:_SHOWN]
        yield from (f"{words}: {record}" for record in shown)
        if len(some) > len(shown):
            yield f"{words}: {len(some) - len(shown)} more"


def _names(hosts: DnsHosts) -> set[str]:
    ending = f".{hosts.network}"
    return {name for record in hosts.records for name in record.split(" ")[1:] if not name.endswith(ending)}


def _value(value: object) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
