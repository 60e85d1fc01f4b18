"""Rules for hosts: who they are, which containers are on them, and what networks that span them need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from . import ip
from .model import Manifest
from .rules import Finding, Subject
from .words import did_you_mean, listed, shown

_LINK_LOCAL = ip.Prefix(4, 0xA9FE << 16, 16)  # RFC 3927; IPv6's is among the special ones


def findings(manifest: Manifest, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield what is wrong with the hosts, with who is on which, and with the networks between them."""
    spanning = {name: subject for name, subject in subjects.items() if subject.driver.TRAITS.span}
    known = set(manifest.hosts)
    yield from _addresses(manifest)
    for name, container in manifest.containers.items():
        if container.host is not None and container.host not in known:
            mend = did_you_mean(container.host, known) or "add it under hosts, with its address"
            what = f"there is no host {shown(container.host).strip(chr(39))}"
            yield Finding(("containers", name, "host"), what, mend)
        over = [end.network for end in container.endpoints if end.network in spanning]
        if container.host is None and known and over:
            what = f"container {name} is on network {over[0]}, which spans hosts, and does not say on which it is"
            yield Finding(("containers", name), what, f"set host: {listed(sorted(known)[:8])}")
    for subject in spanning.values():
        if not known:
            what = f"network {subject.spec.name} spans hosts ({subject.spec.driver}), and there are none"
            yield Finding((*subject.path, "driver"), what, "add hosts: {NAME: {address: ADDRESS}, ...}")
        yield from _swallowed(manifest, subject)
    yield from _keys(manifest)
    if spanning:
        yield from _ports(manifest, spanning)
        yield from _families(manifest)
        yield from _same_vni(spanning)


def _addresses(manifest: Manifest) -> Iterator[Finding]:
    seen: dict[str, str] = {}
    for name, host in manifest.hosts.items():
        found = ip.address(host.address) or (4, 0)
        path = ("hosts", name, "address")
        kind = "link-local" if ip.is_in(found, _LINK_LOCAL) else ip.special(ip.Prefix(*found, ip.BITS[found[0]]))
        if kind:
            what = f"host {name} has the {kind} address {host.address}, by which others can't reach it"
            yield Finding(path, what, "give one that they can")
        elif (other := seen.setdefault(host.address, name)) != name:
            what = f"hosts {other} and {name} have the same address {host.address}"
            yield Finding(path, what, "give each its own")


def _keys(manifest: Manifest) -> Iterator[Finding]:
    """Yield hosts with the key of another one: they could not tell each other apart."""
    seen: dict[str, str] = {}
    for name, host in manifest.hosts.items():
        if host.public_key is not None and (other := seen.setdefault(host.public_key, name)) != name:
            what = f"hosts {other} and {name} have the same public_key"
            mend = "run `netapply keys --write` on each, with a key of its own"
            yield Finding(("hosts", name, "public_key"), what, mend)


def _ports(manifest: Manifest, spanning: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield hosts whose WireGuard port is one that VXLAN needs."""
    options = [subject.spec.driver_opts for subject in spanning.values()]
    used = {int(one.get("port", 4789)): name for name, one in zip(spanning, options, strict=True)}
    for name, host in manifest.hosts.items():
        if host.wireguard_port in used and any(one.get("encrypted") for one in options):
            port = host.wireguard_port
            what = f"host {name} has WireGuard at UDP port {port}, where network {used[port]} is"
            yield Finding(("hosts", name, "wireguard_port"), what, "choose another")


def _families(manifest: Manifest) -> Iterator[Finding]:
    """Yield hosts that can't send to the first one: what is between two hosts is of one family."""
    hosts = list(manifest.hosts.values())
    for host in hosts[1:]:
        if (":" in host.address) != (":" in hosts[0].address):
            mine, theirs = (6 if ":" in one.address else 4 for one in (host, hosts[0]))
            what = f"host {host.name} has an IPv{mine} address, and host {hosts[0].name} an IPv{theirs} one"
            yield Finding(("hosts", host.name, "address"), what, "networks that span hosts need one family on all")


def _swallowed(manifest: Manifest, subject: Subject) -> Iterator[Finding]:
    """Yield subnets that hosts are in themselves: what goes there would never leave for the other host."""
    for entry in subject.entries:
        for host in manifest.hosts.values():
            if not entry.sized and ip.is_in(ip.address(host.address) or (0, 0), entry.subnet):
                what = f"subnet {entry.subnet} of network {subject.spec.name} has the address of host {host.name} in it"
                path = (*subject.path, "ipam", "config", entry.number, "subnet")
                yield Finding(path, what, "choose another")
                break


def _same_vni(spanning: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield networks that claim one number: hosts could not tell their packets apart."""
    seen: dict[object, str] = {}
    for subject in spanning.values():
        options, name = subject.spec.driver_opts, subject.spec.name
        if (vni := options.get("vni")) is not None and (other := seen.setdefault(vni, name)) != name:
            what = f"networks {other} and {name} have the same VNI {vni}"
            yield Finding((*subject.path, "driver_opts", "vni"), what, "choose another, or leave it out")
