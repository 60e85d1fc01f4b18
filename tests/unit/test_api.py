"""`import reconciler`: what it offers, what it costs, and the example of docs/python.md."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reconciler
from reconciler import api
from reconciler.host.fake import FakeHost

DOCS = Path(__file__).parents[2] / "docs"

SHOP = """\
version: 1
project: shop
networks:
  front: {ipam: {config: [{subnet: 10.20.0.0/24}]}}
containers:
  web: {networks: [front]}
"""


def python(code: str) -> str:
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    return ran.stdout


def test_the_example_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    host = FakeHost()
    monkeypatch.setattr(api, "this_host", lambda: host)
    monkeypatch.chdir(tmp_path)
    Path("shop.yaml").write_text(SHOP)
    examples = re.findall("```python\n(.*?)```", (DOCS / "python.md").read_text(), re.DOTALL)
    assert len(examples) == 1
    empty = host.snapshot()
    exec(compile(examples[0], "docs/python.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "Create link web/front\n" in printed
    assert re.search(r"\d created in \d\.\d\d s, pending: \{\}\n", printed)
    assert host.writes > 0
    assert {key: value for key, value in host.snapshot().items() if key != "sysctls"} == {
        key: value for key, value in empty.items() if key != "sysctls"
    }


def test_importing_the_package_imports_nothing_that_takes_time() -> None:
    loaded = python("import sys, reconciler; print(*sys.modules)").split()
    assert not {"typing", "dataclasses", "yaml", "typer", "reconciler.plan", "reconciler.errors"} & set(loaded)


def test_planning_imports_neither_pyroute2_nor_jsonschema_nor_typer(tmp_path: Path) -> None:
    (tmp_path / "shop.yaml").write_text(SHOP)
    loaded = python(
        "import sys\n"
        "from reconciler import commands, shortcut\n"
        "from reconciler.host.fake import FakeHost\n"
        "commands.host_factory = FakeHost\n"
        f"assert shortcut.run(['plan', '-q', {str(tmp_path / 'shop.yaml')!r}]) == 0\n"
        "print(*sys.modules)\n"
    ).split()
    assert not {"pyroute2", "jsonschema", "typer", "asyncio", "rich", "logging"} & set(loaded)


@pytest.mark.parametrize("name", reconciler.__all__)
def test_every_public_name_is_there_and_described(name: str) -> None:
    assert getattr(reconciler, name) is not None
    assert name in dir(reconciler)
    assert name == "__version__" or f"`{name}" in (DOCS / "python.md").read_text() or name in ("Position", "Problem")


def test_what_destroying_would_do_and_what_a_project_has_is_told_by_its_name_or_its_manifest(tmp_path: Path) -> None:
    host, file = FakeHost(), tmp_path / "shop.yaml"
    file.write_text(SHOP)
    manifest = reconciler.load(file)
    reconciler.apply(manifest, host)
    before, writes = host.snapshot(), host.writes
    for what in (manifest, "shop"):
        proposal = reconciler.plan_destruction(what, host)
        assert {type(change) for change in proposal.plan.changes} == {reconciler.Delete}
        assert {change.key for change in proposal.plan.changes} <= proposal.observation.state.keys()
    assert (host.snapshot(), host.writes) == (before, writes)


def test_what_was_chosen_is_pinned_in_the_texts_of_the_files(tmp_path: Path) -> None:
    host, file = FakeHost(), tmp_path / "shop.yaml"
    file.write_text(SHOP)
    texts = reconciler.pinned(reconciler.load(file), host)
    assert list(texts) == [str(file)]
    assert "ipv4_address: 10.20.0." in texts[str(file)]
    assert file.read_text() == SHOP
    file.write_text(texts[str(file)])
    assert reconciler.pinned(reconciler.load(file), host) == {}


def test_a_hosts_key_is_made_and_put_into_a_manifest_that_lacks_it(tmp_path: Path) -> None:
    host, file = FakeHost(), tmp_path / "cluster.yaml"
    file.write_text(
        "project: p\nnetworks: {far: {driver: overlay, driver_opts: {encrypted: true}}}\n"
        "hosts:\n  ant: {address: 192.0.2.1}\n"
    )
    with pytest.raises(reconciler.ManifestError, match="public_key"):
        reconciler.load(file)
    manifest = reconciler.load(file, keyless=True)
    key = reconciler.own_key(manifest, host, "ant")
    assert (key.host, key.made, len(key.public_key)) == ("ant", True, 44)
    file.write_text(reconciler.with_key(manifest, key)[str(file)])
    manifest = reconciler.load(file)
    assert manifest.hosts["ant"].public_key == key.public_key
    assert reconciler.own_key(manifest, host, "ant") == key._replace(made=False)
    assert reconciler.with_key(manifest, key) == {}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'aply'"):
        reconciler.aply  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize(
    "first", ["import reconciler.engine", "import reconciler.plan", "from reconciler.plan import diff"]
)
def test_plan_is_the_function_whatever_was_imported_before(first: str) -> None:
    code = f"{first}\nimport reconciler\nfrom reconciler.plan import Plan\nprint(reconciler.plan.__module__, Plan)"
    assert python(code) == "reconciler.api <class 'reconciler.plan.Plan'>\n"


def test_the_lazy_names_are_those_that_type_checkers_see() -> None:
    source = Path(str(reconciler.__file__)).read_text()
    seen = {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert seen == set(reconciler.__all__)
