"""What is wrong with a host, or will be, and what mends it: `netapply doctor`.

Findings are a function of values: of an examination of the host and, with a manifest, of the plan for it. Nothing here
asks anybody or changes anything.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from ipaddress import ip_interface, ip_network
from typing import NamedTuple

from . import aside, coexistence, lacking, ours
from .host import SHAPING, VLAN_FILTERING, Facts, Filter, HostLink
from .incoming import DEFAULTS, incoming
from .plan import Plan
from .resources import HOST, Address, Link, NftTable, Port, Resource, Shaper, State
from .values import dataclass, field

OK, NOTE, WARNING, ERROR = SEVERITIES = ("ok", "note", "warning", "error")

LEAST_KERNEL, LEAST_NFT = (6, 1), (1, 0, 6)

KINDS = (
    *("bridge", "veth", "macvlan", "ipvlan", "vlan", "vxlan", "dummy", "wireguard", "ifb"),
    *(VLAN_FILTERING, SHAPING),
)
"""What a kernel may lack, as `Host.lacking` is asked."""

ALWAYS = frozenset({"bridge", "veth"})
"""What nothing works without."""

CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}
"""Those that netapply needs, by their numbers in linux/capability.h."""

_CALLS = {4: "net.bridge.bridge-nf-call-iptables", 6: "net.bridge.bridge-nf-call-ip6tables"}
_FORWARDING = {4: "net.ipv4.ip_forward", 6: "net.ipv6.conf.all.forwarding"}
_CONNECTIONS = ("net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max")
_FULL = 0.9
_UPPERS = ("macvlan", "ipvlan")
"""Kinds of links whose addresses are in a subnet of the link that they stand on, as they are to be."""
_UDP = re.compile(r"\budp \. (?:\S+ \. )?\d+ comment |\. udp (?:\. \d+ )?: goto service_")
"""What the text of a table has that publishes a port of UDP, or has a service of it."""


class Finding(NamedTuple):
    """One thing about a host. `severity` is "ok", "note", "warning" or "error": what is needed is not there.

    `mend` is a command to be run as root if `is_command`, else words; empty where nothing need be done.
    """

    subject: str
    severity: str
    what: str
    mend: str = ""
    is_command: bool = False


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found out of a host.

    `versions` are by the name of the program, `capabilities` the numbers of those that this process has, `lacks` what
    of KINDS the kernel has not, `nftables` why it can't be used, if so. `settings` are values under /proc/sys by name;
    what is not there is left out. `tables` are the texts of netapply's tables of all projects, `filters` the base
    chains of others, `programs` the programs of those asked for that there are. `forgets`: whether the kernel can be
    told to forget connections.
    """

    versions: Mapping[str, str] = field(default_factory=dict)
    capabilities: Collection[int] = tuple(CAPABILITIES)
    lacks: Collection[str] = ()
    nftables: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)
    tables: Sequence[str] = ()
    filters: Sequence[Filter] = ()
    facts: Facts = field(default_factory=Facts)
    programs: Collection[str] = ()
    forgets: bool = True


@dataclass(frozen=True, slots=True)
class Intention:
    """What a manifest means to do: what there is to be, how to get there, and why it would be refused.

    `failure` says why no plan could be made, and then the rest is empty. `mtus` are those of networks by name,
    `coexists`: `coexist: docker`.
    """

    desired: State = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    refusals: Sequence[str] = ()
    failure: str = ""
    mtus: Mapping[str, int] = field(default_factory=dict)
    coexists: bool = False


def findings(seen: Examination, meant: Intention | None = None) -> list[Finding]:
    """Return what there is to say of a host, in an order that is always the same."""
    found = [*_capabilities(seen), *_versions(seen)]
    if any(one.severity == ERROR for one in found if one.subject == "capabilities"):
        return found  # nothing else can be known
    parts: list[Callable[[Examination, Intention | None], Iterator[Finding]]] = [
        *(_kernel, _nftables, _conntrack, _forwarding, _rp_filter, _firewalls, _bridged),
        *(_mtu, _routes, _resolver, _manifest),
    ]
    return [*found, *(one for part in parts for one in part(seen, meant))]


def worst(found: Sequence[Finding]) -> str:
    """Return the severity of the worst finding."""
    return max((one.severity for one in found), key=SEVERITIES.index, default=OK)


def _capabilities(seen: Examination) -> Iterator[Finding]:
    missing = [name for number, name in CAPABILITIES.items() if number not in seen.capabilities]
    if missing:
        yield Finding("capabilities", ERROR, f"this process has not {' and '.join(missing)}", "run it as root (sudo)")
    else:
        yield Finding("capabilities", OK, f"this process has {' and '.join(CAPABILITIES.values())}")


