"""Which of the manifest's hosts this is: said, or known by its addresses."""

from __future__ import annotations

from dataclasses import replace

from .errors import HostLacks, ManifestError, Problem
from .host import Host
from .manifest.model import Manifest

SAY = "say which this is with --host NAME, or NETAPPLY_HOST"


def placed(manifest: Manifest, host: Host, name: str | None = None) -> Manifest:
    """Return the manifest with `here` settled: as `name` says, else by the host's own addresses.

    One without hosts is the same on every machine, whatever `name` says. Raises ManifestError for a name that it does
    not have, HostLacks where the addresses are those of none of its hosts, or of several.
    """
    if not manifest.hosts or manifest.here is not None:
        return manifest
    return replace(manifest, here=known(manifest, name) if name else _recognised(manifest, host))


def known(manifest: Manifest, name: str) -> str:
    """Return the name if it is that of a host of the manifest. Raises ManifestError."""
    if name in manifest.hosts or not manifest.hosts:
        return name
    from .manifest.words import did_you_mean, listed

    mend = did_you_mean(name, manifest.hosts) or f"there are {listed(sorted(manifest.hosts), 'and')}"
    raise ManifestError([Problem(manifest.position("hosts"), f"there is no host {name}", mend)], manifest.sources)


def _recognised(manifest: Manifest, host: Host) -> str:
    own = host.addresses()
    names = [one.name for one in manifest.hosts.values() if one.address in own]
    if len(names) == 1:
        return names[0]
    if names:
        raise HostLacks(f"this host has the addresses of several hosts of the manifest: {', '.join(names)}; {SAY}")
    shown = [f"{one.name} {one.address}" for one in manifest.hosts.values()]
    listed = ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
    raise HostLacks(f"this is none of the manifest's hosts by its addresses ({listed}); {SAY}")
