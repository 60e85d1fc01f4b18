"""How fast an endpoint may send and receive."""

from __future__ import annotations

from typing import ClassVar

from ..values import dataclass
from .names import Key

IFB = "#ifb"
"""How the path of the link ends by which what a container sends goes, to be held up: "web/front#ifb"."""

SHAPED = "shaped"
"""The tag of an endpoint with bandwidth; the queues of others are not looked at."""

TICK = 64
"""Nanoseconds in the unit that the kernel has bursts in (PSCHED_SHIFT of net/pkt_sched.h)."""

HEADER = 18
"""Bytes that a packet may have beside its MTU: an Ethernet header and a VLAN tag."""

LONGEST_BURST = 4
"""Seconds that a burst may last at its rate: older kernels have 32 bits of nanoseconds for it (net/sched/sch_tbf.c)."""


@dataclass(frozen=True, slots=True)
class Shaper:
    """A queue (qdisc tbf) that lets packets leave by a link at a rate, in bit/s, a multiple of 8.

    `link` "web/front" is what the container receives, held up at the host's end of its veth pair. "web/front#ifb" is
    what it sends: redirected from there as it comes in (`redirect`), so that nobody in the container can take it away.
    `burst` and `limit` are bytes: what may leave at once, and what may wait, the rest being dropped. A rate of 0 is
    observed only: the queue is not there. `redirect` None: there is none to be.
    """

    KIND: ClassVar[str] = "shaper"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()

    link: str
    rate: int
    burst: int
    limit: int
    redirect: bool | None = None

    @property
    def key(self) -> Key:
        return Key("shaper", self.link)

    @property
    def endpoint(self) -> str:
        """The path of the endpoint whose packets they are."""
        return self.link.removesuffix(IFB)

    @property
    def outward(self) -> bool:
        """Whether it is about what the container sends."""
        return self.link.endswith(IFB)

    @property
    def requires(self) -> tuple[Key, ...]:
        """The endpoint comes first, since with it all goes; without its ifb link the redirection would stay."""
        return tuple(Key("link", path) for path in dict.fromkeys((self.endpoint, self.link)))


def ticks(rate: int, burst: int) -> int:
    """Return how long a burst of so many bytes lasts at a rate, in the kernel's unit, rounded up."""
    return -(-burst * 8_000_000_000 // (rate * TICK))


def burst_of(rate: int, count: int) -> int:
    """Return the bytes that leave in so many ticks. `burst_of(rate, ticks(rate, burst_of(rate, n)))` is the same."""
    return count * TICK * rate // 8_000_000_000
