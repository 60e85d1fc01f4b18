"""The examples in manifests/ are valid, by netapply's own check and by the published schema that editors use."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from reconciler.manifest import load
from reconciler.manifest.variables import substitute

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "manifests").iterdir() if path.is_dir() or path.suffix == ".yaml")
FILES = sorted((ROOT / "manifests").rglob("*.yaml"))
ENVIRON = {"PLACE": "berlin", "APP_PID": "1"}


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 13


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads(path: Path) -> None:
    manifest = load([str(path)], ENVIRON)
    assert manifest.networks
    assert manifest.containers


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_begins_with_its_schema_and_says_what_it_shows(path: Path) -> None:
    first, second, *_ = path.read_text().splitlines()
    place, _, schema = first.partition("$schema=")
    assert place == "# yaml-language-server: "
    assert (path.parent / schema).resolve() == ROOT / "schemas" / "manifest.schema.json"
    assert second.startswith("#")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_with_its_variables_replaced_is_valid_by_the_published_schema(path: Path) -> None:
    schema = json.loads((ROOT / "schemas" / "manifest.schema.json").read_text())
    code = "\n".join(line.partition(" #")[0] for line in path.read_text().splitlines() if line[:1] != "#")
    complaints: list[str] = []
    tree = yaml.safe_load(substitute(code, ENVIRON, lambda what, mend: complaints.append(what)))
    assert complaints == []
    errors = list(jsonschema.Draft202012Validator(schema).iter_errors(tree))
    assert [error.message for error in errors] == []


def test_projects_of_examples_are_distinct() -> None:
    projects = [load([str(path)], ENVIRON).project for path in EXAMPLES]
    assert len(set(projects)) == len(projects)
