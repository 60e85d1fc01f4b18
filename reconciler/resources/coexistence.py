"""What is in firewalls of others because a manifest asks for it."""

from __future__ import annotations

from typing import ClassVar

from ..values import dataclass
from .names import Key

DOCKER = "docker"
"""The tag of networks whose packets Docker's firewall is to let pass (`coexist: docker`)."""


@dataclass(frozen=True, slots=True)
class Accepts:
    """Rules of ours in a chain of somebody else's, DOCKER-USER, which Docker leaves to the host's admin.

    Each has the comment "netapply:PROJECT", by which it is known. `rules` are sorted and in the words of iptables(8),
    the comment aside: "-i shop-front -j ACCEPT".
    """

    KIND: ClassVar[str] = "accepts"
    IMMUTABLE: ClassVar[frozenset[str]] = frozenset()
    CHAIN: ClassVar[str] = "DOCKER-USER"

    family: int
    rules: tuple[str, ...]

    @property
    def name(self) -> str:
        """The chain with its family, as nft has it."""
        return f"{'ip' if self.family == 4 else 'ip6'} filter {self.CHAIN}"

    @property
    def key(self) -> Key:
        return Key("accepts", self.name)

    @property
    def requires(self) -> tuple[Key, ...]:
        return ()
