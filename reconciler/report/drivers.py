"""The drivers, listed and explained: what each is, where it is from, what it is like, its options, an example."""

from __future__ import annotations

import json as standard
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, NamedTuple

from . import json
from .terminal import View

if TYPE_CHECKING:
    from ..drivers import Driver, Traits
    from ..plugins import Source


class Known(NamedTuple):
    """A driver by its name. `fault` is why it can't be used; `sources` is where it is from, then what that hides."""

    name: str
    sources: tuple[Source, ...]
    driver: Driver | None = None
    fault: str = ""


def listed(found: Sequence[Known], view: View) -> str:
    """Return a line for each driver, and below it the names of its options."""
    width = max(len(one.name) for one in found)
    lines = (line for one in found for line in (_line(one, width), *_names(one, width)))
    return "".join(f"{view.paint(line)}\n" for line in lines)


def _names(one: Known, width: int) -> Iterator[str]:
    if one.driver is not None and one.driver.OPTIONS:
        from textwrap import wrap

        margin = " " * (width + 2)
        names = f"options: {', '.join(one.driver.OPTIONS)}"
        yield from wrap(names, 100, initial_indent=margin, subsequent_indent=f"{margin}  ", break_on_hyphens=False)


def _line(one: Known, width: int) -> str:
    if one.driver is None:
        return f"{one.name:{width}}  can't be used: {one.fault.splitlines()[0]}"
    return f"{one.name:{width}}  {one.driver.SUMMARY}  ({one.sources[0].where or one.sources[0].kind})"


def listed_json(found: Sequence[Known]) -> json.Json:
    return {"format_version": json.FORMAT_VERSION, "drivers": [_entry(one) for one in found]}


def _entry(one: Known) -> json.Json:
    places: list[json.Json] = [{"kind": source.kind, "where": source.where or None} for source in one.sources]
    return {
        "name": one.name,
        "summary": one.driver.SUMMARY if one.driver else None,
        "source": places[0],
        "hides": places[1:],
        "traits": _values(one.driver.TRAITS) if one.driver else {},
        "options": _plain(one.driver.OPTIONS) if one.driver else {},
        "example": example(one.name, one.driver) if one.driver else None,
        "error": one.fault or None,
    }


def _values(traits: Traits) -> dict[str, json.Json]:
    found = {one.name: getattr(traits, one.name) for one in fields(traits)}
    return {name: value for name, value in found.items() if isinstance(value, bool | int | str)}


def explained(one: Known, view: View) -> str:
    """Return all there is to say of a driver that can be used."""
    assert one.driver is not None
    blocks = [_head(one, one.driver), _likes(one.driver.TRAITS), _options(one.driver), _example(one.name, one.driver)]
    return "\n".join("".join(f"{view.paint(line)}\n" for line in block) for block in blocks)


def _head(one: Known, driver: Driver) -> Iterator[str]:
    yield f"{one.name}: {driver.SUMMARY}"
    yield f"  {one.sources[0]}"
    for hidden in one.sources[1:]:
        yield f"  hides {hidden}, which is never used"
    if one.sources[0].kind == "built-in":
        yield f"  explained in docs/drivers/{one.name}.md"


def _likes(traits: Traits) -> Iterator[str]:
    """Yield the traits in words; one that has none is told by its name, if it is not as with most drivers."""
    words = {
        "addressed": (
            "networks have subnets, and endpoints addresses",
            "networks have no subnets, endpoints no addresses",
        ),
        "gateway_on_host": ("the host has the gateway address: no subnet may overlap with the host's routes", ""),
        "wants_parent": ("a network stands on a link of the host: driver_opts.parent, else the default route's", ""),
        "exclusive": ("a container on such a network can be on no other", ""),
        "in_host": ("its containers are in the host's own network namespace", ""),
        "interface": ("its containers have an interface all the same, whose addresses its plugin gives", ""),
    }
    for name, value in _values(traits).items():
        if name == "overhead":
            line = f"it takes {value} bytes from the MTU of the link below" if value else ""
        elif name in words:
            line = words[name][0 if value else 1]
        else:
            line = f"{name}: {standard.dumps(value)}" if value else ""
        if line:
            yield f"  - {line}"
    if traits.addressed:
        ways = [family for family in (4, 6) if traits.has_gateway({}, family)]
        yield "  - there is a way out, and endpoints get a default route" if ways else "  - there is no way out"
    if traits.host_link("project", "network", {}):
        yield "  - the network has a link in the host, which others can have as their parent"


def _options(driver: Driver) -> Iterator[str]:
    if not driver.OPTIONS:
        yield "It has no options."
        return
    yield "Its options, under driver_opts:"
    for name, option in driver.OPTIONS.items():
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


_SHOWN = 3
"""How many options an example has."""


def example(name: str, driver: Driver) -> dict[str, Any]:
    """Return a network of the driver, as a manifest has it: with some options, each with a value that it can have.

    Those whose schemas give examples, if there are any, else some that have a default.
    """
    exemplary = {option: schema for option, schema in driver.OPTIONS.items() if schema.get("examples")}
    chosen = exemplary or driver.OPTIONS
    options = {option: value for option, schema in chosen.items() for value in _possible(schema)}
    if driver.TRAITS.wants_parent and "parent" in driver.OPTIONS:
        options = {"parent": "eth0", **options}
    some = dict(list(options.items())[:_SHOWN])
    return {"driver": name, **({"driver_opts": some} if some else {})}


def _possible(schema: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the value of an option that an example shows, if the schema says one."""
    for value in (*schema.get("examples", ()), *((schema["default"],) if "default" in schema else ())):
        yield value
        return


def _example(name: str, driver: Driver) -> Iterator[str]:
    yield "For example:"
    yield ""
    yield "  networks:"
    yield "    front:"
    for key, value in example(name, driver).items():
        yield f"      {key}: {_flow(value)}"


def _flow(value: Any) -> str:
    """Return a value as YAML on one line."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key}: {_flow(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, str) and value.isascii() and value.replace("-", "a").replace("_", "a").isalpha():
        return standard.dumps(value) if value.lower() in ("yes", "no", "on", "off", "true", "false", "null") else value
    return standard.dumps(value)


def _plain(value: Any) -> json.Json:
    """Return a driver's schema as what JSON makes of it: mappings of any kind are objects, tuples arrays."""
    result: json.Json = standard.loads(standard.dumps(value, default=dict))
    return result
