"""What there is to tell of one plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from ..errors import Position
from ..networks import Topology
from ..plan import Plan

if TYPE_CHECKING:
    from ..engine import Proposal, Report
    from ..manifest.model import Manifest


class Content(NamedTuple):
    """What there is to tell of one plan.

    `networks` and `containers` are the manifest's names, in its order; `position` finds them in it, None where there is
    no manifest. `pending` says by container why it is not attached yet, `refusals` why the plan would not be carried
    out. `seconds` is how long that took, None if it was not carried out. `names` are containers by address, of those
    that serve.
    """

    project: str
    plan: Plan
    networks: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    position: Callable[..., Position] | None = None
    pending: Mapping[str, str] = MappingProxyType({})
    refusals: tuple[str, ...] = ()
    seconds: float | None = None
    names: Mapping[str, str] = MappingProxyType({})


def proposed(proposal: Proposal, manifest: Manifest | None) -> Content:
    """Return what there is to tell of a plan that is not carried out yet."""
    content = _content(proposal.topology, proposal.plan, manifest)
    return content._replace(pending=proposal.topology.pending, refusals=proposal.refusals)


def done(report: Report, manifest: Manifest | None) -> Content:
    """Return what there is to tell of a plan that was carried out."""
    content = _content(report.topology, report.plan, manifest)
    return content._replace(pending=report.pending, seconds=report.seconds)


def _content(topology: Topology, plan: Plan, manifest: Manifest | None) -> Content:
    content = Content(topology.project, plan, names=_serving(topology))
    if manifest is None:
        return content
    networks, containers = tuple(manifest.networks), tuple(manifest.containers)
    return content._replace(networks=networks, containers=containers, position=manifest.position)


def _serving(topology: Topology) -> dict[str, str]:
    """Return the containers that serve, or could, by their addresses."""
    networks = {service.network for service in topology.services}
    backends = (backend for service in topology.services for backend in service.backends)
    near = (endpoint for network in topology.networks if network.name in networks for endpoint in network.endpoints)
    return {
        **{address.partition("/")[0]: endpoint.container for endpoint in near for address in endpoint.addresses},
        **{address: backend.container for backend in backends for address in backend.addresses},
    }
