"""Networks of plugins in documents: what others make, by CNI and by Docker's protocol."""

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
_OF_CNI = ("ipv4_address", "ipv6_address", "mac_address", "interface_name", "gw_priority")
_OF_DOCKER = (*_OF_CNI, "link_local_ips", "sysctls")


@st.composite
def pairs_with_plugins(draw: st.DrawFn) -> tuple[Document, Document]:
    """Two manifests that share parts, in which plugins make some of the networks."""
    first, second = draw(pairs(stock=True))
    chosen = {name: draw(st.sampled_from(["cni", "docker-plugin", ""])) for name in sorted(first["networks"])}
    for document, swap in ((first, False), (second, True)):
        for name in sorted(document["networks"]):
            kind = chosen.get(name, "cni")
            if swap and draw(st.integers(0, 3)) == 0:
                kind = draw(st.sampled_from(["cni", "docker-plugin", ""]))
            if kind and name != "nothing":
                document["networks"][name] = draw(_network(kind, document["networks"][name]))
                _fit(document, name, _OF_CNI if kind == "cni" else _OF_DOCKER)
        _settle(document)
    return first, second


@st.composite
def _network(draw: st.DrawFn, kind: str, before: Document) -> Document:
    result: Document = {"driver": kind, **({"protect": True} if draw(st.integers(0, 4)) == 0 else {})}
    timeout = draw(st.sampled_from([{}, {"timeout": 9}]))
    if kind == "cni":
        args = draw(st.sampled_from([{}, {"cni_args": {"A": "b"}}]))
        return {**result, "driver_opts": {"conflist": copy.deepcopy(draw(st.sampled_from(_CHAINS))), **args, **timeout}}
    opts = draw(st.sampled_from([{}, {"opts": {"colour": "red", "depth": 3}}]))
    kept: Document = {
        key: before[key] for key in ("ipam", "enable_ipv4", "internal", "routes", "metric") if key in before
    }
    plugin = draw(st.sampled_from(["weave", "lab"]))
    return {**result, **kept, "driver_opts": {"plugin": plugin, **opts, **timeout}}


def _fit(document: Document, name: str, known: tuple[str, ...]) -> None:
    """Take out of the endpoints on a network what its plugins have no room for."""
    for container in document["containers"].values():
        members = container["networks"]
        if isinstance(members, dict) and members.get(name):
            members[name] = {key: value for key, value in members[name].items() if key in known}


def _settle(document: Document) -> None:
    """Take out what needs a network to be as it was: who may open connections to it, who stands on its link."""
    networks = document["networks"]
    of_plugins = {name for name, one in networks.items() if one["driver"] in ("cni", "docker-plugin")}
    for one in networks.values():
        if "allow" in one:
            one["allow"] = [other for other in one["allow"] if other not in of_plugins]
        opts = one.get("driver_opts", {})
        if one["driver"] in ("macvlan", "ipvlan") and opts.get("parent", "eth0") not in (*PARENTS, *VLANS):
            opts["parent"] = "eth0"
    ports.settle(document)
    services.settle(document)
