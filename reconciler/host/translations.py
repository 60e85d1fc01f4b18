"""Ports of the host that rules of others lead elsewhere: nobody listens there, and the port has its owner all the same.

Container engines' port maps and routers' forwards are such. Only what is certain counts: a rule that asks for more than
a protocol, an address of the host's and a port, or for another link than that to the outside, is in nobody's way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import NamedTuple

from ..firewall import owner_of
from ..networks import FREE_PORTS
from ..verdicts import ACCEPT, DROP, Packet, blocks, outcomes
from . import Facts, Filter, Listener, coexistence

_FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_ANY = {4: "0.0.0.0", 6: "::"}
_LEGACY = ("/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names")

FEW = 100
"""Up to so many ports in a row that a rule is about, whatever that does, are none to choose from."""

_LEADS = re.compile(
    r'(?:xt target "(?:DNAT|REDIRECT)"|dnat (?:ip6? )?(?:prefix )?to .*|redirect(?: to .*)?|-j (DNAT|REDIRECT)\b.*)$',
    re.MULTILINE,
)
_PORTS = re.compile(r"dports? (?!!=)(?P<ports>\{[^}]*\}|\S+)")
_SPAN = re.compile(r"(\d+)(?:[-:](\d+))?")
_MULTIPORT = re.compile(r"-m multiport --dports \S+")
_ADDRESS = re.compile(r"(?:daddr|-d) ([0-9a-f.:]+)(?:/32|/128)?(?!\S)")
_LINK = re.compile(r'(?:iifname|iif|-i)(?: !=)? "?([^\s"{}]+)')


class Led(NamedTuple):
    """What rules of others lead elsewhere: `ports` of those that were asked for, and `maybe` those of FREE_PORTS."""

    ports: tuple[Listener, ...] = ()
    maybe: frozenset[int] = frozenset()


def leading(wanted: Collection[tuple[str, int]], facts: Facts) -> Led:
    """Return which of the ports, by protocol and number, tables of others lead elsewhere; 0 is for a free one."""
    if not wanted or not _are_there():
        return Led()
    own = frozenset(address.partition("/")[0] for link in facts.links.values() for address in link.addresses)
    filters = coexistence.filters(("nat",))
    named = {one for one in wanted if one[1]}
    free = named != wanted
    return Led(
        tuple(led(filters, named, own, facts.default_link)),
        frozenset(maybe_led(filters, own, facts.default_link)) if free else frozenset(),
    )


def maybe_led(filters: Iterable[Filter], own: Collection[str], outside: str | None) -> set[int]:
    """Return those of FREE_PORTS that none should be chosen of: some rule is about them, whatever it does.

    That a rule is about very many is no reason, unless it leads them elsewhere for certain.
    """
    chains = [one for one in filters if _matters(one)]
    spans = {span for one in chains for span in _spans(one.text)}
    wide = {span for span in spans if span[1] - span[0] > FEW}
    found = {port for first, last in spans - wide for port in range(first, last + 1) if port in FREE_PORTS}
    runs = {some[0]: some for run in _runs(wide) if (some := [port for port in run if port not in found])}
    for one in led(chains, {(protocol, first) for protocol in ("tcp", "udp") for first in runs}, own, outside):
        found.update(runs[one.port])
    return found


def _runs(spans: Iterable[tuple[int, int]]) -> Iterator[range]:
    """Yield the runs of ports, among FREE_PORTS, that the same spans have in them, one at least."""
    begun: dict[int, int] = {}
    for first, last in spans:
        start, stop = max(first, FREE_PORTS.start), min(last + 1, FREE_PORTS.stop)
        if start < stop:
            begun[start] = begun.get(start, 0) + 1
            begun[stop] = begun.get(stop, 0) - 1
    within = 0
    for edge, following in pairwise(sorted(begun)):
        within += begun[edge]
        if within:
            yield range(edge, following)


def _are_there() -> bool:
    """Whether others translate at all: their tables take time to read."""
    if any(row.translates and not row.table.startswith("netapply") for row in coexistence.chains()):
        return True
    for path in _LEGACY:
        with suppress(OSError), open(path, encoding="ascii") as file:
            if "nat" in file.read().split():
                return True
    return False


def led(
    filters: Iterable[Filter], wanted: Collection[tuple[str, int]], own: Collection[str], outside: str | None
) -> Iterator[Listener]:
    """Yield the same by the chains' texts. `own` are the host's addresses, `outside` is its link to elsewhere."""
    seen: set[tuple[str, int, str]] = set()
    for one in filters:
        if not _matters(one):
            continue
        spans = _spans(one.text)
        text = _LEADS.sub(lambda found: "-j DROP" if found[1] else "drop", one.text)
        named = frozenset(_LINK.findall(one.text))
        for protocol, port in sorted(wanted):
            if _among(port, spans):
                dropping = one._replace(text=_plain(text, port) if one.legacy else text, policy=ACCEPT)
                for address in _addresses(dropping, own, named, outside, protocol, port):
                    if (protocol, port, address) not in seen:
                        seen.add((protocol, port, address))
                        yield Listener(protocol, address, port, _words(one, port))


def _matters(one: Filter) -> bool:
    """Whether a chain is somebody else's, and may lead elsewhere what comes to the host."""
    return owner_of(one.text) is None and one.family in _FAMILIES and _is_arriving(one)


def _is_arriving(one: Filter) -> bool:
    """Whether a chain is for what comes in, and not for what the host itself sends, to whomever."""
    return one.chain == "PREROUTING" if one.legacy else "hook prerouting" in blocks(one).get(one.chain, [""])[0]


def _plain(text: str, port: int) -> str:
    """Return the rules of `iptables -S` as they are for what comes to a port of the host, in fewer words."""
    text = text.replace(" -m addrtype --dst-type LOCAL", "")
    return _MULTIPORT.sub(lambda found: f"--dport {port if _among(port, _spans(found[0])) else 0}", text)


def _among(port: int, spans: Collection[tuple[int, int]]) -> bool:
    return any(first <= port <= last for first, last in spans)


def _spans(text: str) -> set[tuple[int, int]]:
    """Return the ports that a table has rules about, from and to."""
    return {
        (int(first), int(last or first))
        for found in _PORTS.finditer(text)
        for first, last in _SPAN.findall(found["ports"])
    }


def _addresses(
    one: Filter, own: Collection[str], named: frozenset[str], outside: str | None, protocol: str, port: int
) -> Iterator[str]:
    """Yield the addresses of the host at which a port is led elsewhere, "0.0.0.0" or "::" where that is all."""
    for family in _FAMILIES[one.family]:
        packet = Packet(family, protocol=protocol, port=port, local=True)
        ways = [packet._replace(known=named)]  # by a link that no rule is about
        if outside and outside in named:
            ways.append(packet._replace(iif=outside, known=named))
        if any(set(outcomes(one, way)) == {DROP} for way in ways):
            yield _ANY[family]
            continue
        for address in sorted(set(_ADDRESS.findall(one.text)) & set(own)):
            if (":" in address) == (family == 6) and any(
                set(outcomes(one, way._replace(target=address))) == {DROP} for way in ways
            ):
                yield address


def _words(one: Filter, port: int) -> str:
    """Return which chain leads a port elsewhere, in words."""
    chain = next((name for name, rules in blocks(one).items() if _has(rules, port)), one.chain)
    return f"the firewall chain {'legacy ' if one.legacy else ''}{one.family} {one.table} {chain}"


def _has(rules: Sequence[str], port: int) -> bool:
    return any(_LEADS.search(rule) and _among(port, _spans(rule)) for rule in rules)
