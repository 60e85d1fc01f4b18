"""The published schema, and the compiled checks that must agree with it."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.drivers import built_in
from reconciler.errors import Problem
from reconciler.manifest import supposing
from reconciler.manifest.checks import Walk
from reconciler.manifest.compiler import compiled
from reconciler.manifest.schema import checker, composed, published
from reconciler.manifest.tree import Map, Plain, Seq, core, plain

ROOT = Path(__file__).parents[2]
SCHEMA = composed(built_in())
PUBLISHED = published(built_in())


def tree(value: Any) -> Any:
    """Return a document of Python values as the loader's tree."""
    at = ("f", 1, 1)
    if isinstance(value, dict):
        node = Map(at)
        for key, one in value.items():
            node[key] = tree(one)
            node.key_at[key] = node.value_at[key] = at
        return node
    if isinstance(value, list):
        items = Seq(at)
        items.extend(map(tree, value))
        items.item_at = [at] * len(value)
        return items
    return value


def problems_of(document: Any) -> tuple[Any, list[Problem]]:
    """Return the typed document and the problems of the compiled checks."""
    problems: list[Problem] = []
    node = tree(document)
    typed = checker()(node, ("f", 1, 1), "the manifest", Walk(problems))
    return typed, problems


# jsonschema takes patterns as Python does, where $ is also before a last newline; by ECMA 262 it is the very end.
def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    from reconciler.manifest.checks import ecma

    if isinstance(instance, str) and not ecma(pattern)(instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


ORACLE: Any = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})(SCHEMA)  # type: ignore[no-untyped-call]

SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 70000),
    st.sampled_from(
        ["", "a", "web", "10.0.0.0/24", "10.0.0.1", "::/64", "bridge", "nat", "vepa", "1", "true", "a=b", "A b", "a\n"]
    ),
    st.text(max_size=4),
)


