"""Networks of plugins in documents: what others make, by CNI and by Docker's protocol, and what others' drivers say."""

from __future__ import annotations

import copy

from hypothesis import strategies as st

from . import ports, services
from .documents import Document, pairs
from .hosts import PARENTS, VLANS

_CHAINS = [
    {"plugins": [{"type": "bridge", "ipam": {"type": "host-local"}}]},
    {"plugins": [{"type": "bridge", "mtu": 1400}, {"type": "portmap", "capabilities": {"portMappings": True}}]},
    {"cniVersion": "0.4.0", "name": "podnet", "type": "ptp"},
    [{"type": "ptp"}, {"type": "tuning"}],
]
_MAPPED: Document = {"runtime_config": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}}
_OF_CNI = ("ipv4_address", "ipv6_address", "mac_address", "interface_name", "gw_priority")
_OF_DOCKER = (*_OF_CNI, "link_local_ips", "sysctls")
_KNOWN = {"cni": _OF_CNI, "docker-plugin": _OF_DOCKER, "segment": (*_OF_DOCKER, "aliases", "bandwidth")}
_KINDS = ["cni", "docker-plugin", "segment", ""]


@st.composite
def pairs_with_plugins(draw: st.DrawFn) -> tuple[Document, Document]:
    """Two manifests that share parts, in which plugins make some of the networks.

    `segment` is the driver that docs/drivers/exec.md shows: an executable, which the host of the tests must have.
    """
    first, second = draw(pairs(stock=True))
    chosen = {name: draw(st.sampled_from(_KINDS)) for name in sorted(first["networks"])}
    for document, swap in ((first, False), (second, True)):
        for name in sorted(document["networks"]):
            kind = chosen.get(name, "cni")
            if swap and draw(st.integers(0, 3)) == 0:
                kind = draw(st.sampled_from(_KINDS))
            if kind and name != "nothing":
                document["networks"][name] = draw(_network(kind, document["networks"][name]))
                _fit(document, name, _KNOWN[kind])
        _settle(document)
    return first, second


@st.composite
def _network(draw: st.DrawFn, kind: str, before: Document) -> Document:
    result: Document = {"driver": kind, **({"protect": True} if draw(st.integers(0, 4)) == 0 else {})}
    timeout = draw(st.sampled_from([{}, {"timeout": 9}]))
    if kind == "cni":
        chain = copy.deepcopy(draw(st.sampled_from(_CHAINS)))
        more: Document = draw(st.sampled_from([{}, {"cni_args": {"A": "b"}}, {"bin_dirs": ["/opt/cni"]}, _MAPPED]))
        if "runtime_config" in more and chain != _CHAINS[1]:  # whose portmap alone takes that
            more = {}
        return {**result, "driver_opts": {"conflist": chain, **copy.deepcopy(more), **timeout}}
    if kind == "segment":
        return {**result, **_kept(before), "internal": True, "driver_opts": draw(st.sampled_from([{}, {"stp": True}]))}
    opts = draw(st.sampled_from([{}, {"opts": {"colour": "red", "depth": 3}}]))
    kept = _kept(before, "internal", "routes")
    plugin = draw(st.sampled_from(["weave", "lab"]))
    return {**result, **kept, "driver_opts": {"plugin": plugin, **opts, **timeout}}


def _kept(before: Document, *more: str) -> Document:
    return {key: before[key] for key in ("ipam", "enable_ipv4", "metric", *more) if key in before}


def _fit(document: Document, name: str, known: tuple[str, ...]) -> None:
    """Take out of the endpoints on a network what its plugins have no room for."""
    for container in document["containers"].values():
        members = container["networks"]
        if isinstance(members, dict) and members.get(name):
            members[name] = {key: value for key, value in members[name].items() if key in known}


def _settle(document: Document) -> None:
    """Take out what needs a network to be as it was: who may open connections to it, who stands on its link."""
    networks = document["networks"]
    of_plugins = {name for name, one in networks.items() if one["driver"] in _KINDS}
    for one in networks.values():
        if "allow" in one:
            one["allow"] = [other for other in one["allow"] if other not in of_plugins]
        opts = one.get("driver_opts", {})
        if one["driver"] in ("macvlan", "ipvlan") and opts.get("parent", "eth0") not in (*PARENTS, *VLANS):
            opts["parent"] = "eth0"
    ports.settle(document)
    services.settle(document)