def _versions(seen: Examination) -> Iterator[Finding]:
    yield Finding("versions", OK, ", ".join(f"{name} {version}" for name, version in seen.versions.items()))
    kernel, nft = seen.versions.get("Linux", ""), seen.versions.get("nft", "")
    if _number(kernel) and _number(kernel) < LEAST_KERNEL:
        yield Finding(
            "versions", WARNING, f"Linux {kernel} is older than 6.1, the oldest that is tried", "run a newer one"
        )
    if _number(nft) and _number(nft) < LEAST_NFT:
        yield Finding(
            "versions", WARNING, f"nft {nft} is older than 1.0.6, the oldest that is tried", "install a newer one"
        )


def _number(version: str) -> tuple[int, ...]:
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _kernel(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    needed = ALWAYS | _kinds(meant.desired if meant else {})
    there = [kind for kind in KINDS if kind not in seen.lacks]
    yield Finding("kernel", OK, f"the kernel has {', '.join(there)}")
    for kind in sorted(needed & set(seen.lacks)):
        yield Finding("kernel", ERROR, f"the kernel has no {kind}", lacking.mends(kind))
    if rest := [kind for kind in KINDS if kind in seen.lacks and kind not in needed]:
        what = f"the kernel has no {', '.join(rest)}, which nothing needs"
        yield Finding("kernel", NOTE, what if meant else what.replace("nothing needs", "some networks need"))


def _kinds(desired: State) -> set[str]:
    found = {one.kind for one in desired.values() if isinstance(one, Link)}
    if any(isinstance(one, Shaper) for one in desired.values()):
        found.add(SHAPING)
    if any(isinstance(one, Link) and one.options.get("vlan_filtering") is True for one in desired.values()):
        found.add(VLAN_FILTERING)
    return found


def _nftables(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    if seen.nftables:
        what, _, mend = seen.nftables.partition("; ")
        yield Finding("nftables", ERROR, what, mend)
    else:
        yield Finding("nftables", OK, "nftables answers")


def _conntrack(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    count, most = (int(seen.settings.get(name, 0)) for name in _CONNECTIONS)
    if not most:
        yield Finding(
            "conntrack", NOTE, "the kernel tracks no connections yet; the first rule that needs it has it do so"
        )
    elif count >= most * _FULL:
        what = f"{count} of {most} connections are tracked, and further ones will be dropped"
        yield Finding("conntrack", WARNING, what, f"sysctl -w {_CONNECTIONS[1]}={most * 2}", True)
    else:
        yield Finding("conntrack", OK, f"{count} of {most} connections are tracked")
    if not seen.forgets:
        meant_too = [one.text for one in meant.desired.values() if isinstance(one, NftTable)] if meant else []
        needed = any(_UDP.search(text) for text in (*seen.tables, *meant_too))
        what = "the kernel has no nf_conntrack_netlink: a UDP flow to a published port or a service that moves goes on"
        what += " to where it went until it pauses for two minutes"
        mend = "load the module (modprobe nf_conntrack_netlink), or run a kernel that has CONFIG_NF_CT_NETLINK"
        yield Finding("conntrack", WARNING if needed else NOTE, what, mend if needed else "")


def _links(seen: Examination, meant: Intention | None) -> Mapping[int, tuple[str, ...]]:
    """Return the links that the host forwards for, by family: those of all projects, and what the manifest adds."""
    return _of_all(ours.forwarding, seen, meant)


def _of_all(
    links: Callable[[State], Mapping[int, tuple[str, ...]]], seen: Examination, meant: Intention | None
) -> Mapping[int, tuple[str, ...]]:
    """Return those links, by family, of the tables of all projects, and of what the manifest adds."""
    both = [links(_applied(seen)), *([links(meant.desired)] if meant else [])]
    return {
        family: tuple(sorted({link for found in both for link in found.get(family, ())}))
        for family in (4, 6)
        if any(family in found for found in both)
    }


def _applied(seen: Examination) -> State:
    """Return the tables of all projects as resources."""
    tables = [NftTable("inet", str(at), text) for at, text in enumerate(seen.tables)]
    return {one.key: one for one in tables}


def _both(seen: Examination, meant: Intention | None) -> list[Resource]:
    """Return the tables of all projects, and what the manifest means there to be."""
    return [*_applied(seen).values(), *(meant.desired if meant else {}).values()]


def _obstacles(
    seen: Examination, meant: Intention | None, ports: Mapping[int, Collection[str]] | None = None
) -> list[coexistence.Obstacle]:
    links, entered = _links(seen, meant), _of_all(ours.entered, seen, meant)
    comes = incoming(_both(seen, meant), seen.facts.links)
    return coexistence.obstacles(seen.filters, links, bool(meant and meant.coexists), ports, entered, comes)


def _forwarding(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    for family, links in sorted(_links(seen, None).items()):
        if seen.settings.get(_FORWARDING[family]) == "0":
            what = f"the host forwards no IPv{family}: containers of {', '.join(links)} can reach nothing outside"
            yield Finding("forwarding", ERROR, what, f"sysctl -w {_FORWARDING[family]}=1", True)
    yield from _not_forwarded(seen, meant)
    said = [f"IPv{family} {'on' if seen.settings.get(name) == '1' else 'off'}" for family, name in _FORWARDING.items()]
    yield Finding("forwarding", OK, ", ".join(said))


def _not_forwarded(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    """Yield the links for which forwarding alone is off: of IPv4 only, since IPv6 has no such switch that matters."""
    if seen.settings.get(_FORWARDING[4]) != "1":
        return
    forwarded = _links(seen, meant).get(4, ())
    out = [name for name, link in seen.facts.links.items() if link.owner is None and DEFAULTS[4] in link.routes]
    for name in sorted({*forwarded, *(out if forwarded else ())}):
        if seen.settings.get(f"net.ipv4.conf.{name}.forwarding") == "0":
            what = f"{name} has IPv4 forwarding off: "
            what += (
                "what its containers send goes no further than the host"
                if name in forwarded
                else f"what comes in by it for containers of {', '.join(forwarded)} is dropped"
            )
            yield Finding("forwarding", ERROR, what, f"sysctl -w {_setting(name, 'forwarding')}=1", True)


def _setting(link: str, name: str) -> str:
    """Return an IPv4 setting of a link as sysctl takes it, whose name may have dots."""
    return f"net/ipv4/conf/{link}/{name}" if "." in link else f"net.ipv4.conf.{link}.{name}"


def _rp_filter(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    """Yield the ways out by which answers are dropped: strict checking, where there are several of them."""
    whole = int(seen.settings.get("net.ipv4.conf.all.rp_filter", 0))
    out = sorted(name for name, link in seen.facts.links.items() if "0.0.0.0/0" in link.routes)
    for name in out if len(out) > 1 else ():
        own = int(seen.settings.get(f"net.ipv4.conf.{name}.rp_filter", 0))
        if max(whole, own) == 1:
            what = (
                f"rp_filter is strict on {name}, one of {len(out)} ways out: what comes in by it and would be answered"
            )
            command = f"sysctl -w {_setting(name, 'rp_filter')}=2"
            yield Finding("rp_filter", WARNING, f"{what} by another is dropped", command, True)
    yield Finding("rp_filter", OK, f"net.ipv4.conf.all.rp_filter is {whole}")


def _firewalls(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    found = _obstacles(seen, meant, ours.asking(meant.desired) if meant else {})
    for one in found:
        yield Finding("firewall", WARNING, one.what, one.mend, not one.mend.startswith("say "))
    own = {name for name, one in seen.facts.links.items() if one.owner is not None and one.kind == "bridge"}
    bridges = sorted({*own, *ours.bridges((meant.desired if meant else {}).values())})
    comes = incoming(_both(seen, meant), seen.facts.links)
    besides = list(aside.dropped(seen.filters, aside.Ours(_links(seen, meant), bridges, comes)))
    for each in besides:
        yield Finding("firewall", WARNING if each.certain else NOTE, str(each), each.mend)
    if not found and not besides:
        others = sorted({f"{one.family} {one.table}" for one in seen.filters})
        yield Finding(
            "firewall", OK, f"no firewall of others is in the way{f' ({chr(44).join(others)})' if others else ''}"
        )


def _bridged(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    """Yield where frames within a network pass the firewalls of others, too, and are dropped there."""
    on = {family: name for family, name in _CALLS.items() if seen.settings.get(name) == "1"}
    forwarded, asked = _links(seen, meant), bool(meant and meant.coexists)
    for family, name in on.items():
        bridges = [*forwarded.get(family, ()), *_bridges(seen, family)]
        if stopping := coexistence.between(seen.filters, bridges, family, asked):
            chain = ", ".join(f"the firewall chain {one.chain}" for one in stopping)
            links = ", ".join(sorted({link for one in stopping for link in one.links}))
            what = f"{name} is 1: also IPv{family} between containers on {links} passes {chain}, and is dropped"
            yield Finding("bridges", WARNING, what, f"sysctl -w {name}=0", True)
    words = ", ".join(f"{name.rpartition('.')[2]} {seen.settings.get(name, 'absent')}" for name in _CALLS.values())
    yield Finding("bridges", OK, words)


def _bridges(seen: Examination, family: int) -> Iterator[str]:
    """Yield the bridges of networks with addresses of a family, those that the host forwards nothing for among them."""
    for name, one in seen.facts.links.items():
        own = [address for address in one.addresses if (":" in address) == (family == 6)]
        if one.owner is not None and one.kind == "bridge" and any(not address.startswith("fe80:") for address in own):
            yield name


def _mtu(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    way_out = seen.facts.links.get(seen.facts.default_link or "")
    if way_out is None:
        yield Finding(
            "mtu", NOTE, "the host has no default route, so that nothing tells which MTU networks should have"
        )
        return
    routed = {link for links in _links(seen, meant).values() for link in links}
    sizes = {name: one.mtu for name, one in seen.facts.links.items() if one.owner is not None and name in routed}
    for name, mtu in sorted((meant.mtus if meant else {}).items()) or sorted(sizes.items()):
        if mtu > way_out.mtu:
            what = f"{name} has an MTU of {mtu}, and {way_out.name}, by which packets leave, {way_out.mtu}: large ones"
            yield Finding(
                "mtu", WARNING, f"{what} are lost where nobody says so", f"give the network `mtu: {way_out.mtu}`"
            )
    yield Finding("mtu", OK, f"packets leave by {way_out.name}, whose MTU is {way_out.mtu}")


def _routes(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    """Yield the subnets of networks that the host has routes of others' into."""
    links = seen.facts.links.values()
    held = [
        (one.name, str(ip_interface(address).network))
        for one in links
        if one.owner and one.kind not in _UPPERS
        for address in one.addresses
    ]
    subnets = dict.fromkeys([*held, *_subnets(meant)])
    in_ours = {one.name for one in (meant.desired if meant else {}).values() if isinstance(one, Port)}
    theirs = [
        (one, prefix)
        for one in links
        if not one.owner and one.name != "lo" and one.name not in in_ours
        for prefix in _prefixes(one)
    ]
    count = 0
    for name, subnet in subnets:
        for other, prefix in theirs:
            if not subnet.startswith("fe80:") and _overlap(subnet, prefix):
                count += 1
                what = f"{subnet} of {name} overlaps with {prefix}, which the host reaches by {other.name}"
                mend = "give the network another subnet (ipam.config)"
                if prefix in other.routes:
                    mend += f", or remove the route: ip route del {prefix} dev {other.name}"
                yield Finding("routes", WARNING, what, mend)
    if not count:
        yield Finding("routes", OK, "no route of others leads into a subnet of a network")


def _subnets(meant: Intention | None) -> Iterator[tuple[str, str]]:
    """Yield the links of the host's that a manifest gives addresses, and the subnets of those."""
    desired = (meant.desired if meant else {}).values()
    links = {
        one.path: one.name
        for one in desired
        if isinstance(one, Link) and one.sandbox == HOST and one.peer is None and one.kind not in _UPPERS
    }
    for one in desired:
        if isinstance(one, Address) and one.link in links:
            yield links[one.link], str(ip_interface(one.address).network)


def _prefixes(link: HostLink) -> Iterator[str]:
    yield from (prefix for prefix in link.routes if prefix not in DEFAULTS.values())
    yield from (str(ip_interface(address).network) for address in link.addresses if not address.startswith("fe80:"))


def _overlap(one: str, other: str) -> bool:
    first, second = ip_network(one, strict=False), ip_network(other, strict=False)
    return first.version == second.version and first.overlaps(second)


def _resolver(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    servers = seen.facts.nameservers
    if not servers:
        what = "/etc/resolv.conf names no nameserver: nothing outside has a name for the host and its containers"
        yield Finding("resolver", WARNING, what, "echo nameserver 9.9.9.9 >> /etc/resolv.conf", True)
    else:
        yield Finding("resolver", OK, f"the host asks {', '.join(servers)}")
    wanted = bool(meant) and any(key.kind == "resolver" for key in (meant.desired if meant else {}))
    if "dnsmasq" not in seen.programs:
        severity = ERROR if wanted else NOTE
        yield Finding("resolver", severity, "there is no dnsmasq, which answers for names of containers",
                      "apt-get install -y dnsmasq-base", True)  # fmt: skip


def _manifest(seen: Examination, meant: Intention | None) -> Iterator[Finding]:
    if meant is None:
        return
    if meant.failure:
        for line in meant.failure.splitlines():
            yield Finding("manifest", ERROR, *_parted(line))
        return
    for refusal in meant.refusals:
        what, mend = _parted(refusal)
        yield Finding("manifest", WARNING, f"applying it would be refused: {what}", mend)
    count = len(meant.plan.changes)
    yield Finding("manifest", OK, f"{count} kernel objects to change" if count else "the host is as the manifest says")


def _parted(said: str) -> tuple[str, str]:
    """Return what an error says, and its mend, which comes last and after a semicolon; "" where there is none."""
    what, _, mend = said.rpartition("; ")
    return (what, mend) if what else (said, "")
