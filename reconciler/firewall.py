"""The project's nftables table, composed from the zones that drivers yield."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .resources import NftTable


@dataclass(frozen=True, slots=True)
class Zone:
    """One network's share of the firewall.

    `interface` is the host's link that the network's packets come from and go to. `subnets` are its prefixes, both
    families. `mode_ipv4` and `mode_ipv6` are "nat", "routed" or "isolated". `icc`: may endpoints talk to each other.
    `masquerade` False leaves out the translation that mode nat means. `snat_ipv4` and `snat_ipv6` replace
    masquerading by one source address. `allow` names networks that this one may open connections to.
    """

    network: str
    interface: str
    subnets: tuple[str, ...]
    mode_ipv4: str = "nat"
    mode_ipv6: str = "nat"
    icc: bool = True
    internal: bool = False
    masquerade: bool = True
    snat_ipv4: str | None = None
    snat_ipv6: str | None = None
    allow: tuple[str, ...] = ()

    def forwards(self, family: int) -> bool:
        """Whether packets of a family (4 or 6) may pass the host: to and from outside, or another network."""
        mode = self.mode_ipv4 if family == 4 else self.mode_ipv6
        has = any((":" in subnet) == (family == 6) for subnet in self.subnets)
        return has and mode != "isolated" and not self.internal


def table(project: str, zones: Sequence[Zone], guard: Sequence[str] | None) -> NftTable | None:
    """Return the table, None if there is nothing to filter."""
    raise NotImplementedError
