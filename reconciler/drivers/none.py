"""none: the container is on no network, with `lo` alone; what netapply had attached to it goes away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..manifest.model import EndpointSpec, NetworkSpec
from ..networks import Network
from ..resources import Resource
from . import Complaint, Traits

SUMMARY = "the container has its loopback link and nothing else"
TRAITS = Traits(addressed=False, exclusive=True)
OPTIONS: Mapping[str, Mapping[str, Any]] = {}


def check(network: NetworkSpec, endpoints: Sequence[EndpointSpec]) -> Iterator[Complaint]:
    yield from ()


def lower(network: Network) -> Iterator[Resource]:
    yield from ()
