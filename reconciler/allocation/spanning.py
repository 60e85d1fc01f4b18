"""What networks that span hosts need settled: all but the MTU from the manifest alone, the same on every host.

docs/drivers/overlay.md says what follows for whoever writes manifests.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

from ..drivers import Traits
from ..errors import Problem
from ..host import Facts, HostLink
from ..manifest.model import Manifest, NetworkSpec
from ..manifest.words import listed
from ..naming import digest
from . import ipam
from .ipam import Pool, Prefix, Wish

FIRST_VNI, VNIS = 4096, 1 << 24
"""VNIs that are derived begin where a VLAN's number can't be taken for one; they have 24 bits (RFC 7348, 5)."""

ETHERNET_MTU, IPV6_MTU = 1500, 1280


def vnis(manifest: Manifest, names: Collection[str]) -> dict[str, int]:
    """Return the VNI of each of these networks: given, else derived from its name, else the next one that is free."""
    given = {name: manifest.networks[name].driver_opts.get("vni") for name in names}
    found = {name: int(vni) for name, vni in given.items() if vni is not None}
    used = set(found.values())
    for name in sorted(set(names) - found.keys()):
        room = VNIS - FIRST_VNI
        place = int.from_bytes(digest("vni", manifest.project, name)[:8]) % room
        while FIRST_VNI + place in used:
            place = (place + 1) % room
        found[name] = FIRST_VNI + place
        used.add(found[name])
    return found


def shares(manifest: Manifest, spec: NetworkSpec, traits: Traits, whole: Prefix) -> Mapping[str, Prefix | None] | None:
    """Return each host's own part of a subnet, None for a host that there is no room for; None: it is not cut."""
    length = traits.span and traits.span.share(spec.driver_opts, whole.family, whole.length)
    if length is None:
        return None
    hosts = sorted(manifest.hosts)
    if length < whole.length:
        return dict.fromkeys(hosts)
    wishes = [Wish(("share", spec.name, host), whole.family, length) for host in hosts]
    cut = ipam.cut(wishes, [Pool(whole, length)], project=manifest.project)
    return dict(zip(hosts, cut, strict=True))


def virtual(
    manifest: Manifest,
    spec: NetworkSpec,
    whole: Prefix,
    shares: Mapping[str, Prefix | None],
    path: Sequence[str | int],
    problems: list[Problem],
) -> Prefix | None:
    """Return the part of a cut subnet that virtual IPs are taken from, None where there are none, or no room for it.

    It is chosen after the hosts' own, so that services move none of them. Those that pin their addresses need none.
    """
    services = [one for one in manifest.services.values() if one.network == spec.name and one.mode == "vip"]
    hosts = [share for share in shares.values() if share]
    if not services or not hosts:
        return None
    length = hosts[0].length
    wish = Wish(("services", spec.name), whole.family, length)
    (part,) = ipam.cut([wish], [Pool(whole, length)], project=manifest.project, pinned=hosts)
    wanting = [one.name for one in services if not any((":" in vip) == (whole.family == 6) for vip in one.vip)]
    if part is None and wanting:
        what = f"subnet {whole} of network {spec.name} has a share for {len(hosts)} hosts, and none for virtual IPs"
        mend = (
            f"give it a wider one or a longer host_prefix_ipv{whole.family}, or pin `vip` of {listed(wanting, 'and')}"
        )
        problems.append(Problem(manifest.position(*path), what, mend))
    return part


def no_room(manifest: Manifest, spec: NetworkSpec, path: Sequence[str | int], whole: Prefix, left: int) -> Problem:
    """Return the problem that a subnet can't be cut for all hosts."""
    what = f"subnet {whole} of network {spec.name} has no share for {left} of {len(manifest.hosts)} hosts"
    return Problem(manifest.position(*path), what, f"give it a wider one, or a longer host_prefix_ipv{whole.family}")


def underlay(manifest: Manifest, facts: Facts) -> HostLink | None:
    """Return the link with this host's address, or the default route's where it is an address of `lo`."""
    if manifest.here is None:
        return None
    address = manifest.hosts[manifest.here].address
    for link in facts.links.values():
        if any(one.partition("/")[0] == address for one in link.addresses):
            return link if link.name != "lo" else facts.links.get(facts.default_link or "", link)
    return None


def lacks(manifest: Manifest, facts: Facts) -> Iterator[str]:
    """Yield what is missing for the host to take part."""
    if manifest.here is None:
        yield "it is not known which of the manifest's hosts this is; say it with --host NAME"
    elif underlay(manifest, facts) is None:
        address = manifest.hosts[manifest.here].address
        yield (
            f"the manifest says that host {manifest.here} has the address {address}, and no link of this host has it;"
            f" add it, or change hosts.{manifest.here}.address"
        )


def mtu(manifest: Manifest, spec: NetworkSpec, traits: Traits, facts: Facts, problems: list[Problem]) -> int:
    """Return the MTU: given, else that of the link between the hosts, less what a packet gets longer on it."""
    link = underlay(manifest, facts)
    address = manifest.hosts[manifest.here].address if manifest.here else ""
    overhead = traits.span.overhead(spec.driver_opts, 6 if ":" in address else 4) if traits.span else 0
    base = link.mtu if link and link.name != "lo" else ETHERNET_MTU
    most = base - overhead
    if spec.mtu is not None and spec.mtu > most and link:
        problems.append(
            Problem(
                manifest.position("networks", spec.name, "mtu"),
                f"network {spec.name} can't have an MTU of {spec.mtu}: the link {link.name} to the other hosts has "
                f"{base}, and {overhead} bytes go with every packet",
                f"set {most} at most, or raise that of {link.name}",
            )
        )
    if spec.mtu is None and spec.enable_ipv6 and most < IPV6_MTU:
        problems.append(
            Problem(
                manifest.position("networks", spec.name),
                f"network {spec.name} gets an MTU of {most} from the link to other hosts, and IPv6 needs {IPV6_MTU}",
                "raise that, or set `enable_ipv6: false`",
            )
        )
    return most if spec.mtu is None else spec.mtu
