"""The only door to effects: what a host can be asked and told.

There are two hosts: `reconciler.host.linux.LinuxHost` and `reconciler.host.fake.FakeHost`, a strict one in memory for
tests. One conformance test runs the same lists of changes through both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from ..errors import OperationFailed
from ..networks import SandboxRef
from ..plan import Change
from ..resources import Key, State


class Scope(NamedTuple):
    """What to observe: one project, and where the manifest says that its containers are."""

    project: str
    sandboxes: Mapping[str, SandboxRef]


@dataclass(frozen=True, slots=True)
class HostLink:
    """A link in the host's namespace that is not this project's. `owner` is a project's name, or None: foreign."""

    name: str
    kind: str
    mtu: int
    up: bool
    owner: str | None = None
    addresses: tuple[str, ...] = ()
    master: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the host is like, this project's own objects aside. Values, so that allocating and lowering are pure.

    - `links` are by name. `default_link` is the one that the IPv4 default route (else IPv6's) leaves by.
    - `routes` are the prefixes in the host's main table, default routes and those over this project's links left out;
      `nameservers` those of its resolver.
    - `pending` says why a container has no namespace yet; `in_host` names those whose sandbox is the host's own.
    - `taken` says what stands where something of ours might have to go, in words ("a bridge that netapply did not
      make"). Keys are those of resources, but for links, which are keyed by sandbox and interface name:
      Key("link", "web eth0"), in the host's namespace Key("link", " br0").
    - `guard` are the links among which the host's guard table drops forwarding, by family (4, 6).
    - `accept_ra` are the links that take router advertisements and would stop to once IPv6 forwarding is on.
    """

    links: Mapping[str, HostLink] = field(default_factory=dict)
    default_link: str | None = None
    routes: tuple[str, ...] = ()
    nameservers: tuple[str, ...] = ()
    pending: Mapping[str, str] = field(default_factory=dict)
    in_host: frozenset[str] = frozenset()
    taken: Mapping[Key, str] = field(default_factory=dict)
    forwarding_ipv4: bool = False
    forwarding_ipv6: bool = False
    accept_ra: tuple[str, ...] = ()
    guard: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


class Observation(NamedTuple):
    """One look at a host: what the project has there, and what else there is."""

    state: State
    facts: Facts


class Result(NamedTuple):
    """What became of one change: `error` is None when it was done."""

    change: Change
    error: OperationFailed | None = None


class Host(Protocol):
    """Where netapply acts. Not thread-safe."""

    def observe(self, scope: Scope) -> Observation:
        """Look, and change nothing. Raises NotPermitted where it may not look."""

    def observe_near(self, scope: Scope, containers: Collection[str]) -> State:
        """Look at some of the scope's containers only, and at what their endpoints are on. Raises as `observe` does.

        The state is what `resources.within` leaves of the whole. It is no ground for changes: nothing that stands in
        their way shows in it.
        """

    def canonical(self, desired: State) -> State:
        """Return the desired state in the form in which `observe` would report it (nft text as nft lists it)."""

    def apply(self, changes: Sequence[Change]) -> Iterator[Result]:
        """Make the changes, in order, and yield a result for each once it is known.

        Does not stop at a failure: the caller does, by not asking for more. Up to a batch of changes after a failed one
        may have been made by then; to observe again is the only way to know.
        """

    def lock(self, timeout: float) -> AbstractContextManager[None]:
        """Hold the host's lock, waiting for it `timeout` seconds at most. Raises LockHeld."""

    def release(self) -> None:
        """Let go of what was kept for rolling back (descriptors of deleted namespaces)."""