def _valid(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return values of which many fit a schema."""
    if "$ref" in schema:
        return st.deferred(lambda: documents(SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]))
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    choices: list[st.SearchStrategy[Any]] = [st.sampled_from(schema["enum"])] if "enum" in schema else []
    if "object" in kinds:
        choices.append(_objects(schema))
    if "array" in kinds:
        choices.append(st.lists(documents(schema.get("items", {})), max_size=3))
    if "boolean" in kinds:
        choices.append(st.booleans())
    if "integer" in kinds or "number" in kinds:
        choices.append(st.integers(schema.get("minimum", 0), schema.get("maximum", 100)))
    if "string" in kinds:
        fitting = ["web", "front", "10.0.0.0/24", "10.0.0.1", "02:42:00:00:00:11", "1", "a=b", *built_in()]
        choices.append(st.sampled_from(fitting))
    if "null" in kinds:
        choices.append(st.none())
    return st.one_of(choices) if choices else SCALARS


def _objects(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    known = {name: documents(one) for name, one in schema.get("properties", {}).items()}
    if "driver_opts" in known and "driver" in known:
        then = [case["then"]["properties"]["driver_opts"] for case in SCHEMA["$defs"]["network"]["allOf"]]
        known["driver_opts"] = st.one_of([documents(one) for one in then])
    required = {name: known[name] for name in schema.get("required", ())}
    base = st.fixed_dictionaries(required, optional={name: one for name, one in known.items() if name not in required})
    more = schema.get("additionalProperties")
    rest = documents(more) if isinstance(more, Mapping) else SCALARS
    names = st.sampled_from(["web", "front", "x-a", "a b", "driver", "1"])
    size = 2 if isinstance(more, Mapping) else 1
    extra = st.just({}) if more is False else st.dictionaries(names, rest, max_size=size)
    odd = st.dictionaries(names, SCALARS, max_size=1)
    return st.builds(lambda one, two, three, take: {**two, **(three if take else {}), **one}, base, extra, odd, _seldom)


_seldom = st.sampled_from([False] * 15 + [True])


def documents(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that fit a schema more often than not."""
    return _seldom.flatmap(lambda odd: SCALARS if odd else _valid(schema))


def plainly(value: Any) -> Any:
    """Return a document as YAML without quotes gives it: scalars as texts that may be something else."""
    if isinstance(value, dict):
        return {key: plainly(one) for key, one in value.items()}
    if isinstance(value, list):
        return [plainly(one) for one in value]
    return plain("null" if value is None else str(value).lower() if isinstance(value, bool) else str(value))


@settings(deadline=None)
@given(documents(SCHEMA))
def test_the_compiled_checks_and_jsonschema_have_one_verdict(document: Any) -> None:
    _, problems = problems_of(copy.deepcopy(document))
    assert ORACLE.is_valid(document) == (not problems), problems


@settings(deadline=None)
@given(documents(SCHEMA))
def test_a_document_without_quotes_becomes_one_that_the_schema_allows(document: Any) -> None:
    typed, problems = problems_of(plainly(document))
    if not problems:
        assert list(ORACLE.iter_errors(typed)) == []


@settings(deadline=None)
@given(documents(SCHEMA))
def test_what_is_left_of_a_wrong_document_is_right_with_what_is_supposed_in_it(document: Any) -> None:
    """All but names, by which what has them is known all the same."""
    root, walk = tree(document), Walk([])
    if isinstance(root, Map):
        checker()(root, root.at, "the manifest", walk)
        guesses = list(supposing.guesses(root, walk.refused, frozenset()))
        for number in range(supposing.MOST):
            for guess in guesses:
                guess.suppose(number)
            wrong = [error for error in ORACLE.iter_errors(root) if "propertyNames" not in error.absolute_schema_path]
            assert [error for error in wrong if error.validator != "required"] == []


def test_the_published_schema_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "reconciler.manifest.schema"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert (ROOT / "schemas" / "manifest.schema.json").read_text() == done.stdout, (
        "renew it: python -m reconciler.manifest.schema > schemas/manifest.schema.json"
    )


def test_the_published_schema_is_a_schema_of_its_draft() -> None:
    jsonschema.Draft202012Validator.check_schema(PUBLISHED)
    assert PUBLISHED["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"$id", "title", "description"} <= PUBLISHED.keys()


def _properties(schema: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(schema, dict):
        for name, one in schema.items():
            if name == "properties" and not path.endswith("/if"):
                yield from ((f"{path}/{key}", value) for key, value in one.items())
            yield from _properties(one, f"{path}/{name}")
    elif isinstance(schema, list):
        for number, one in enumerate(schema):
            yield from _properties(one, f"{path}/{number}")


def test_every_property_has_a_description_for_editors() -> None:
    bare = []
    for path, one in _properties(PUBLISHED, ""):
        described = PUBLISHED["$defs"][one["$ref"].rpartition("/")[2]] if "$ref" in one else one
        if "description" not in described:
            bare.append(path)
    assert bare == []


VARIABLE = "${NAME:-7}"
EDITOR = jsonschema.Draft202012Validator(PUBLISHED)


def _scalars(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield where in a document each scalar is that a variable can stand for: its holder and its key."""
    for key, one in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(one, dict | list):
            yield from _scalars(one)
        elif one is not None:
            yield value, key


@settings(deadline=None)
@given(documents(SCHEMA), st.data())
def test_an_editor_takes_a_variable_where_it_takes_a_scalar(document: Any, data: st.DataObject) -> None:
    if not ORACLE.is_valid(document) or not (places := list(_scalars(document))):
        return
    holder, key = data.draw(st.sampled_from(places))
    if isinstance(holder, list) and VARIABLE in holder:
        return
    holder[key] = VARIABLE
    assert list(EDITOR.iter_errors(document)) == []


@settings(deadline=None)
@given(documents(SCHEMA))
def test_without_variables_an_editor_takes_what_loading_takes(document: Any) -> None:
    if "${" not in json.dumps(document):
        assert EDITOR.is_valid(document) == jsonschema.Draft202012Validator(SCHEMA).is_valid(document)


@pytest.mark.parametrize(
    "network",
    [
        {"mtu": VARIABLE},
        {"internal": VARIABLE},
        {"driver": VARIABLE, "driver_opts": {"anything": 1}},
        {"driver_opts": {"icc": VARIABLE, "name": f"br-{VARIABLE}", "gateway_mode": VARIABLE}},
        {"ipam": {"config": [{"subnet": f"10.{VARIABLE}.0.0/24"}]}},
    ],
)
def test_what_a_variable_stands_for_is_checked_once_it_is_replaced(network: dict[str, Any]) -> None:
    document = {"project": "p", "networks": {"front": network}}
    assert list(EDITOR.iter_errors(document)) == []
    assert problems_of(document)[1]


@pytest.mark.parametrize("manifest", sorted((ROOT / "manifests").rglob("*.yaml")), ids=lambda path: path.stem)
def test_an_editor_finds_nothing_wrong_with_the_examples(manifest: Path) -> None:
    document = yaml.safe_load(manifest.read_text())
    brings_its_driver = manifest.parent.name in ("exec-driver", "python-driver")  # which the editor would have to know
    if "project" in document and not brings_its_driver:  # or it is a part of one
        assert list(EDITOR.iter_errors(document)) == []


@pytest.mark.parametrize(
    ("driver", "options"),
    [("bridge", {"mode": "bridge"}), ("macvlan", {"icc": True}), ("none", {"name": "br0"}), (None, {"parent": "eth0"})],
)
def test_the_published_schema_knows_each_drivers_options(driver: str | None, options: dict[str, Any]) -> None:
    network = {"driver_opts": options} | ({"driver": driver} if driver else {})
    assert not ORACLE.is_valid({"project": "p", "networks": {"front": network}})
    right = {"bridge": {"icc": True}, "macvlan": {"mode": "vepa"}, "none": {}, None: {"name": "br0"}}[driver]
    assert ORACLE.is_valid({"project": "p", "networks": {"front": {**network, "driver_opts": right}}})


def test_an_option_schema_with_other_keywords_is_checked_by_jsonschema() -> None:
    schema = {"anyOf": [{"type": "integer", "multipleOf": 4}, {"const": "auto"}]}
    check = compiled({"type": "object", "properties": {"queues": schema}})
    problems: list[Problem] = []
    good = check(tree({"queues": Plain("8")}), ("f", 1, 1), "driver_opts", Walk(problems))
    assert (good, problems) == ({"queues": 8}, [])
    check(tree({"queues": Plain("7")}), ("f", 1, 1), "driver_opts", Walk(problems))
    assert [problem.what for problem in problems] == ["queues: 7 is not valid under any of the given schemas"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None), ("~", None), ("null", None), ("nUll", "nUll"), ("true", True), ("FALSE", False), ("tRue", "tRue"),
        ("0", 0), ("-7", -7), ("010", 10), ("0x1f", 31), ("0o17", 15), ("1_000", "1_000"), ("53:53", "53:53"),
        ("1.5", 1.5), ("1e3", 1000.0), (".inf", ".inf"), ("yes", "yes"), ("9" * 30, 1e30),
    ],
)  # fmt: skip
def test_a_scalar_without_quotes_is_what_yaml_1_2_says(text: str, value: object) -> None:
    assert core(text) == value
    assert type(core(text)) is type(value)


def test_the_published_schema_can_be_printed() -> None:
    assert json.loads(json.dumps(published())) == published()
