"""Rules for links of the host that networks name: the one that is put into a bridge, and those that are trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..lowering.outside import words
from .model import Manifest
from .rules import Finding, Path, Subject


def findings(manifest: Manifest, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield what is wrong between such a link and what else the manifest has it for."""
    naming = {"uplink", "trusted_interfaces"}
    if all(naming.isdisjoint(one.spec.driver_opts) for one in subjects.values()):
        return
    makers = {
        one.driver.TRAITS.host_link(manifest.project, name, one.spec.driver_opts): name
        for name, one in subjects.items()
        if not one.spec.external
    }
    seen: dict[object, str] = {}
    for name, subject in subjects.items():
        path: Path = (*subject.path, "driver_opts")
        if uplink := subject.spec.driver_opts.get("uplink"):
            if (other := seen.setdefault(uplink, name)) != name:
                what = f"{uplink} is the uplink of network {other} already"
                yield Finding((*path, "uplink"), what, "a link is in one bridge only; use another")
            if maker := makers.get(str(uplink)):
                what = f"{uplink} is made by network {maker}, and an uplink is a link that is there without netapply"
                yield Finding((*path, "uplink"), what, "name a network card")
            yield from _parents(name, uplink, subjects)
        for link in words(subject.spec.driver_opts, "trusted_interfaces"):
            if maker := makers.get(link):
                what = f"{link} is made by network {maker}, and is no way from outside"
                yield Finding((*path, "trusted_interfaces"), what, f"write `allow: [{name}]` at network {maker}")


def _parents(name: str, uplink: object, subjects: Mapping[str, Subject]) -> Iterator[Finding]:
    """Yield the networks that stand on an uplink: a port gives all that it receives to its bridge."""
    for other, subject in subjects.items():
        if subject.driver.TRAITS.wants_parent and subject.spec.driver_opts.get("parent") == uplink:
            what = f"network {other} stands on {uplink}, which is the uplink of network {name}"
            yield Finding((*subject.path, "driver_opts", "parent"), what, "use another link for one of them")
