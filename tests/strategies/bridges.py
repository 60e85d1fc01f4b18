"""What a bridge network has to do with other links of the host, and VLANs: in documents and in states."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from reconciler.resources import UPLINK, Port

from .hosts import CARD

Document = dict[str, Any]

SOURCE = "192.0.2.10"
"""An address that the hosts in tests have."""


@st.composite
def opened(draw: st.DrawFn, stock: bool) -> Document:
    """Options by which a bridge network has to do with other links. `stock`: VLANs among them."""
    told: Document = {
        "uplink": CARD,
        "snat_address": draw(st.sampled_from([SOURCE, [SOURCE]])),
        "trusted_interfaces": draw(st.sampled_from(["eth1", ["wg0", "eth1"]])),
    }
    if stock and draw(st.booleans()):
        told |= {"vlan_filtering": True, "vlan": draw(st.sampled_from([1, 10]))}
    if "vlan_filtering" in told and draw(st.booleans()):
        told["trunk"] = draw(_trunks)
    return {key: value for key, value in told.items() if key.startswith(("vlan", "trunk")) or draw(st.booleans())}


_trunks: st.SearchStrategy[Any] = st.sampled_from([30, "10,20-22", [1, "30-31"]])

endpoint_vlans: st.SearchStrategy[Document] = st.fixed_dictionaries(
    {}, optional={"vlan": st.sampled_from([10, 11]), "trunk": st.sampled_from([20, "20-22", [20, "30-31"]])}
)


def settle(document: Document) -> None:
    """Take out what contradicts itself: two uplinks of one link, ways out of what has none, VLANs of nobody."""
    taken = False
    for name, network in document["networks"].items():
        opts = network.get("driver_opts") or {}
        if network["driver"] == "bridge":
            _settle_one(network, opts)
            if taken:
                opts.pop("uplink", None)
            taken = taken or "uplink" in opts
            if "uplink" not in opts:
                opts.pop("trunk", None)
        filtering = network["driver"] == "bridge" and opts.get("vlan_filtering")
        for container in document["containers"].values():
            members = container["networks"]
            if isinstance(members, dict) and name in members and not filtering:
                members[name].pop("driver_opts", None)


def _settle_one(network: Document, opts: Document) -> None:
    if network.get("internal") or network.get("external"):
        for key in ("uplink", "snat_address", "trusted_interfaces", "vlan_filtering", "vlan", "trunk"):
            opts.pop(key, None)
    ipv4 = network.get("enable_ipv4", True)
    mode = opts.get("gateway_mode_ipv4", opts.get("gateway_mode", "nat"))
    if not ipv4 or mode != "nat" or opts.get("masquerade") is False:
        opts.pop("snat_address", None)


def port(network: str) -> Port:
    """Return the network's uplink, which was down before, as the hosts in tests have it."""
    return Port(network + UPLINK, CARD, network, found_up=False)
