"""What `import reconciler` offers, and what the command line is made of: functions on manifests and hosts."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from . import engine
from .engine import Options, Proposal, Report
from .errors import ManifestError, NetapplyError
from .manifest.model import Manifest

if TYPE_CHECKING:
    from . import doctor as model
    from .host import Host
    from .keys import Own

DEFAULTS = Options()


class Diagnosis(NamedTuple):
    """What `doctor` found, and the versions of what it found it with."""

    findings: tuple[model.Finding, ...]
    versions: Mapping[str, str]


def load(*paths: str | os.PathLike[str], keyless: bool = False) -> Manifest:
    """Read manifest files (folders: all in them, "-": stdin) into one manifest. Raises ManifestError, with all errors.

    Needs no right and no host. `keyless`: hosts with encrypted networks may be without a public key yet.
    """
    from .manifest import load as read

    manifest = read([os.fspath(path) for path in paths])
    if manifest.hosts and not keyless:
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


def plan_destruction(what: Manifest | str, host: Host | None = None) -> Proposal:
    """Return what `destroy` would do, and change nothing; its observation is all that the project has on the host."""
    manifest = what if isinstance(what, Manifest) else None
    project = what if isinstance(what, str) else what.project
    return engine.plan_destruction(project, host or this_host(), manifest)


def pinned(manifest: Manifest, host: Host | None = None, options: Options = DEFAULTS) -> dict[str, str]:
    """Return the new texts, by file name, of files in which to write the subnets and addresses chosen on the host.

    Raises as `plan` does, and ManifestError for a place that can't be written to.
    """
    from .pin import pin

    return pin(manifest, plan(manifest, host, options).topology)


def own_key(manifest: Manifest, host: Host | None = None, here: str | None = None) -> Own:
    """Return the public key of this host, of which the private one is made unless there is one.

    Raises ManifestError where there are no hosts or not this; HostLacks, NotPermitted, OperationFailed for a file.
    """
    from .keys import own

    return own(manifest, host or this_host(), here)


def with_key(manifest: Manifest, key: Own) -> dict[str, str]:
    """Return the new text, by file name, of the file in which to write a host's public key; {} where it is there."""
    from .keys import written

    return written(manifest, key)


def doctor(manifest: Manifest | None = None, host: Host | None = None, options: Options = DEFAULTS) -> Diagnosis:
    """Return what is wrong with a host, or will be with a manifest on it. Changes nothing."""
    from . import doctor as model
    from .host import examining

    host = host or this_host()
    seen = examining.examine(host)
    meant = None
    if manifest is not None and set(model.CAPABILITIES) <= set(seen.capabilities):
        meant = _intention(manifest, host, options)
    return Diagnosis(tuple(model.findings(seen, meant)), seen.versions)


def _intention(manifest: Manifest, host: Host, options: Options) -> model.Intention:
    from . import doctor as model

    try:
        proposal = engine.plan(manifest, host, options)
    except NetapplyError as failure:
        return model.Intention(failure=str(failure))
    networks = proposal.topology.networks
    return model.Intention(
        proposal.desired,
        proposal.plan,
        proposal.refusals,
        mtus={one.name: one.mtu for one in networks if not one.internal and not one.external},
        coexists=manifest.coexist == "docker",
    )


def this_host() -> Host:
    """Return the machine that this runs on: the network namespace of this process is the host's."""
    from .host.linux import LinuxHost

    return LinuxHost()
