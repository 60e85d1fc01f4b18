"""Observe, diff, apply, verify, roll back: the only place that knows this order."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import FrameType
from typing import NoReturn

from . import safety
from .allocation.allocate import allocate
from .errors import ApplyFailed, HostLacks, NetapplyError, OperationFailed, Refused, RollbackFailed
from .host import ASIDE, Host, Observation, Scope
from .lowering.lower import lower
from .manifest.model import Manifest
from .networks import Topology
from .placement import placed
from .plan import Change, Delete, Plan, Update, diff
from .resources import (
    HALF_MADE,
    Delegated,
    DnsHosts,
    DnsServer,
    Link,
    Netns,
    NftTable,
    State,
    Sysctl,
    subject,
    value_of,
    within,
)
from .retained import clashes, retained, retained_ports, retained_services, retained_zones
from .values import dataclass, field

FEW = 16
"""Up to how many touched containers are verified by themselves; with more, looking at all is about as quick."""

Progress = Callable[[int, int], None]
"""Called with how many changes are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to go about it. `prune`: remove what the project has and the manifest has not. `lock_timeout`: seconds.
    `here`: which of the manifest's hosts this is; None: its addresses tell.

    Raises ValueError for a time that never ends.
    """

    prune: bool = True
    force: bool = False
    strict: bool = False
    lock_timeout: float = 10.0
    here: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.lock_timeout < float("inf"):
            raise ValueError(f"lock_timeout is {self.lock_timeout}: no number of seconds that can pass")


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan and all that it was made of. `refusals` are why applying it would be refused, one line each."""

    plan: Plan
    topology: Topology
    desired: State
    observation: Observation
    refusals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What was done: `plan` was carried out, in `seconds`; `pending` says by container why it is not attached yet."""

    plan: Plan
    seconds: float
    topology: Topology
    pending: Mapping[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> tuple[str, ...]:
        return self.plan.notes


def plan(manifest: Manifest, host: Host, options: Options = Options()) -> Proposal:
    """Return what applying the manifest would do. Changes nothing and waits for nobody.

    Raises ManifestError for what turns out wrong only with the host in view, HostLacks for what the host lacks.
    """
    manifest = placed(manifest, host, options.here)
    observation = host.observe(scope_of(manifest))
    topology = allocate(manifest, observation)
    if options.strict and (missing := {**topology.pending, **observation.facts.unsure}):
        raise HostLacks("\n".join(f"container {name}: {why}" for name, why in sorted(missing.items())))
    desired = lower(topology, observation.facts)
    safety.missing(desired, observation.facts)
    if manifest.hosts:
        from .allocation import tunnels

        tunnels.demand_key(manifest, desired, host)
    in_the_way: tuple[str, ...] = ()
    if not options.prune:
        kept = retained(desired, observation.state)
        in_the_way = tuple(clashes(desired, kept))
        ports = retained_ports(topology, kept, observation.state)
        in_the_way += tuple(ports.clashes)
        topology = replace(topology, publications=ports.publications)
        zones = retained_zones(manifest.project, kept, observation.state)
        served = retained_services(topology, kept, observation.state)
        desired = {**kept, **lower(topology, observation.facts, zones, kept, served)}
    if topology.names:
        from .lowering import names

        unanswered = names.remarks(topology, desired.values(), observation.facts)
        topology = replace(topology, notes=(*topology.notes, *unanswered))
    if any(isinstance(one, Sysctl) or (isinstance(one, Link) and one.kind == "vxlan") for one in desired.values()):
        topology = replace(topology, notes=(*topology.notes, *_beside(topology, desired, observation, host)))
    proposal = _propose(host.canonical(desired), topology, observation, options, in_the_way)
    _probe(proposal, host)
    return proposal


def _beside(topology: Topology, desired: State, observation: Observation, host: Host) -> Iterator[str]:
    """Yield remarks on firewalls of others that drop what the host is to forward, or to take from other hosts."""
    filters = host.filters(("input", "forward", *ASIDE))
    if filters:
        from . import aside, coexistence, ours
        from .incoming import incoming

        links, ports = ours.forwarding(desired), ours.asking(desired)
        entered, comes = ours.entered(desired), incoming(desired.values(), observation.facts.links)
        yield from coexistence.remarks(filters, links, topology.coexist == "docker", ports, entered, comes)
        yield from aside.remarks(filters, aside.Ours(links, ours.bridges(desired.values()), comes))
    if topology.coexist:
        from .lowering import coexisting

        yield from coexisting.absent(observation.facts)


def _probe(proposal: Proposal, host: Host) -> None:
    """Raise HostLacks for kinds of link that the plan makes and the kernel can't. Tries only what is not seen to be."""
    from . import lacking

    kinds = lacking.unproven(proposal.plan, proposal.observation)
    if kinds and (refused := host.lacking(kinds)):
        raise HostLacks(lacking.complaint(refused, kinds))


