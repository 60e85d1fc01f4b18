"""Bandwidth in manifests, and the queues that it makes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from reconciler.lowering.shaping import shaped
from reconciler.networks import Bandwidth, Rate
from reconciler.resources import Link, Resource

_rates = st.sampled_from([200_000, 10_000_000, 800_000_000, 40_000_000_000])
_words = st.sampled_from(
    ["500kbit", "10mbit", 2_000_000, "1gbit", {"rate": "10mbit"}, {"rate": "1.5mbit", "burst": "64kb"}]
)

bandwidth: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries({}, optional={"ingress": _words, "egress": _words})
"""What an endpoint says of it."""

_bandwidths = st.builds(
    Bandwidth,
    st.one_of(st.none(), st.builds(Rate, _rates, st.sampled_from([None, 40_000]))),
    st.one_of(st.none(), st.builds(Rate, _rates)),
)


def queues(link: Link) -> st.SearchStrategy[list[Resource]]:
    """Return an endpoint with queues, or without."""
    return st.one_of(st.just([link]), _bandwidths.map(lambda one: _shaped(link, one)))


def _shaped(link: Link, bandwidth: Bandwidth) -> list[Resource]:
    return list(shaped([replace(link)], "shop", {link.path: (bandwidth, 1500)}))


def settle(document: dict[str, Any]) -> None:
    """Take bandwidth from where no veth pair is."""
    for container in document["containers"].values():
        members = container["networks"]
        for name in members if isinstance(members, dict) else ():
            driver = document["networks"].get(name, {}).get("driver", "bridge")
            if driver not in ("bridge", "overlay"):
                members[name].pop("bandwidth", None)
