"""Ports of the host that a plan would publish and somebody has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .firewall.ports import published, summary
from .host import Facts, Listener
from .networks import Publication
from .plan import Change, Create, Delete
from .resources import GUARD_TABLE, HOST, NftTable


def objections(changes: Iterable[Change], facts: Facts) -> Iterator[str]:
    """Yield a line for each port that the plan newly publishes and that somebody else has."""
    if not facts.listening:
        return
    for change in changes:
        table = None if isinstance(change, Delete) else change.after
        if not isinstance(table, NftTable) or table.sandbox != HOST or table.name == GUARD_TABLE:
            continue
        before = (
            "" if isinstance(change, Create | Delete) or not isinstance(change.before, NftTable) else change.before.text
        )
        had, holders = summary(published(before)), _by_port(facts.listening)
        told: set[tuple[str, int]] = set()
        for key, one in summary(published(table.text)).items():
            claim = one.protocol, one.port
            other = next((who for who in holders.get(claim, ()) if _clash(one, who)), None)
            if key not in had and other and claim not in told:
                told.add(claim)
                yield _words(one, other)


def cuts(before: str, after: str) -> bool:
    """Whether connections end by the change of a table's text: some port leads no longer to all that it led to."""
    if "inet_service" not in before:
        return False
    old, new = summary(published(before)), summary(published(after))
    return any(key not in new or not _ends(one) <= _ends(new[key]) for key, one in old.items())


def _ends(one: Publication) -> set[tuple[str, int]]:
    """Return between whom and the port connections go on."""
    return {(target.address, target.port) for target in (*one.targets, *one.leaving)}


def _by_port(listening: Iterable[Listener]) -> dict[tuple[str, int], list[Listener]]:
    found: dict[tuple[str, int], list[Listener]] = {}
    for one in listening:
        found.setdefault((one.protocol, one.port), []).append(one)
    return found


def _clash(one: Publication, other: Listener) -> bool:
    """Whether what is sent to one could be for the other."""
    if (":" in other.address) != (one.family == 6):
        return False
    return one.host_ip is None or other.address in (one.host_ip, "0.0.0.0", "::")


def _words(one: Publication, other: Listener) -> str:
    where = f"[{other.address}]:{other.port}" if ":" in other.address else f"{other.address}:{other.port}"
    start = f"port {one.port}/{one.protocol} of the host, which {one.owner} is to be published on, is taken"
    if other.who.startswith("the firewall chain "):
        return f"{start}: {other.who} leads {where} elsewhere; remove its rule, or choose another port or host_ip"
    if " of project " in other.who:
        return f"{start}: {other.who} is published on {where}; choose another port or host_ip for one of the two"
    return f"{start}: {other.who} listens on {where}; end that, or choose another port or host_ip"
