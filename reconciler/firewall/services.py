"""Load balancing: whoever connects to a virtual IP is sent to one of the service's containers, in its own namespace.

The table of a sandbox is nothing but this; in the host's, it is one part. A connection's cost does not grow with the
number of services: one look-up finds the service's chain, another one in that the container whose turn it is.
docs/services.md follows packets through the rules.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import gcd
from typing import NamedTuple

from ..networks import Backend, Service, ServicePort
from ..resources import NftTable
from .text import Part, composed
from .turns import turn

CLOSED = "no_service"
"""The chain for what is at no port of a service."""

_REFUSE = ("ct state new meta l4proto tcp reject with tcp reset", "reject")
"""A socket that is connecting takes a reset at once, and an ICMP error at the next try only. Those that come here are
new: to ask has connections tracked, without which no chain of type nat is passed."""

_PINGS = {4: "icmp", 6: "ipv6-icmp"}
_ALL = ("tcp", "udp", "sctp")


def chain_name(service: str) -> str:
    """Return the name of the chain that sends to a service's containers."""
    return f"service_{service}"


def table(project: str, services: Sequence[Service], sandbox: str) -> NftTable | None:
    """Return a sandbox's table, None where no service has a virtual IP there."""
    made = composed(project, [balancing(services)])
    return made and NftTable(made.family, made.name, made.text, sandbox)


def balancing(services: Iterable[Service]) -> Part:
    """Return what sends connections to virtual IPs on. Services without one have no part in it."""
    ordered = sorted((one for one in services if one.vips), key=lambda one: one.name)
    families = [family for family in (4, 6) if any(_vip(one, family) for one in ordered)]
    collections = []
    rules: list[str] = []
    for family in families:
        type_ = f"ipv{family}_addr . inet_proto"
        ports, whole = sorted(_ports(ordered, family)), sorted(_whole(ordered, family))
        collections += [
            (f"map service_ports_ipv{family}", f"{type_} . inet_service : verdict", ports),
            (f"map services_ipv{family}", f"{type_} : verdict", whole),
        ]
        address = "ip daddr" if family == 4 else "ip6 daddr"
        if ports:
            rules.append(f"{address} . meta l4proto . th dport vmap @service_ports_ipv{family}")
        rules.append(f"{address} . meta l4proto vmap @services_ipv{family}")
    chains = {chain_name(one.name): list(_turns(one)) for one in ordered}
    if any(one.ports for one in ordered):
        chains[CLOSED] = [*_REFUSE]
    return Part(collections, {**chains, "nat_output": rules} if rules else {})


def _ports(services: Iterable[Service], family: int) -> Iterator[str]:
    for one in services:
        for protocol, target in {(port.protocol, port.target) for port in one.ports} if _vip(one, family) else ():
            yield f"{_vip(one, family)} . {protocol} . {target} : goto {chain_name(one.name)}"


def _whole(services: Iterable[Service], family: int) -> Iterator[str]:
    """Yield where a packet to a virtual IP goes, whatever its port: pings on, and all others if none are named.

    What is for another port is refused: nobody has the address, so that the client would wait for an answer.
    """
    for one in services:
        if vip := _vip(one, family):
            yield f"{vip} . {_PINGS[family]} : goto {chain_name(one.name)}"
            for protocol in _ALL:
                yield f"{vip} . {protocol} : goto {CLOSED if one.ports else chain_name(one.name)}"


def _vip(service: Service, family: int) -> str | None:
    return next((one for one in service.vips if (":" in one) == (family == 6)), None)


def _turns(service: Service) -> Iterator[str]:
    """Yield the rules that choose a container: each in turn, or by the client's address; one alone is not chosen."""
    for family in (4, 6):
        slots = _slots(service.backends, family)
        if not _vip(service, family) or not slots:
            continue
        ip = "ip" if family == 4 else "ip6"
        if len(set(slots)) == 1:
            yield f"dnat {ip} to {slots[0]}"
            continue
        places = ", ".join(f"{number} : {address}" for number, address in enumerate(slots))
        yield f"dnat {ip} to {turn(len(slots), family, service.affinity)} map {{ {places} }}"
    yield from _REFUSE


def _slots(backends: Sequence[Backend], family: int) -> list[str]:
    """Return the addresses of a family, each as often as it has a turn, and as far from itself as possible."""
    weights = [
        (address, one.weight) for one in backends for address in one.addresses if (":" in address) == (family == 6)
    ]
    common = gcd(*(weight for _, weight in weights)) if weights else 1
    turns = [(address, weight // common) for address, weight in weights]
    places = sorted(
        ((number + 0.5) / weight, place, address)
        for place, (address, weight) in enumerate(turns)
        for number in range(weight)
    )
    return [address for _, _, address in places]


class Spread(NamedTuple):
    """A service as a table has it: virtual IPs, how often each address has a turn, and ports ("tcp 80"), if named."""

    vips: tuple[str, ...]
    turns: Mapping[str, int]
    ports: tuple[str, ...] = ()
    affinity: bool = False


def recovered(text: str, network: str) -> list[Service]:
    """Return the services in a table's text, as ones of a network, of which it has the same chains again."""
    return [
        Service(
            name,
            network,
            spread.vips,
            tuple(Backend(address, (address,), turns) for address, turns in spread.turns.items()),
            tuple(ServicePort(int(port), protocol=protocol) for port, protocol in map(_parted, spread.ports)),
            spread.affinity,
        )
        for name, spread in sorted(spreads(text).items())
        if all(port[0].isdigit() for port in spread.ports)
    ]


def _parted(port: str) -> tuple[str, str]:
    number, _, protocol = port.partition("/")
    return number, protocol


_CHAIN = re.compile(r"\tchain service_(\S+) {\n(.*?)\n\t}", re.DOTALL)
_TO = re.compile(r"(?: to | : )([0-9a-f.:]*[.:][0-9a-f.:]*)")
_VIP = re.compile(r"([0-9a-f:.]+) \. (?:icmp|ipv6-icmp|1|58) : goto service_([^\s,]+)")
_PORT = re.compile(r"([0-9a-f:.]+) \. (tcp|udp|sctp) \. (\S+) : goto service_([^\s,]+)")


def virtual_ips(text: str) -> list[tuple[str, str]]:
    """Return the virtual IPs in a table's text, each with its service."""
    return _VIP.findall(text)


def spreads(text: str) -> dict[str, Spread]:
    """Return the services in a table's text, as nft lists it, by name."""
    vips: dict[str, list[str]] = {}
    for address, name in virtual_ips(text):
        vips.setdefault(name, []).append(address)
    ports: dict[str, dict[str, None]] = {}
    for _, protocol, port, name in _PORT.findall(text):
        ports.setdefault(name, {})[f"{port.strip(chr(34))}/{protocol}"] = None
    found: dict[str, Spread] = {}
    for name, body in _CHAIN.findall(text):
        turns: dict[str, int] = {}
        for line in body.splitlines():
            for address in _TO.findall(line) if "dnat " in line else ():
                turns[address] = turns.get(address, 0) + 1
        found[name] = Spread(tuple(vips.get(name, ())), turns, tuple(ports.get(name, ())), "jhash" in body)
    return found
