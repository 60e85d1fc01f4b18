"""What a base chain of somebody else's would do with a packet, by the text of its rules.

A rule may look at more than is known of a packet, or than is understood here: then it may match, and both is possible.
So what is said to be certain is certain. Understood are nft's text (nft(8)) and that of `iptables -S` (iptables(8)).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import ip_address, ip_network
from types import MappingProxyType
from typing import NamedTuple

from .host import Filter

ACCEPT, DROP = "accept", "drop"
_ON = "on"
"""The packet has come to the end of a chain, or was sent back."""

_DEPTH = 16
"""How deep the kernel lets chains call each other (NFT_JUMP_STACK_SIZE in net/netfilter/nf_tables.h)."""

_BLOCK = re.compile(r"^\t(?:chain|set|map) (\S+) \{\n(.*?)^\t\}", re.DOTALL | re.MULTILINE)
_PROTOCOLS = {"icmpv6": "icmp", "ipv6-icmp": "icmp", "58": "icmp", "1": "icmp", "6": "tcp", "17": "udp", "132": "sctp"}
_NEIGHBOURS = {
    **dict.fromkeys(("nd-neighbor-solicit", "neighbour-solicitation", "neighbor-solicitation"), "135"),
    **dict.fromkeys(("nd-neighbor-advert", "neighbour-advertisement", "neighbor-advertisement"), "136"),
}
"""What nft and iptables call the types of neighbour discovery."""


class Packet(NamedTuple):
    """What is known of a packet. `iif` and `oif` are its links, None for some other one, which is none of `known`.

    `begins`: it is the first of a connection, else an answer. `led`: it was sent to another address or port (DNAT).
    `local`: it is for the host itself. `discovery`: it is one by which neighbours find each other by IPv6 (RFC 4861),
    of that type of ICMPv6: "135" asks, "136" answers; no connection is kept of them.
    What is "" or 0 is not known.
    """

    family: int
    iif: str | None = None
    oif: str | None = None
    begins: bool = True
    led: bool = False
    protocol: str = ""
    port: int = 0
    source: str = ""
    target: str = ""
    known: frozenset[str] = frozenset()
    local: bool = False
    discovery: str = ""

    @property
    def state(self) -> str:
        return "untracked" if self.discovery else "new" if self.begins else "established"


@lru_cache(maxsize=64)
def blocks(one: Filter) -> Mapping[str, list[str]]:
    """Return the chains, sets and maps of a table by their names, with the lines of each."""
    if one.legacy:
        rules = [line.split(" ", 2) for line in one.text.splitlines() if line.startswith("-A ")]
        return {name: [words[2] for words in rules if words[1] == name] for name in {words[1] for words in rules}}
    return {
        name: [line.strip() for line in block.splitlines() if line.strip()] for name, block in _BLOCK.findall(one.text)
    }


def outcomes(one: Filter, packet: Packet) -> Collection[str]:
    """Return what may become of a packet in a base chain: ACCEPT, DROP, or both where nobody can know."""
    walk = _Walk(blocks(one), packet, _iptables_rule if one.legacy else _nft_rule)
    found = walk.through(one.chain, 0)
    return found - {_ON} | ({one.policy} if _ON in found else set())


class _Rule(NamedTuple):
    """A rule as it meets a packet: whether it matches (None: it may), and what then happens.

    `does` is ACCEPT, DROP, "return", "jump", "goto", "any" (nobody knows) or "" for nothing that matters.
    """

    matches: bool | None
    does: str
    chain: str = ""


_NO = _Rule(False, "")


class _Walk(NamedTuple):
    """The way of a packet through the chains of a table."""

    blocks: Mapping[str, list[str]]
    packet: Packet
    read: Callable[[str, Packet, Mapping[str, list[str]]], _Rule]

    def through(self, chain: str, depth: int) -> set[str]:
        """Return what may become of the packet in a chain."""
        if depth > _DEPTH:
            return {ACCEPT, DROP}
        if chain not in self.blocks:
            return {_ON} if depth == 0 else {ACCEPT, DROP, _ON}
        found: set[str] = set()
        for line in self.blocks[chain]:
            rule = self.read(line, self.packet, self.blocks)
            if rule.matches is False or not rule.does:
                continue
            ends = self._done(rule, depth)
            found |= ends - ({_ON} if rule.does in ("jump", "any") else set())
            if rule.matches and not (rule.does in ("jump", "any") and _ON in ends):
                return found
        return found | {_ON}

    def _done(self, rule: _Rule, depth: int) -> set[str]:
        if rule.does in ("jump", "goto"):
            return self.through(rule.chain, depth + 1)
        return {"return": {_ON}, "any": {ACCEPT, DROP, _ON}}.get(rule.does, {rule.does})


# --- nft's text

_NOISE = re.compile(
    r'(?<!\S)(comment "[^"]*"|counter( packets \d+ bytes \d+)?'
    r'|log( (prefix "[^"]*"|(level|flags|group|snaplen|queue-threshold) \S+))*)(?!\S)'
)
_VERDICT = re.compile(r"(?:^|\s)(accept|drop|return|continue|queue.*|reject.*|(?:jump|goto) \S+)$")
_XT_REJECT = re.compile(r'xt target "REJECT"$|# xt_REJECT.*$')
_VALUE = r'(\{[^}]*\}|@\S+|"[^"]*"|\S+)'
_STATE_MAP = re.compile(r"ct state vmap \{([^}]*)\}$")
_CONDITIONS = re.compile(
    rf"(?P<link>[io]if(?:name)?) (?P<not_link>!= )?(?P<links>{_VALUE})"
    rf"|(?P<ct>ct (?:state|status)) (?P<not_ct>!= )?(?P<states>{_VALUE})"
    rf"|(?P<l3>meta nfproto) (?P<not_l3>!= )?(?P<l3s>{_VALUE})"
    rf"|(?P<l4>meta l4proto|ip protocol|ip6 nexthdr) (?P<not_l4>!= )?(?P<l4s>{_VALUE})"
    rf"|(?P<ip>ip6?) (?P<end>[sd]addr) (?P<not_ip>!= )?(?P<ips>{_VALUE})"
    rf"|(?P<fib>fib daddr type) (?P<not_fib>!= )?(?P<fibs>{_VALUE})"
    rf"|(?P<port>tcp|udp|sctp|th) dport (?P<not_port>!= )?(?P<ports>{_VALUE})"
    rf"|(?P<header>tcp|udp|sctp|icmp|icmpv6|ip6?) (?P<what>[a-z-]+) (?P<not_header>!= )?(?P<header_is>{_VALUE})"
)


class _Text(NamedTuple):
    """A rule of nft's, taken apart: its conditions, whether there are others that are not understood, what it does.

    `by_state` is what it does by the state of the connection, where that decides; `iif` the one link that it is about
    what comes in by, of which firewalls tend to have one rule after another.
    """

    conditions: tuple[re.Match[str], ...]
    vague: bool
    does: str = ""
    by_state: Mapping[str, str] = MappingProxyType({})
    iif: str = ""


def _nft_rule(line: str, packet: Packet, blocks: Mapping[str, list[str]]) -> _Rule:
    rule = _taken_apart(line)
    if rule.iif and packet.iif and rule.iif != packet.iif:
        return _NO
    does = rule.by_state.get(packet.state, "") if rule.by_state else rule.does
    if not does:
        return _NO
    answers = [_holds(found, packet, blocks) for found in rule.conditions]
    verdict, _, chain = does.partition(" ")
    return _Rule(_both([*answers, None] if rule.vague else answers), verdict, chain)


@lru_cache(maxsize=8192)
def _taken_apart(line: str) -> _Text:
    if line.startswith(("type ", "policy ", "comment ")):
        return _Text((), False)
    text = _XT_REJECT.sub("reject", " ".join(_NOISE.sub(" ", line).split()))
    if mapped := _STATE_MAP.search(text):
        pairs = (pair.strip().split(" : ", 1) for pair in mapped[1].split(",") if " : " in pair)
        by_state = {state: does.replace("continue", "") for state, does in pairs}
        return _conditions(text[: mapped.start()])._replace(by_state=by_state or {"": ""})
    if " vmap " in text:
        return _conditions(text.partition(" vmap ")[0].rpartition(" ")[0])._replace(vague=True, does="any")
    found = _VERDICT.search(text)
    if found is None:
        return _Text((), False)
    verdict = found[1].partition(" ")[0]
    does = {"reject": DROP, "continue": "", "queue": "any"}.get(verdict, found[1])
    return _conditions(text[: found.start()])._replace(does=does)


def _conditions(text: str) -> _Text:
    if " . " in text:  # several at once
        return _Text((), True)
    found = tuple(_CONDITIONS.finditer(text))
    only = (one["links"] for one in found if one["link"] in ("iif", "iifname") and not one["not_link"])
    iif = next((name.strip('"') for name in only if name.startswith('"') and "*" not in name), "")
    return _Text(found, bool(_CONDITIONS.sub("", text).strip()), iif=iif)


def _both(answers: Collection[bool | None]) -> bool | None:
    return False if False in answers else None if None in answers else True


def _not(answer: bool | None, negated: object) -> bool | None:
    return answer if answer is None or not negated else not answer


def _holds(found: re.Match[str], packet: Packet, blocks: Mapping[str, list[str]]) -> bool | None:
    """Return whether one condition holds."""
    if found["link"]:
        own = packet.iif if found["link"].startswith("i") else packet.oif
        return _not(_is_link(own, packet, _values(found["links"], blocks)), found["not_link"])
    if found["ct"]:
        return _not(_is_state(packet, _values(found["states"].replace(",", " "), blocks)), found["not_ct"])
    if found["l3"]:
        return _not(f"ipv{packet.family}" in _values(found["l3s"], blocks), found["not_l3"])
    if found["l4"]:
        return _not(_is_protocol(packet, _values(found["l4s"], blocks)), found["not_l4"])
    if found["ip"]:
        if (found["ip"] == "ip6") != (packet.family == 6):
            return False
        own = packet.source if found["end"] == "saddr" else packet.target
        return _not(_is_address(own, _values(found["ips"], blocks)), found["not_ip"])
    if found["port"]:
        named = found["port"] == "th" or _is_protocol(packet, [found["port"]])
        return _both([named, _not(_is_port(packet.port, _values(found["ports"], blocks)), found["not_port"])])
    if found["fib"]:
        kind = "local" if packet.local else "unicast"
        return None if packet.discovery else _not(kind in _values(found["fibs"], blocks), found["not_fib"])
    header, what = found["header"], found["what"]
    if header.startswith("ip") and (header == "ip6") != (packet.family == 6):
        return False
    if packet.discovery and (header, what) in (("icmpv6", "type"), ("ip6", "hoplimit")):
        values = _values(found["header_is"], blocks)
        return _not("255" in values if header == "ip6" else _is_discovery(packet, values), found["not_header"])
    return None if header.startswith("ip") else _is_protocol(packet, [header]) and None


def _values(text: str, blocks: Mapping[str, list[str]]) -> Sequence[str]:
    """Return the values that a condition names: one, those in braces, or those of a set; ["?"] where not known."""
    if text.startswith("@"):
        text = " ".join(blocks.get(text[1:], ()))
        if "elements = {" not in text:
            return [] if text else ["?"]
        text = text.partition("elements = {")[2]
    return _words(text)


@lru_cache(maxsize=8192)
def _words(text: str) -> Sequence[str]:
    return re.findall(r'[^\s,{}"]+', text)


def _is_link(own: str | None, packet: Packet, names: Collection[str]) -> bool | None:
    if own is not None:
        return (
            own in names
            or any("*" in one and fnmatchcase(own, one) for one in names)
            or (None if "?" in names else False)
        )
    return False if set(names) <= {*packet.known, "lo", packet.iif, packet.oif} else None


def _is_state(packet: Packet, states: Collection[str]) -> bool | None:
    """Return whether a connection is in one of the states.

    nft 1.0.6 says "ct status dnat" of what iptables has as RELATED,ESTABLISHED,DNAT.
    """
    if packet.state in states or ("dnat" in states and packet.led):
        return True
    known = {"new", "established", "related", "invalid", "untracked", "dnat"}
    return False if set(states) <= known and (packet.begins or "dnat" not in states) else None


def _is_discovery(packet: Packet, types: Collection[str]) -> bool | None:
    """Return whether a packet of neighbour discovery is of one of the types, by name or number; None for ranges."""
    numbers = {_NEIGHBOURS.get(one, one) for one in types}
    return packet.discovery in numbers or (None if any(one == "?" or one.count("nd-") > 1 for one in types) else False)


def _is_protocol(packet: Packet, names: Collection[str]) -> bool | None:
    if packet.discovery:
        return not {"icmpv6", "ipv6-icmp", "58"}.isdisjoint(names)
    return packet.protocol in {_PROTOCOLS.get(name, name) for name in names} if packet.protocol else None


def _is_address(own: str, prefixes: Collection[str]) -> bool | None:
    if not own:
        return None
    try:
        return any(ip_address(own) in ip_network(one, strict=False) for one in prefixes)
    except ValueError:
        return None


def _is_port(own: int, ports: Collection[str]) -> bool | None:
    """Return whether a port is one of those ("22", "80-89", "80:89" are understood)."""
    if not own:
        return None
    answers: list[bool | None] = []
    for one in ports:
        first, _, last = one.replace(":", "-").partition("-")
        known = first.isdecimal() and (last or first).isdecimal()
        answers.append(int(first) <= own <= int(last or first) if known else None)
    return True if True in answers else None if None in answers else False


# --- what iptables says


def _iptables_rule(line: str, packet: Packet, blocks: Mapping[str, list[str]]) -> _Rule:
    words, does, chain = iter(re.findall(r'"(?:[^"\\]|\\.)*"|\S+', line)), "", ""
    answers: list[bool | None] = []
    negated = False
    for word in words:
        if word == "!":
            negated = True
            continue
        if word in ("-j", "-g"):
            target = next(words, "")
            plain = {"ACCEPT": ACCEPT, "DROP": DROP, "REJECT": DROP, "RETURN": "return", "NFQUEUE": "any"}
            does = plain.get(target, ("jump" if word == "-j" else "goto") if target in blocks else "")
            chain = target
            break
        answers.append(_not(_option(word, words, packet), negated))
        negated = False
    return _Rule(_both(answers), does, chain)


def _option(word: str, words: Iterator[str], packet: Packet) -> bool | None:
    """Return whether an option of a rule holds; takes its value off the words."""
    value = next(words, "")
    if word in ("-i", "-o"):
        return _is_link(packet.iif if word == "-i" else packet.oif, packet, [value.replace("+", "*")])
    if word in ("-s", "-d"):
        return _is_address(packet.source if word == "-s" else packet.target, [value])
    if word == "-p":
        return _is_protocol(packet, [value])
    if word in ("--ctstate", "--state"):
        return _is_state(packet, value.lower().split(","))
    if word == "--dport":
        return _is_port(packet.port, [value])
    if packet.discovery and word in ("--icmpv6-type", "--hl-eq"):
        return _is_discovery(packet, [value]) if word == "--icmpv6-type" else value == "255"
    if word in ("-m", "--comment"):
        return True
    return None
