"""Services of manifests, and tables in sandboxes."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from reconciler.networks import Topology
from reconciler.resources import NFT, Link, Netns, NftTable, Resource

from .hosts import CONTAINERS, NETWORKS, nft_table
from .ports import published_in

Document = dict[str, Any]

_ports: st.SearchStrategy[list[Any]] = st.sampled_from(
    [[80], ["53/udp", {"target": 80}], [{"target": 9, "protocol": "sctp"}], []]
)


@st.composite
def services(draw: st.DrawFn) -> Document:
    """Up to two services by name; `settle` takes out what the document has no network or container for."""
    names = draw(st.lists(st.sampled_from(["shop", "pay"]), unique=True, max_size=2))
    return {name: draw(_service(place)) for place, name in enumerate(names)}


@st.composite
def _service(draw: st.DrawFn, place: int) -> Document:
    number = draw(st.integers(0, len(NETWORKS) - 1))
    members = st.sampled_from([["*"], ["web"], ["*b"], ["db", "api"], ["api", "web"]])
    result: Document = {"network": NETWORKS[number], "containers": list(draw(members))}
    vips = [f"10.2{number}.0.13{place}", f"fd00:2{number}::13{place}"]
    optional = {
        "vip": st.sampled_from([vips[0], [vips[1]], vips]),
        "ports": st.one_of(_ports, _ports.map(lambda ports: [*ports, {"target": 8, "published": 7000 + place}])),
        "affinity": st.sampled_from(["client", "none"]),
        "weights": st.sampled_from([{"*": 3}, dict.fromkeys(CONTAINERS, 2)]),
        "endpoint_mode": st.sampled_from(["vip", "vip", "dnsrr"]),
    }
    return result | draw(st.fixed_dictionaries({}, optional=optional))


def settle(document: Document) -> None:
    """Take out the services that there is no network or container for, and of the others what does not fit."""
    if "services" not in document:
        return
    for name, service in list(document["services"].items()):
        network = document["networks"].get(service["network"], {"driver": "none"})
        options = network.get("driver_opts", {})
        near = [one for one, its in document["containers"].items() if service["network"] in its["networks"]]
        texts = [one for one in service["containers"] if _meant(one, near)]
        closed = network["driver"] in ("none", "host", "cni", "docker-plugin") or options.get("icc") is False
        if closed:
            del document["services"][name]
            continue
        if not texts:
            del document["services"][name]
            continue
        service["containers"] = texts
        _fit(service, network, [one for one in near if any(one in _meant(text, near) for text in texts)])
    if not document["services"]:
        del document["services"]


def _meant(text: str, near: Sequence[str]) -> list[str]:
    return [one for one in near if text in ("*", one) or (text == "*b" and one.endswith("b"))]


def _fit(service: Document, network: Document, members: Sequence[str]) -> None:
    families = {6 if ":" in one["subnet"] else 4 for one in network.get("ipam", {}).get("config", [])}
    if service.get("endpoint_mode") == "dnsrr":
        for key in ("vip", "affinity", "weights"):
            service.pop(key, None)
    if "vip" in service:
        given = [service["vip"]] if isinstance(service["vip"], str) else service["vip"]
        given = [one for one in given if (6 if ":" in one else 4) in families]
        service.pop("vip")
        if given:
            service["vip"] = given
    if not published_in(network):
        for one in service.get("ports", []):
            if isinstance(one, dict):
                one.pop("published", None)
    if "weights" in service:
        service["weights"] = {name: one for name, one in service["weights"].items() if name in ("*", *members)}


def pinned(document: Document, topology: Topology) -> None:
    """Write down the virtual IPs that were chosen."""
    for one in topology.services:
        if one.vips:
            document["services"][one.name]["vip"] = list(one.vips)


def taken_over(draw: st.DrawFn, mine: Document, theirs: Document) -> None:
    """Have one manifest's services be the other's, or none, or stay."""
    match draw(st.sampled_from(["as they were", "other", "none"])):
        case "other":
            mine.pop("services", None)
            if "services" in theirs:
                mine["services"] = copy.deepcopy(theirs["services"])
        case "none":
            mine.pop("services", None)


@st.composite
def tables(draw: st.DrawFn, resources: list[Resource]) -> list[Resource]:
    """The resources with a table in some of the sandboxes that have a link, whose tags say so."""
    linked = {one.inner[0] for one in resources if isinstance(one, Link)}
    chosen = {
        one.sandbox for one in resources if isinstance(one, Netns) and one.sandbox in linked and draw(st.booleans())
    }
    if not chosen:
        return resources
    marked = [
        replace(one, tags=(*one.tags, NFT)) if isinstance(one, Link) and one.inner[0] in chosen else one
        for one in resources
    ]
    made: list[NftTable] = [
        replace(nft_table(draw(st.sampled_from(["accept", "drop"]))), sandbox=name) for name in sorted(chosen)
    ]
    return [*marked, *made]
