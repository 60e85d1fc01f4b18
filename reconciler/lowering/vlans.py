"""VLANs of networks and endpoints: the options that say them, and the VLANs that a bridge and its ports are in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Endpoint, Network, entries
from ..resources import UPLINK, BridgeVlan, Option
from .outside import Fault

DEFAULT = 1
"""The VLAN of who says none: the kernel's own choice (IEEE 802.1Q-2018, table 9-2)."""

LAST = 4094
"""The highest number of a VLAN (IEEE 802.1Q-2018, 9.6: 0 and 4095 are not for use)."""

_NUMBERS = "[0-9]{1,4}(-[0-9]{1,4})?"
_VLAN = {"type": "integer", "minimum": 1, "maximum": LAST}
_TRUNK = {
    "type": ["array", "integer", "string"],
    "minimum": 1,
    "maximum": LAST,
    "pattern": f"^{_NUMBERS}(,{_NUMBERS})*$",
    "patternErrorMessage": "not numbers and ranges of VLANs such as 10,20-30",
    "items": {
        "type": ["integer", "string"],
        "minimum": 1,
        "maximum": LAST,
        "pattern": f"^{_NUMBERS}$",
        "patternErrorMessage": "not a number or a range of VLANs such as 20-30",
    },
}

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "vlan_filtering": {
        "type": "boolean",
        "default": False,
        "description": "Whether the bridge keeps VLANs apart; needs a kernel with CONFIG_BRIDGE_VLAN_FILTERING.",
    },
    "vlan": {
        **_VLAN,
        "default": DEFAULT,
        "description": "With vlan_filtering, the VLAN of endpoints that say none, of the host, and of frames without a "
        "tag on the uplink.",
    },
    "trunk": {
        **_TRUNK,
        "description": "With vlan_filtering, the VLANs that the uplink carries with their tags, such as [10, 20-30]; "
        "left out, all that endpoints are in.",
    },
}
"""A network's options."""

ENDPOINT_OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "vlan": {**_VLAN, "description": "The VLAN of the endpoint's frames without a tag; left out, the network's."},
    "trunk": {**_TRUNK, "description": "VLANs that the endpoint gets with their tags, such as [10, 20-30]."},
}
"""An endpoint's options."""


def faults(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Fault]:
    """Yield what the schemas can't say."""
    told = network.driver_opts
    filtering = bool(told.get("vlan_filtering"))
    if network.external:
        for option in OPTIONS.keys() & told.keys():
            what = f"network {network.name} is external, and what its bridge does with VLANs is not netapply's to say"
            yield Fault(option, what, "remove it; an endpoint's driver_opts may have vlan and trunk")
    for container, options in (("", told), *((one.container, one.driver_opts) for one in endpoints)):
        for option in ("vlan", "trunk"):
            if option not in options or (network.external and not container):
                continue
            if not filtering and not network.external:
                what = f"network {network.name} does not filter VLANs, so no {option}"
                yield Fault(option, what, "set vlan_filtering: true in its driver_opts, or remove it", container)
        yield from _trunk_faults(container, options)
    if "trunk" in told and "uplink" not in told and filtering:
        yield Fault("trunk", f"network {network.name} has no uplink to carry VLANs", "set uplink, or remove it")


def _trunk_faults(container: str, options: Mapping[str, Option]) -> Iterator[Fault]:
    try:
        told = list(ranges(options.get("trunk")))
    except ValueError:
        yield Fault("trunk", f"trunk is {options['trunk']}", "write numbers and ranges such as [10, 20-30]", container)
        return
    for first, last in told:
        if not 1 <= first <= last <= LAST:
            what = f"there are no VLANs from {first} to {last}"
            yield Fault("trunk", what, f"give numbers from 1 to {LAST}, the lower one first", container)
        elif container and first <= int(options.get("vlan", 0)) <= last:
            what = f"VLAN {options['vlan']} is the endpoint's without a tag and with one"
            yield Fault("trunk", what, "take it out of trunk", container)


def ranges(trunk: Option | None) -> Iterator[tuple[int, int]]:
    """Yield the ranges that a trunk option says: 10, "10,20-30", [10, "20-30"]; None says none. Raises ValueError."""
    for entry in entries(trunk):
        for word in str(entry).split(","):
            first, _, last = word.partition("-")
            yield int(first), int(last or first)


def has_own(network: Network, options: Mapping[str, Option]) -> bool:
    """Whether the VLANs of a port with such options are netapply's to say: always on a bridge of ours that filters."""
    if network.external:
        return not options.keys().isdisjoint(ENDPOINT_OPTIONS)
    return bool(network.options.get("vlan_filtering"))


def of_endpoint(network: Network, endpoint: Endpoint) -> Iterator[BridgeVlan]:
    """Yield the VLANs of an endpoint's port."""
    if has_own(network, endpoint.driver_opts):
        told = endpoint.driver_opts
        native = told.get("vlan", None if "trunk" in told else _native(network))
        yield from _memberships(endpoint.path, native, _numbers(told.get("trunk")))


def of_bridge(network: Network) -> Iterator[BridgeVlan]:
    """Yield the VLANs of the bridge itself, by which the host is in it, and of its uplink."""
    if not network.options.get("vlan_filtering"):
        return
    native = _native(network)
    yield from _memberships(network.name, native, ())
    if "uplink" in network.options:
        if "trunk" in network.options:
            tagged = _numbers(network.options["trunk"])
        else:
            tagged = {one.vid for endpoint in network.endpoints for one in of_endpoint(network, endpoint)} - {native}
        yield from _memberships(network.name + UPLINK, None if native in tagged else native, tagged)


def _native(network: Network) -> int:
    return int(network.options.get("vlan", DEFAULT))


def _numbers(trunk: Option | None) -> set[int]:
    return {number for first, last in ranges(trunk) for number in range(first, last + 1)}


def _memberships(path: str, native: Option | None, tagged: Iterable[int]) -> Iterator[BridgeVlan]:
    if native is not None:
        yield BridgeVlan(path, int(native), pvid=True, untagged=True)
    yield from (BridgeVlan(path, number) for number in sorted(tagged))


class Run(NamedTuple):
    """VLANs of successive numbers that are alike."""

    first: int
    last: int
    pvid: bool = False
    untagged: bool = False


def runs(vlans: Iterable[BridgeVlan]) -> Iterator[Run]:
    """Yield the VLANs of one port as runs, sorted. The one for frames without a tag is always by itself."""
    open_: Run | None = None
    for one in sorted(vlans, key=lambda one: one.vid):
        if open_ and not one.pvid and open_[1:] == (one.vid - 1, False, one.untagged):
            open_ = open_._replace(last=one.vid)
            continue
        if open_:
            yield open_
        open_ = Run(one.vid, one.vid, one.pvid, one.untagged)
    if open_:
        yield open_


def words(found: Iterable[Run]) -> str:
    """Return the numbers of runs as "10, 20-30"."""
    return ", ".join(str(run.first) if run.first == run.last else f"{run.first}-{run.last}" for run in found)
