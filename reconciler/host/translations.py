"""Ports of the host that rules of others lead elsewhere: nobody listens there, and the port has its owner all the same.

Container engines' port maps and routers' forwards are such. Only what is certain counts: a rule that asks for more than
a protocol, an address of the host's and a port, or for another link than that to the outside, is in nobody's way.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress

from ..firewall import owner_of
from ..verdicts import ACCEPT, DROP, Packet, blocks, outcomes
from . import Facts, Filter, Listener, coexistence

_FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
_ANY = {4: "0.0.0.0", 6: "::"}
_LEGACY = ("/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names")

_LEADS = re.compile(
    r'(?:xt target "(?:DNAT|REDIRECT)"|dnat (?:ip6? )?(?:prefix )?to .*|redirect(?: to .*)?|-j (DNAT|REDIRECT)\b.*)$',
    re.MULTILINE,
)
_PORTS = re.compile(r"dports? (?!!=)(?P<ports>\{[^}]*\}|\S+)")
_SPAN = re.compile(r"(\d+)(?:[-:](\d+))?")
_MULTIPORT = re.compile(r"-m multiport --dports \S+")
_ADDRESS = re.compile(r"(?:daddr|-d) ([0-9a-f.:]+)(?:/32|/128)?(?!\S)")
_LINK = re.compile(r'(?:iifname|iif|-i)(?: !=)? "?([^\s"{}]+)')


def leading(wanted: Collection[tuple[str, int]], facts: Facts) -> tuple[Listener, ...]:
    """Return those of the ports, by protocol and number, that tables of others lead elsewhere."""
    if not wanted or not _are_there():
        return ()
    own = frozenset(address.partition("/")[0] for link in facts.links.values() for address in link.addresses)
    return tuple(led(coexistence.filters(("nat",)), wanted, own, facts.default_link))


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
        if owner_of(one.text) is not None or one.family not in _FAMILIES or not _is_arriving(one):
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
