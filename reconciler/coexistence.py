"""Firewalls of others on the same host: which of them would drop packets that netapply lets pass, and what mends that.

An accept in one table is none in another: a packet passes only if every base chain lets it. Nothing of theirs is
changed; the one exception is what a manifest asks for with `coexist`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from .host import Filter
from .resources import LINK_GROUP, DnsServer, Link, NftTable, State

FAMILIES = {"ip": (4,), "ip6": (6,), "inet": (4, 6)}
"""The families of packets that a table of each family sees."""

_INTO = re.compile(r'(ipv[46]) \. "([^"]+)" : goto into_')
_QUOTED = re.compile(r'"([^"\s]+)"')
_OPTION = re.compile(r"(?<!\S)-[io] (\S+)")
_BLOCK = re.compile(r"^\t(?:chain|set|map) (\S+) \{\n(.*?)^\t\}", re.DOTALL | re.MULTILINE)
_NEXT = re.compile(r"(?:jump |goto |@|-[jg] )([^\s,;}]+)")
_DROPS = re.compile(r"(counter( packets \d+ bytes \d+)? )?(drop|reject\b.*)|-j (DROP|REJECT\b.*)")


class Obstacle(NamedTuple):
    """A base chain that would drop packets of some links of ours, why it would, and the command that mends it.

    `port`: what it drops are questions to resolvers that listen there, else it is what is forwarded.
    """

    filter: Filter
    links: tuple[str, ...]
    why: str
    mend: str
    port: int = 0

    @property
    def what(self) -> str:
        """What is dropped, in words."""
        whose = ", ".join(self.links)
        if self.port:
            what = f"containers of {whose} ask the host's resolvers (port {self.port})"
            return f"the firewall chain {self.chain} drops what {what}"
        return f"the firewall chain {self.chain} drops what is forwarded for {whose}"

    @property
    def chain(self) -> str:
        """The chain in words: "ip filter FORWARD (priority 0, policy drop)"."""
        one = self.filter
        legacy = "legacy " if one.legacy else ""
        return f"{legacy}{one.family} {one.table} {one.chain} (priority {one.priority}, {self.why})"


def forwarding(desired: State) -> Mapping[int, tuple[str, ...]]:
    """Return the links of networks that the host forwards for, by family: those that the project's table lets in to."""
    found: dict[int, set[str]] = {}
    for one in desired.values():
        if isinstance(one, NftTable):
            for family, link in _INTO.findall(one.text):
                found.setdefault(int(family[3]), set()).add(link)
    return {family: tuple(sorted(links)) for family, links in sorted(found.items())}


def asking(desired: State) -> Mapping[int, tuple[str, ...]]:
    """Return the ports at which resolvers of the project listen, each with the links of the networks that ask there."""
    links = {one.path: one.name for one in desired.values() if isinstance(one, Link)}
    found: dict[int, set[str]] = {}
    for one in desired.values():
        if isinstance(one, DnsServer):
            found.setdefault(one.port, set()).update(links[name] for name in one.networks if name in links)
    return {port: tuple(sorted(names)) for port, names in sorted(found.items())}


def obstacles(
    filters: Sequence[Filter],
    links: Mapping[int, Collection[str]],
    asked: bool = False,
    ports: Mapping[int, Collection[str]] | None = None,
) -> list[Obstacle]:
    """Return the base chains that would drop what is forwarded for those links, by family, or asked at those ports.

    `asked`: the manifest says `coexist: docker`, so that what DOCKER-USER accepts is netapply's to keep.
    """
    found: list[Obstacle] = []
    for one in filters:
        why = _why(one)
        if not why or one.family not in FAMILIES:
            continue
        text = _reached(one)
        if one.hook == "forward" and not (asked and _is_docker(one)):
            ours = sorted({link for family in FAMILIES[one.family] for link in links.get(family, ())})
            if left := tuple(link for link in ours if not _mentions(text, link)):
                found.append(Obstacle(one, left, why, _mend(one, left)))
        elif one.hook == "input":
            for port, names in (ports or {}).items():
                if left := tuple(link for link in names if not _mentions(text, link)):
                    found.append(Obstacle(one, left, why, _mend_input(one, left, port), port))
    return found


def remarks(
    filters: Sequence[Filter],
    links: Mapping[int, Collection[str]],
    asked: bool = False,
    ports: Mapping[int, Collection[str]] | None = None,
) -> Iterator[str]:
    """Yield a line for each base chain of others that would drop packets of the networks."""
    yield from (f"{one.what}; {one.mend}" for one in obstacles(filters, links, asked, ports))


