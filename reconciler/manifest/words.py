"""Words for messages: what was probably meant, and what Compose has and netapply doesn't."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nlargest
from itertools import islice

_IMAGE = "there is no {} in netapply: it makes networks and runs no containers"
_NOT_YET = "there is no {} in netapply yet"

COMPOSE: dict[str, str] = {
    **dict.fromkeys(
        (
            *("image", "build", "command", "entrypoint", "environment", "env_file", "volumes", "depends_on", "restart"),
            *("healthcheck", "working_dir", "user", "cap_add", "cap_drop", "privileged", "deploy", "secrets"),
            *("configs", "container_name", "stop_signal", "tty", "stdin_open", "logging", "init", "platform"),
        ),
        _IMAGE,
    ),
    **dict.fromkeys(
        (
            *("expose", "extra_hosts"),
            *("hostname", "domainname", "links", "external_links", "attachable", "scale", "ignore_drift", "include"),
        ),
        _NOT_YET,
    ),
}
"""Keys of Compose, or of netapply's own plans, that a manifest can't have, and what to say of them."""

INSTEAD = {
    "network_mode": "put the container on a network of the driver host or none",
    "priority": "write gw_priority",
    "dns_search": "write it as dns: {search: ...}",
    "dns_opt": "write it as dns: {options: [...]}",
    "name": "the key above is the name; a bridge's own name is driver_opts.name",
}
"""Keys of Compose that have another place here."""

SANDBOXES = {
    "runc": "write {oci: ID, runtime: runc}",
    "crun": "write {oci: ID, runtime: crun}",
    "nspawn": "write machine",
    "systemd": "write machine",
    "compose": "write docker, and the container's name, such as shop-web-1",
    "container": "say whose: docker, podman, containerd, oci or machine",
    "name": "say whose: docker, podman, containerd, oci or machine",
    "id": "say whose: docker, podman, containerd, oci or machine",
    "path": "give a namespace that has a file elsewhere a name: `ip netns attach NAME PID`",
}
"""What is no kind of sandbox, and what to write."""

DOCKER_OPTIONS = {
    "com.docker.network.bridge.name": "write name",
    "com.docker.network.bridge.enable_icc": "write icc",
    "com.docker.network.bridge.enable_ip_masquerade": "write masquerade",
    "com.docker.network.bridge.gateway_mode_ipv4": "write gateway_mode_ipv4",
    "com.docker.network.bridge.gateway_mode_ipv6": "write gateway_mode_ipv6",
    "com.docker.network.bridge.inhibit_ipv4": "write inhibit_gateway",
    "com.docker.network.driver.mtu": "write mtu beside driver_opts",
    "com.docker.network.container_iface_prefix": "give the containers' networks an interface_name",
    "macvlan_mode": "write mode",
    "ipvlan_mode": "write mode",
    "ipvlan_flag": "write flag",
    "mtu": "write it beside driver_opts",
    "internal": "write it beside driver_opts",
}
"""Docker's names of driver options, and what to write."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean X?" for the known word that is nearest, empty where none is near.

    difflib is slow: of the first 500 words it sees only the 20 that begin and end most like this one.
    """
    from difflib import get_close_matches

    word = word[:100].lower()
    folded = {one[:200].lower(): one for one in islice(known, 500)}
    likely = nlargest(20, folded, key=lambda one: _ends_alike(word, one)) if len(folded) > 20 else folded
    found = get_close_matches(word, likely, n=1, cutoff=0.6)
    return f"did you mean {folded[found[0]]}?" if found else ""


def _ends_alike(one: str, other: str) -> int:
    start = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    ends = zip(reversed(one), reversed(other), strict=False)
    return start + next((at for at, (a, b) in enumerate(ends) if a != b), 0) - abs(len(one) - len(other))


def listed(words: Iterable[object], last: str = "or") -> str:
    """Return "a, b or c"."""
    texts = [str(word) for word in words]
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}" if len(texts) > 1 else "".join(texts)


def shown(value: object) -> str:
    """Return a value as a message shows it: short, on one line, in quotes where it is text."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value)
    text = text if len(text) <= 60 else text[:57] + "..."
    return ascii(text) if not text.isprintable() else (repr(text) if isinstance(value, str) else text)
