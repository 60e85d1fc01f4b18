"""The examples in manifests/ are valid, by netapply's own check and by the published schema that editors use."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest
import yaml

from reconciler.drivers import built_in
from reconciler.errors import ManifestError
from reconciler.manifest import load
from reconciler.manifest.schema import published
from reconciler.manifest.variables import substitute
from tests.drivers import of_the_examples

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path for path in (ROOT / "manifests").iterdir() if path.is_dir() or path.suffix == ".yaml")
FILES = sorted((ROOT / "manifests").rglob("*.yaml"))
ENVIRON = {"PLACE": "berlin", "APP_PID": "1"}
BROUGHT = {"exec-driver": "star", "python-driver": "segment"}
"""Drivers that come with examples. The published schema has those that come with netapply."""


@pytest.fixture(autouse=True)
def _drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have the drivers of examples found."""
    for name, value in of_the_examples(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("netapply_segment", None)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 13


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_loads(path: Path) -> None:
    manifest = load([str(path)], ENVIRON)
    assert manifest.networks
    assert manifest.containers


def test_the_driver_beside_an_example_says_where_its_options_are_wrong(tmp_path: Path) -> None:
    text = (ROOT / "manifests/exec-driver/star.yaml").read_text()
    path = tmp_path / "star.yaml"
    path.write_text(text.replace("center: collector", "center: collecter"))
    with pytest.raises(ManifestError, match=r"star\.yaml:15:27: error: collecter is no container of network field"):
        load([str(path)])
    path.write_text(text.replace("    driver_opts: {center: collector}\n", ""))
    with pytest.raises(ManifestError, match="it is not said who is in the middle; add center: CONTAINER"):
        load([str(path)])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_begins_with_its_schema_and_says_what_it_shows(path: Path) -> None:
    first, second, *_ = path.read_text().splitlines()
    place, _, schema = first.partition("$schema=")
    assert place == "# yaml-language-server: "
    assert (path.parent / schema).resolve() == ROOT / "schemas" / "manifest.schema.json"
    assert second.startswith("#")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_example_with_its_variables_replaced_is_valid_by_the_published_schema(path: Path) -> None:
    if brought := BROUGHT.get(path.parent.name):
        schema = published((*built_in(), brought))  # as `netapply schema` prints it once that is installed
    else:
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