def converge(manifest: Manifest, host: Host, options: Options = Options(), progress: Progress | None = None) -> Report:
    """Make the host what the manifest says, or leave it as it was.

    Raises Refused, HostLacks, ManifestError before anything is touched, ApplyFailed once all is back as before, and
    RollbackFailed when that failed too.
    """
    started = time.monotonic()
    manifest = placed(manifest, host, options.here)
    with host.lock(options.lock_timeout):
        proposal = plan(manifest, host, options)
        _carry_out(proposal, host, scope_of(manifest), progress)
    return Report(proposal.plan, time.monotonic() - started, proposal.topology, proposal.topology.pending)


def plan_destruction(project: str, host: Host, manifest: Manifest | None = None) -> Proposal:
    """Return what destroying the project would do: all of it goes, nothing else."""
    observation = host.observe(scope_of(manifest) if manifest else Scope(project, {}))
    return _propose({}, Topology(project), observation, Options(force=True))


def destroy(
    project: str,
    host: Host,
    options: Options = Options(),
    progress: Progress | None = None,
    manifest: Manifest | None = None,
) -> Report:
    """Remove all that the project owns, nothing else. Raises as `converge` does."""
    started = time.monotonic()
    with host.lock(options.lock_timeout):
        proposal = plan_destruction(project, host, manifest)
        _carry_out(proposal, host, scope_of(manifest) if manifest else Scope(project, {}), progress)
    return Report(proposal.plan, time.monotonic() - started, proposal.topology)


def scope_of(manifest: Manifest) -> Scope:
    """Return what must be looked at to plan the manifest."""
    sandboxes = {name: container.sandbox for name, container in manifest.containers_here.items()}
    shaped = any(end.bandwidth for container in manifest.containers_here.values() for end in container.endpoints)
    docker = manifest.coexist == "docker"
    alone: frozenset[str] = frozenset()
    if manifest.named:
        from .allocation import names

        alone = names.alone(manifest)
    return Scope(manifest.project, sandboxes, shaped, manifest.named, _published(manifest), docker, alone)


def _published(manifest: Manifest) -> frozenset[tuple[str, int]] | None:
    """Return the ports of the host that the manifest says are to lead to containers, None where none is to.

    A container's free port is not known yet: it is 0.
    """
    ports = [port for container in manifest.containers_here.values() for port in container.ports]
    services = [port for service in manifest.services.values() for port in service.ports if port.published]
    if not ports and not services:
        return None
    wanted = {(port.protocol, port.published or 0) for port in ports}
    return frozenset(wanted | {(port.protocol, port.published) for port in services if port.published})


def _propose(
    desired: State,
    topology: Topology,
    observation: Observation,
    options: Options,
    in_the_way: Sequence[str] = (),
) -> Proposal:
    observed, facts = observation
    notes = topology.notes
    if facts.uppers:
        from .allocation import parents

        borne = parents.borne(desired, observation)
        desired = {**desired, **borne}
        notes += tuple(parents.remarks(borne, facts))
    if facts.guests:
        from . import guests

        housing = guests.housing(desired, observation)
        desired = {**desired, **housing}
        notes += tuple(guests.remarks(housing, observation))
    changes = diff(desired, observed)
    if notes:
        changes = replace(changes, notes=(*notes, *changes.notes))
    refusals = [*safety.conflicts(changes, facts), *in_the_way]
    if facts.guests:
        refusals += guests.objections(changes.changes, observation)
    networks = [network.name for network in topology.networks]
    refusals += safety.protected(changes, networks)
    if not options.force:
        refusals += safety.excess(changes, networks, observed)
    return Proposal(changes, topology, desired, observation, tuple(refusals))


def _carry_out(proposal: Proposal, host: Host, scope: Scope, progress: Progress | None) -> None:
    """Apply the plan and verify that it did what it said; on any failure go back to what there was."""
    if proposal.refusals:
        raise Refused(proposal.refusals)
    if not proposal.plan:
        return
    try:
        with _interrupts() as interrupted:
            try:
                _apply(proposal.plan.changes, host, interrupted, progress or (lambda done, total: None))
                _verify(proposal, host, scope)
            except Exception as failure:  # noqa: BLE001 - whatever it was, the host must not stay half-changed
                _roll_back(proposal.observation.state, host, scope, failure)
    finally:
        host.release()