def _why(one: Filter) -> str:
    """Return why packets that no rule speaks of do not pass a chain, empty where they do."""
    if one.policy == "drop":
        return "policy drop"
    rules = [line for line in dict(_blocks(one)).get(one.chain, ()) if not line.startswith("type ")]
    return f"its last rule is {rules[-1]}" if rules and _DROPS.fullmatch(rules[-1]) else ""


def _blocks(one: Filter) -> Iterator[tuple[str, list[str]]]:
    """Yield the chains, sets and maps of a table by their names, with the lines of each."""
    if one.legacy:
        rules = [line.split(" ", 2) for line in one.text.splitlines() if line.startswith("-A ")]
        yield from ((name, [words[2] for words in rules if words[1] == name]) for name in {words[1] for words in rules})
        return
    for name, block in _BLOCK.findall(one.text):
        yield name, [line.strip() for line in block.splitlines() if line.strip()]


def _reached(one: Filter) -> str:
    """Return the text of the rules that packets of a base chain may come to, and of the sets that those look into."""
    blocks, queue, reached = dict(_blocks(one)), [one.chain], {}
    while queue:
        name = queue.pop()
        if name not in reached and name in blocks:
            reached[name] = "\n".join(blocks[name])
            queue += _NEXT.findall(reached[name])
    return "\n".join(reached.values())


def _mentions(text: str, link: str) -> bool:
    """Whether rules speak of a link: whoever wrote that knows what is to happen with its packets."""
    patterns = {*_QUOTED.findall(text), *(name.replace("+", "*") for name in _OPTION.findall(text))} - {"*"}
    return any(fnmatchcase(link, pattern) for pattern in patterns) or f"ifgroup {LINK_GROUP}" in text


def _is_docker(one: Filter) -> bool:
    return one.table == "filter" and one.family in ("ip", "ip6") and "DOCKER-USER" in one.text


def _is_ufw(one: Filter) -> bool:
    return "ufw-" in one.text or "ufw6-" in one.text


def _is_iptables(one: Filter) -> bool:
    """Whether iptables can change it: of nftables only its own tables, in which all rules count."""
    own = one.family in ("ip", "ip6") and one.table == "filter" and one.priority == 0
    rules = (line for _, lines in _blocks(one) for line in lines if not line.startswith("type filter "))
    return one.legacy or (own and all("counter" in rule for rule in rules))


def _mend(one: Filter, links: Sequence[str]) -> str:
    """Return what has forwarded packets pass, in the words of whoever made the chain."""
    if _is_docker(one):
        return "say `coexist: docker` in the manifest, and netapply keeps accepts in DOCKER-USER"
    if one.table == "firewalld":
        return _trusted(links)
    if _is_ufw(one):
        return " && ".join(f"ufw route allow in on {link} && ufw route allow out on {link}" for link in links)
    if _is_iptables(one) and one.chain == "FORWARD":
        run = f"{_program(one)} -I FORWARD"
        return " && ".join(f"{run} {way} {link} -j ACCEPT" for link in links for way in ("-i", "-o"))
    rule, names = f"insert rule {one.family} {one.table} {one.chain}", ", ".join(f'"{link}"' for link in links)
    return f"nft '{rule} iifname {{ {names} }} accept; {rule} oifname {{ {names} }} accept'"


def _mend_input(one: Filter, links: Sequence[str], port: int) -> str:
    """Return what has questions to the resolvers pass, which listen at that port."""
    if one.table == "firewalld":
        return _trusted(links)
    if _is_ufw(one):
        return " && ".join(f"ufw allow in on {link} to any port {port}" for link in links)
    if _is_iptables(one) and one.chain == "INPUT":
        run = f"{_program(one)} -I INPUT"
        both = [f"{run} -i {link} -p {kind} --dport {port} -j ACCEPT" for link in links for kind in ("udp", "tcp")]
        return " && ".join(both)
    names = ", ".join(f'"{link}"' for link in links)
    match = f"iifname {{ {names} }} meta l4proto {{ tcp, udp }} th dport {port}"
    return f"nft 'insert rule {one.family} {one.table} {one.chain} {match} accept'"


def _trusted(links: Sequence[str]) -> str:
    words = " ".join(f"--add-interface={link}" for link in links)
    return f"firewall-cmd --permanent --zone=trusted {words} && firewall-cmd --reload"


def _program(one: Filter) -> str:
    return ("iptables" if one.family == "ip" else "ip6tables") + ("-legacy" if one.legacy else "-nft")
