"""What there is to tell without a plan: that a manifest is valid, what was pinned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from . import json
from .terminal import COLOURS, DIM, View

if TYPE_CHECKING:
    from ..keys import Own
    from ..manifest.model import Manifest


def valid(manifest: Manifest) -> str:
    """Return one line that says what was found to be valid."""
    sizes = (_number(len(manifest.networks), "network"), _number(len(manifest.containers), "container"))
    return f"{manifest.project}: valid ({', '.join(sizes)})\n"


def _number(number: int, word: str) -> str:
    return f"{number} {word}{'s' * (number != 1)}"


def valid_json(manifest: Manifest) -> json.Json:
    return {
        "format_version": json.FORMAT_VERSION,
        "project": manifest.project,
        "valid": True,
        "networks": list(manifest.networks),
        "containers": list(manifest.containers),
    }


def pinned(sources: Mapping[str, str], texts: Mapping[str, str], view: View) -> str:
    """Return what pinning changes in each file, as a unified diff that patch(1) takes."""
    from difflib import unified_diff

    colours = {"+": COLOURS["add"], "-": COLOURS["remove"], "@": DIM}
    lines = [
        line
        for file in sorted(texts)
        for line in unified_diff(sources[file].splitlines(), texts[file].splitlines(), file, file, lineterm="")
    ]
    return "".join(f"{view.paint(line, *filter(None, [colours.get(line[:1])]))}\n" for line in lines)


def keys(manifest: Manifest, key: Own, texts: Mapping[str, str]) -> str:
    """Return the public keys of the hosts, a line each, this one's first: what there is, and what is to be done."""
    said = manifest.hosts[key.host].public_key
    lines = [f"host {key.host}: public_key {key.public_key}{f' (made {key.file})' if key.made else ''}"]
    lines += [f"{file}: hosts.{key.host}.public_key written" for file in texts]
    if said != key.public_key and not texts:
        has = f"has another one, {said}" if said else "has none yet"
        lines.append(f"note: the manifest {has}; --write puts this one there")
    for one in manifest.hosts.values():
        if one.name != key.host:
            has = f"public_key {one.public_key}" if one.public_key else "no public_key yet; run this on it"
            lines.append(f"host {one.name}: {has}")
    return "".join(f"{line}\n" for line in lines)


def keys_json(manifest: Manifest, key: Own, texts: Mapping[str, str]) -> json.Json:
    known: dict[str, json.Json] = {name: one.public_key for name, one in manifest.hosts.items()}
    return {
        "format_version": json.FORMAT_VERSION,
        "project": manifest.project,
        "host": key.host,
        "private_key_file": key.file,
        "made": key.made,
        "written": sorted(texts),
        "public_keys": {**known, key.host: key.public_key},
    }


def pinned_json(project: str, texts: Mapping[str, str], written: bool) -> json.Json:
    files: list[json.Json] = [{"file": file, "text": texts[file]} for file in sorted(texts)]
    return {"format_version": json.FORMAT_VERSION, "project": project, "written": written, "files": files}
