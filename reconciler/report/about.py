"""What there is to tell without a plan: that a manifest is valid, the drivers and their options, the schemas."""

from __future__ import annotations

import json as standard
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import json
from .terminal import COLOURS, DIM, View

if TYPE_CHECKING:
    from ..drivers import Driver
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


def pinned_json(project: str, texts: Mapping[str, str], written: bool) -> json.Json:
    files: list[json.Json] = [{"file": file, "text": texts[file]} for file in sorted(texts)]
    return {"format_version": json.FORMAT_VERSION, "project": project, "written": written, "files": files}


def drivers(found: Mapping[str, Driver]) -> str:
    """Return a line for each driver."""
    width = max(map(len, found))
    return "".join(f"{name:{width}}  {driver.SUMMARY}\n" for name, driver in found.items())


def drivers_json(found: Mapping[str, Driver]) -> json.Json:
    return {
        "format_version": json.FORMAT_VERSION,
        "drivers": [
            {"name": name, "summary": driver.SUMMARY, "options": _plain(driver.OPTIONS)}
            for name, driver in found.items()
        ],
    }


def driver(name: str, one: Driver) -> str:
    """Return what a driver is and what each of its options means."""
    lines = [f"{name}: {one.SUMMARY}", *_options(one)]
    return "".join(f"{line}\n" for line in lines)


def _options(one: Driver) -> Iterator[str]:
    if not one.OPTIONS:
        yield "It has no options."
    for name, option in one.OPTIONS.items():
        yield ""
        default = f", default {standard.dumps(option['default'])}" if "default" in option else ""
        yield f"  {name}: {_kind(option)}{default}"
        if "description" in option:
            yield f"      {option['description']}"


def _kind(option: Mapping[str, Any]) -> str:
    """Return the values that an option takes, in words, as far as its schema says it simply."""
    if "enum" in option:
        return " | ".join(map(str, option["enum"]))
    kind = option.get("type", "any")
    words = " or ".join(kind) if isinstance(kind, list) else str(kind)
    bounds = [f"{name} {option[key]}" for name, key in (("from", "minimum"), ("to", "maximum")) if key in option]
    return " ".join([words, *bounds])


def _plain(value: Any) -> json.Json:
    """Return a driver's schema as what JSON makes of it: mappings of any kind are objects, tuples arrays."""
    result: json.Json = standard.loads(standard.dumps(value, default=dict))
    return result
