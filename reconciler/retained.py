"""What stays with --no-prune: what the project has and the manifest does not name, its share of the firewall too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import firewall
from .resources import HALF_MADE, Address, Key, Link, Netns, NftTable, Resource, Route, State, subject

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

_ELEMENT = re.compile(r'(?:"[^"]*"|[^,"])+')


def retained(desired: State, observed: State) -> State:
    """Return the links that are not desired, with what is on them, and the namespaces; half-made things aside.

    The addresses and routes of links that are desired are the manifest's to say: an edit is not a removal.
    """
    links = {
        resource.path
        for key, resource in observed.items()
        if isinstance(resource, Link) and key not in desired and not resource.path.startswith(HALF_MADE)
    }

    def stays(resource: Resource) -> bool:
        match resource:
            case Link(path=path) | Address(link=path) | Route(link=str(path)):
                return path in links
            case _:
                return isinstance(resource, Netns)

    return {key: resource for key, resource in observed.items() if key not in desired and stays(resource)}


def clashes(desired: State, kept: State) -> Iterator[str]:
    """Yield a line for each kept thing that stands where a desired one has to go: the host would take both."""
    wanted = {place: key for key, resource in desired.items() for place in _places(resource)}
    for key, resource in sorted(kept.items()):
        for what, place in _places(resource):
            if (what, place) in wanted:
                yield f"{what} {place} is wanted by {wanted[what, place].name}, and --no-prune leaves {key.name}"
    bridges = [list(_host_networks(state)) for state in (desired, kept)]
    for path, ours in bridges[0]:
        for other, theirs in bridges[1]:
            if ours.version == theirs.version and ours.overlaps(theirs):
                yield f"subnet {ours} of network {path} overlaps with {theirs} of {other}, which --no-prune leaves"


def _places(resource: Resource) -> Iterator[tuple[str, str]]:
    """Yield what only one thing can have: the names of a link's ends, an endpoint's address on its network."""
    match resource:
        case Link(sandbox=sandbox, name=name):
            for holder, interface in sorted({(sandbox, name), resource.inner}):
                yield "interface", f"{interface} in {holder or 'the host'}"
        case Address(link=link, address=address) if "/" in link:
            yield "address", f"{address.partition('/')[0]} on network {subject(resource)[1]}"


def _host_networks(state: State) -> Iterator[tuple[str, IPv4Network | IPv6Network]]:
    """Yield the subnets that the host itself is in, by the networks' own links; link-local ones are on every link."""
    from ipaddress import ip_interface

    for one in state.values():
        if isinstance(one, Address) and "/" not in one.link and not one.address.startswith("fe80:"):
            yield one.link, ip_interface(one.address).network


def retained_zones(project: str, kept: State, observed: State) -> Iterator[firewall.Zone]:
    """Yield the zones of networks that stay, read back from the table that was made for them."""
    table = observed.get(Key("nft", f"{firewall.FAMILY} {firewall.table_name(project)}"))
    if not isinstance(table, NftTable):
        return
    names = {link.name: link.path for link in observed.values() if isinstance(link, Link) and "/" not in link.path}
    verdicts = dict(_verdicts(table.text, "map into"))
    between = dict(_verdicts(table.text, "map between"))
    translated = {_names(element)[0] for family in (4, 6) for element in _elements(table.text, _masquerade(family))}
    for link in kept.values():
        if not isinstance(link, Link) or f'"{link.name}"' not in _elements(table.text, "set zones"):
            continue
        modes = {
            family: verdicts.get(f'ipv{family} . "{link.name}"', "goto into_isolated").removeprefix("goto into_")
            for family in (4, 6)
        }
        opened = [_names(pair) for pair, verdict in between.items() if verdict == "accept"]
        yield firewall.Zone(
            network=link.path,
            interface=link.name,
            subnets=tuple(sorted(_subnets(kept, link.path))),
            mode_ipv4=modes[4],
            mode_ipv6=modes[6],
            icc=[link.name, link.name] in opened,
            masquerade=link.name in translated,
            allow=tuple(sorted(names[b] for a, b in opened if a == link.name != b and b in names)),
        )


def _masquerade(family: int) -> str:
    return f"set masquerade_ipv{family}"


def _elements(text: str, head: str) -> list[str]:
    """Return the elements of a set or a map in a table's text, as nft lists it."""
    block = text.partition(f"\t{head} {{")[2].partition("\n\t}")[0]
    inside = block.partition("elements = {")[2].rpartition("}")[0]
    return [stripped for element in _ELEMENT.findall(inside) if (stripped := element.strip())]


def _verdicts(text: str, head: str) -> Iterator[tuple[str, str]]:
    for element in _elements(text, head):
        key, _, verdict = element.rpartition(" : ")
        yield key, verdict


def _names(element: str) -> list[str]:
    """Return the quoted names in an element."""
    return element.split('"')[1::2]


def _subnets(kept: State, network: str) -> set[str]:
    """Return the subnets that the addresses on a network are in."""
    from ipaddress import ip_interface  # 5 ms, and needed by nobody else on this path

    addresses = [one.address for one in kept.values() if isinstance(one, Address) and subject(one)[1] == network]
    return {str(ip_interface(address).network) for address in addresses}
