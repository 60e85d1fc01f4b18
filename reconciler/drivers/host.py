"""host: the container shares the host's own network namespace; there is nothing to make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Network
from ..resources import Resource
from . import Complaint, Traits

SUMMARY = "the container shares the host's own network namespace"
TRAITS = Traits(addressed=False, exclusive=True, in_host=True)
OPTIONS: Mapping[str, Mapping[str, Any]] = {}


def check(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
    if network.internal:
        yield Complaint(("internal",), "a host network is the host's own and can't be internal", "remove it")


def lower(network: Network) -> Iterator[Resource]:
    yield from ()
