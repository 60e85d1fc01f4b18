"""Published ports in random manifests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from reconciler.networks import Topology

Document = dict[str, Any]

MOVING = "8080:80/udp"
"""A port that one container has and then another; of those that want it the first gets it."""


def ports(place: int) -> st.SearchStrategy[list[Any]]:
    """Return what a container publishes, by its place among them: nothing that another one wants, but for MOVING."""
    entries: list[Any] = [
        f"8{place}80:80",
        f"127.0.0.1:8{place}81:81/udp",
        f"9{place}00-9{place}02:90-92/tcp",
        3000,
        {"target": 3001, "protocol": "udp", "mode": "host"},
        {"target": 53, "published": f"8{place}53", "protocol": "sctp", "host_ip": "0.0.0.0"},
        MOVING,
    ]
    return st.lists(st.sampled_from(entries), unique_by=str, max_size=4)


binding = st.sampled_from(["127.0.0.1", "0.0.0.0", ["127.0.0.1", "::"]])
"""A bridge network's `host_binding`."""


def settle(document: Document) -> None:
    """Take away what can't be published: by no network of the container's, or twice."""
    moving = False
    for network in document["networks"].values():
        if network.get("internal") or network.get("external"):
            network.get("driver_opts", {}).pop("host_binding", None)
    for container in document["containers"].values():
        given = container.get("ports", [])
        able = {family for name in container["networks"] for family in published_in(document["networks"][name])}
        kept = [one for one in given if able and (4 in able or not _is_ipv4(one)) and not (one == MOVING and moving)]
        moving = moving or MOVING in kept
        container.pop("ports", None)
        if kept:
            container["ports"] = kept


def _is_ipv4(entry: Any) -> bool:
    return "." in (entry.get("host_ip", "") if isinstance(entry, dict) else str(entry))


def published_in(network: Document) -> set[int]:
    """Return the families in which ports are published by a network."""
    opts = network.get("driver_opts", {})
    if network.get("internal") or network.get("external") or network["driver"] in ("none", "cni", "docker-plugin"):
        return set()
    configs = network.get("ipam", {}).get("config", [])
    families = {6 if ":" in one["subnet"] else 4 for one in configs} or {4}
    if network["driver"] in ("macvlan", "ipvlan"):
        access = opts.get("host_access", False)
        given = [access] if isinstance(access, str) else access
        if isinstance(given, bool):
            return families if given else set()
        return families & {6 if ":" in one else 4 for one in given}
    if opts.get("inhibit_gateway"):
        return set()
    return {one for one in families if opts.get(f"gateway_mode_ipv{one}", opts.get("gateway_mode")) != "isolated"}


def pinned(document: Document, topology: Topology) -> None:
    """Write down the free ports that were chosen."""
    for name, container in document["containers"].items():
        for number, entry in enumerate(container.get("ports", [])):
            target, protocol = (entry, "tcp") if entry == 3000 else (3001, "udp")
            if entry == 3000 or (isinstance(entry, dict) and entry.get("target") == 3001):
                found = {
                    one.port
                    for one in topology.publications
                    if (one.owner, one.protocol, one.targets[0].port) == (name, protocol, target)
                }
                if found:
                    container["ports"][number] = f"{found.pop()}:{target}/{protocol}"
