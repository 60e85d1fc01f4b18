"""Finding out what a host is like, for `reconciler.doctor`: nothing is changed, and what can't be known is left out."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from ..doctor import CAPABILITIES, KINDS, Examination
from ..errors import HostLacks, NetapplyError, OperationFailed
from . import ASIDE, Host, Scope, coexistence, conntrack, nft, sysctl

TIMEOUT = 10
"""Seconds that a program may take to say its version."""

SETTINGS = (
    *("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.rp_filter"),
    *("net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"),
    *("net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_max"),
)
PROGRAMS = ("dnsmasq", "nft", "iptables")
_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def examine(host: Host) -> Examination:
    """Return what there is to know. Without rights that is little."""
    seen = Examination(dict(_versions()), _capabilities(), programs=[one for one in PROGRAMS if _found(one)])
    if not set(CAPABILITIES) <= set(seen.capabilities):
        return seen
    facts = host.observe(Scope("", {})).facts
    names = [f"net.ipv4.conf.{link}.{name}" for link in facts.links for name in ("rp_filter", "forwarding")]
    with suppress(NetapplyError):  # a namespace to try in may not be had
        seen = replace(seen, lacks=host.lacking(KINDS))
    return replace(
        seen,
        nftables=_trouble(),
        settings={name: value for name in (*SETTINGS, *names) if (value := _setting(name)) is not None},
        tables=list(_tables()),
        filters=host.filters(("input", "forward", *ASIDE)),
        facts=facts,
        forgets=conntrack.can_forget(),
    )


def _setting(name: str) -> str | None:
    try:
        return sysctl.read(name)
    except OperationFailed:
        return None


def _versions() -> Iterator[tuple[str, str]]:
    from importlib import metadata

    from .._version import __version__

    yield "netapply", __version__
    yield "Linux", os.uname().release
    if program := _found("nft"):
        with suppress(OSError, subprocess.TimeoutExpired, IndexError):
            said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=TIMEOUT, check=False)
            yield "nft", said.stdout.split()[1].lstrip("v")
    yield "Python", platform.python_version()
    for package in ("pyroute2",):
        with suppress(metadata.PackageNotFoundError):
            yield package, metadata.version(package)


def _found(program: str) -> str | None:
    return shutil.which(program, path=_PATH)


def _capabilities() -> list[int]:
    """Return the numbers of the capabilities that this process has (proc(5), CapEff)."""
    with suppress(OSError), open("/proc/self/status", encoding="ascii") as file:
        for line in file:
            if line.startswith("CapEff:"):
                bits = int(line.split()[1], 16)
                return [number for number in range(64) if bits >> number & 1]
    return []


def _trouble() -> str:
    """Return why there are no tables of nftables here, empty where there can be some."""
    try:
        nft.generation()
        nft.read("inet", "netapply-doctor")
        if not _found("nft"):
            nft.run("list tables")  # by the library alone
    except (HostLacks, OperationFailed) as failure:
        return str(failure)
    return ""


def _tables() -> Iterator[str]:
    """Yield the texts of netapply's tables, of all projects."""
    for family, table in sorted({(row.family, row.table) for row in coexistence.chains()}):
        if family == "inet" and table.startswith("netapply"):
            with suppress(HostLacks, OperationFailed):
                if text := nft.read(family, table):
                    yield text