def _apply(changes: Sequence[Change], host: Host, interrupted: Callable[[], str], progress: Progress) -> None:
    """Make the changes. A failure ends it, but the deletes that follow one another are all tried."""
    failures: list[OperationFailed] = []
    for done, (change, error) in enumerate(host.apply(changes), 1):
        if error:
            failures.append(error)
        # to ask for the next result is to have the next change made
        if failures and not all(isinstance(one, Delete) for one in (change, *changes[done : done + 1])):
            break
        if signal_name := interrupted():
            raise ApplyFailed(f"interrupted by {signal_name}")
        progress(done, len(changes))
    if failures:
        raise ApplyFailed("\n".join(map(str, failures)))


def _verify(proposal: Proposal, host: Host, scope: Scope) -> None:
    """Raise ApplyFailed if the host is not what it should be now."""
    near, together = _touched(proposal.plan.changes), proposal.observation.facts.together
    near |= {other for name in near for other in together.get(name, ())} if together else set()
    if near and near <= scope.sandboxes.keys():
        remaining = diff(within(proposal.desired, near), host.observe_near(scope, near))
    else:
        remaining = diff(proposal.desired, host.observe(scope).state)
    if remaining:
        raise ApplyFailed("applied, but the host is not as it should be: " + ", ".join(_left(remaining)))


def _touched(changes: Sequence[Change]) -> set[str]:
    """Return the containers that the changes touch; none if they touch more than containers, or very many of them."""
    touched: set[str] = set()
    for change in changes:
        resource = change.before if isinstance(change, Delete) else change.after
        container, _ = subject(resource)
        elsewhere = isinstance(resource, Link) and resource.inner[0] != container
        if container is None or elsewhere or len(touched) > FEW:
            return set()
        touched.add(container)
    return touched


def _roll_back(before: State, host: Host, scope: Scope, failure: Exception) -> NoReturn:
    """Go back to the state of before and raise what says so.

    Not a list of inverse steps: what a failed batch did is only known by looking again. What a plugin had made that was
    broken before is left as it is by now: nobody can break it again in the same way.
    """
    kept_alive = (Delegated, DnsHosts, DnsServer)
    broken = {key for key, resource in before.items() if isinstance(resource, kept_alive) and not resource.healthy}
    wanted = {key: one for key, one in before.items() if not key.name.startswith(HALF_MADE) and key not in broken}

    def way_back() -> Plan:
        from . import guests
        from .allocation import parents

        now = host.observe(scope)
        # a setting that is no more went with its link, which was somebody else's, or a plugin's
        living = _without_the_dead(wanted, now.state)
        there = {key: one for key, one in living.items() if key in now.state or not isinstance(one, Sysctl)}
        back = {**guests.housing(wanted, now), **parents.borne(wanted, now), **there}
        return diff(back, {key: one for key, one in now.state.items() if key not in broken}, exact=True)

    errors: list[str] = []
    try:
        errors += [str(result.error) for result in host.apply(way_back().changes) if result.error]
        left = _left(way_back())
    except Exception as second:  # noqa: BLE001 - it is told, together with what went wrong first
        errors.append(str(second))
        left = ["unknown: the host can't be observed"]
    if left:
        raise RollbackFailed("\n".join([str(failure), "rolling back failed:", *errors]), left) from failure
    if isinstance(failure, NetapplyError):
        raise ApplyFailed(f"{failure}\nthe host is as it was before") from failure
    raise failure


def _without_the_dead(wanted: State, now: State) -> State:
    """Leave out those containers of others that have ended meanwhile: nobody can bring back what went with them."""
    dead = {one.sandbox for key, one in wanted.items() if isinstance(one, Netns) and one.adopted and key not in now}
    return {key: one for key, one in wanted.items() if subject(one)[0] not in dead} if dead else wanted


def _left(remaining: Plan) -> list[str]:
    return [f"{type(change).__name__.lower()} {change.key}{''.join(_wrong(change))}" for change in remaining.changes]


def _wrong(change: Change) -> Iterator[str]:
    """Yield what is and what should be, of an object that is there but different; a firewall's text is too long."""
    if isinstance(change, Delete) and isinstance(change.before, Delegated) and change.before.trouble:
        yield f" ({change.before.trouble})"
    if isinstance(change, Update) and not isinstance(change.after, NftTable):
        for name in change.fields:
            yield f" ({name} is {value_of(change.before, name)}, not {value_of(change.after, name)})"


@contextmanager
def _interrupts() -> Iterator[Callable[[], str]]:
    """Note SIGINT, SIGTERM and SIGHUP instead of dying of them; what is yielded names the one that came, or is ""."""
    came: list[str] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():  # only the main thread may set handlers
        yield lambda: ""
        return
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.signal(number, note) for number in signals}
    try:
        yield lambda: came[0] if came else ""
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
