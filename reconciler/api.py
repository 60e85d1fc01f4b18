"""What `import reconciler` offers, and what the command line is made of: four functions on manifests and hosts."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import engine
from .engine import Options, Proposal, Report
from .errors import ManifestError
from .manifest.model import Manifest

if TYPE_CHECKING:
    from .host import Host

DEFAULTS = Options()


def load(*paths: str | os.PathLike[str]) -> Manifest:
    """Read manifest files (folders: all in them, "-": stdin) into one manifest. Raises ManifestError, with all errors.

    Needs no right and no host.
    """
    from .manifest import load as read

    manifest = read([os.fspath(path) for path in paths])
    if manifest.hosts:
        from .allocation import tunnels

        if problems := list(tunnels.without_keys(manifest)):
            raise ManifestError(problems, manifest.sources)
    return manifest


def plan(manifest: Manifest, host: Host | None = None, options: Options = DEFAULTS) -> Proposal:
    """Return what applying the manifest would do, and change nothing. `host` is this machine unless given.

    Raises ManifestError, HostLacks, NotPermitted.
    """
    return engine.plan(manifest, host or this_host(), options)


def apply(
    manifest: Manifest,
    host: Host | None = None,
    options: Options = DEFAULTS,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Make the host what the manifest says, or leave it as it was. `progress` is told (changes done, of how many).

    Raises ManifestError, Refused, HostLacks, NotPermitted and LockHeld before anything is touched, ApplyFailed when
    all is back as it was, RollbackFailed when that failed too. SIGINT, SIGTERM and SIGHUP roll back meanwhile, if this
    is the main thread.
    """
    return engine.converge(manifest, host or this_host(), options, progress)


def destroy(
    what: Manifest | str,
    host: Host | None = None,
    options: Options = DEFAULTS,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Remove all that a project owns, and nothing else; `what` is its manifest or its name. Raises as `apply` does."""
    manifest = what if isinstance(what, Manifest) else None
    project = what if isinstance(what, str) else what.project
    return engine.destroy(project, host or this_host(), options, progress, manifest)


def this_host() -> Host:
    """Return the machine that this runs on: the network namespace of this process is the host's."""
    from .host.linux import LinuxHost

    return LinuxHost()
