"""The MACs of endpoints: given, else derived from the names, so that every run derives the same."""

from __future__ import annotations

from collections.abc import Mapping

from ..manifest.model import EndpointSpec, Manifest
from ..naming import mac_address
from .segments import Segment


class Macs:
    """MACs by endpoint, each given once: where another has the one that is derived, the next.

    Those on networks that span hosts come first, so that every host derives the same.
    """

    def __init__(self, manifest: Manifest, networks: Mapping[str, Segment]) -> None:
        self._project = manifest.project
        ends = [end for one in manifest.containers.values() for end in one.endpoints]
        self._used = {end.mac_address for end in ends if end.mac_address}
        shared = {name for name, one in networks.items() if one.traits.span}
        self._shared: dict[tuple[str, str], str] = {}
        for end in sorted(ends, key=lambda end: (end.container, end.network)) if shared else ():
            if end.network in shared:
                self._shared[end.container, end.network] = self._derived(end)

    def of(self, spec: EndpointSpec) -> str:
        return self._shared.get((spec.container, spec.network)) or self._derived(spec)

    def _derived(self, spec: EndpointSpec) -> str:
        if spec.mac_address:
            return spec.mac_address
        path = f"{spec.container}/{spec.network}"
        mac, attempt = mac_address(self._project, path), 0
        while mac in self._used:
            attempt += 1
            mac = mac_address(self._project, f"{path}#{attempt}")
        self._used.add(mac)
        return mac
