"""Keys for encrypted networks: making the private one of a host, and writing its public one into the manifest."""

from __future__ import annotations

from typing import NamedTuple

from .errors import ManifestError, Problem
from .host import Host
from .manifest.edit import document
from .manifest.model import Manifest
from .placement import placed


class Own(NamedTuple):
    """A host's key: the file that has the private one, the public one, and whether both were made just now."""

    host: str
    file: str
    public_key: str
    made: bool


def own(manifest: Manifest, host: Host, name: str | None = None) -> Own:
    """Return this host's key, made if it has none; `name` says which of the manifest's hosts it is.

    Raises ManifestError where there are no hosts or not this; HostLacks, NotPermitted, OperationFailed for a file.
    """
    if not manifest.hosts:
        what, mend = "there are no hosts, and so nobody to have a key", "add hosts: {NAME: {address: ADDRESS}, ...}"
        raise ManifestError([Problem(manifest.position("hosts"), what, mend)], manifest.sources)
    here = placed(manifest, host, name).here or ""
    file = manifest.hosts[here].private_key_file
    made = host.make_key(file)
    return Own(here, file, host.public_key(file), made)


def written(manifest: Manifest, key: Own) -> dict[str, str]:
    """Return, by file name, the new text of the manifest's file that does not have the public key yet; {} if it has.

    Raises ManifestError for a place that an alias or a merge key shares, or that comes from a variable.
    """
    problems: list[Problem] = []
    path = ("hosts", key.host, "public_key")
    texts: dict[str, str] = {}
    if manifest.hosts[key.host].public_key != key.public_key:
        files = [one for file, text in manifest.sources.items() if (one := document(file, text, problems))]
        for one in files:
            if one.meant("hosts", key.host) is None:
                continue
            if one.slot(path):
                one.put(path, key.public_key)
            elif one.is_own(path, f"the public key of host {key.host}"):
                one.add(path[:-1], {path[-1]: key.public_key})
            texts = {one.file: one.edited()} if one.edits else {}
    if problems:
        raise ManifestError(problems, manifest.sources)
    return texts
