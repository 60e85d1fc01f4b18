"""`netapply drivers`: all that there are, where each is from, and what one is."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from reconciler import cli, drivers
from reconciler.host import executables as host
from reconciler.manifest import load
from reconciler.options import drivers_beginning
from reconciler.report.drivers import example
from tests.drivers import ROOT, code, executable, package

AROUND: dict[str, dict[str, Any]] = {
    "overlay": {"hosts": {"here": {"address": "192.0.2.10"}, "there": {"address": "192.0.2.20"}}}
}
"""What manifests with a driver need beside networks."""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with packages on sys.path, and with executables."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(host, "FOLDERS", ())
    monkeypatch.setenv(host.VARIABLE, str(tmp_path))
    package(tmp_path, "segment", code("drivers.md"))
    executable(tmp_path, "hub", code("drivers/exec.md").replace("segment", "hub"))
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *arguments: str, ends: int = 0) -> str:
    assert cli.run(["drivers", *arguments]) == ends
    printed = capsys.readouterr()
    return printed.out if ends == 0 else printed.err


def test_all_are_listed_with_what_they_are_and_where_they_are_from(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = told(capsys)
    lines = {line.split()[0]: line for line in listed.splitlines() if not line.startswith(" ")}
    assert list(lines) == sorted([*drivers.built_in(), "hub", "segment"])
    assert lines["bridge"].endswith("the host is the gateway  (built-in)")
    assert lines["segment"].endswith("nobody else  (netapply-segment 1.0)")
    assert lines["hub"].endswith(f"nobody else  ({site}/hub)")
    macvlan = listed.index("macvlan ")
    assert listed[macvlan:].splitlines()[1] == f"{'':15}options: parent, host_access, mode, bc_queue_len"
    assert listed[listed.index("none ") :].splitlines()[1].startswith("overlay ")  # it has none
    assert max(map(len, (line for line in listed.splitlines() if line.startswith(" ")))) <= 100


def test_one_that_can_not_be_used_is_listed_with_the_reason_and_hides_no_other(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package(site, "broken", "import nowhere_at_all")
    executable(site, "unsafe", "#!/bin/sh\n", mode=0o777)
    lines = {line.split()[0]: line.split(None, 1)[1] for line in told(capsys).splitlines() if line[0] != " "}
    assert lines["broken"].startswith(
        "can't be used: driver broken (package netapply-broken 1.0): netapply_broken can't"
    )
    assert lines["unsafe"].startswith(f"can't be used: driver unsafe ({site}/unsafe) is not run: others than its owner")
    assert {"bridge", "hub", "segment"} <= lines.keys()
    listed = {one["name"]: one for one in json.loads(told(capsys, "--format", "json"))["drivers"]}
    assert (listed["broken"]["summary"], "can't be loaded" in listed["broken"]["error"]) == (None, True)
    assert told(capsys, "broken", ends=70).startswith("error: driver broken (package netapply-broken 1.0): ")
    assert told(capsys, "unsafe", ends=69).startswith(f"error: driver unsafe ({site}/unsafe) is not run: ")


def test_one_is_explained(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    executable(site, "segment", "#!/bin/false\n")
    assert (
        told(capsys, "segment")
        == f"""\
segment: a bridge that the host is not on; endpoints reach each other and nobody else
  package netapply-segment 1.0
  hides {site}/segment, which is never used

  - networks have subnets, and endpoints addresses
  - there is no way out

Its options, under driver_opts:

  stp: boolean, default false
      Speak the spanning tree protocol.

For example:

  networks:
    front:
      driver: segment
      driver_opts: {{stp: false}}
"""
    )


def test_one_is_explained_as_json(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [one] = json.loads(told(capsys, "hub", "--format", "json"))["drivers"]
    assert one["source"] == {"kind": "executable", "where": f"{site}/hub"}
    assert (one["hides"], one["error"], one["traits"]["addressed"]) == ([], None, True)
    assert one["options"]["stp"]["type"] == "boolean"
    assert one["example"] == {"driver": "hub", "driver_opts": {"stp": False}}


@pytest.mark.parametrize("name", drivers.built_in())
def test_a_driver_that_comes_with_netapply_has_a_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = f"docs/drivers/{name}.md"
    assert f"  explained in {page}\n" in told(capsys, name)
    assert (ROOT / page).exists()


@pytest.mark.parametrize("name", drivers.built_in())
def test_the_example_of_a_driver_is_valid(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    driver = drivers.find(name)
    assert driver is not None
    shown = told(capsys, name).partition("For example:\n\n")[2]
    text = f"version: 1\nproject: shop\n{json.dumps(AROUND.get(name, {}))[1:-1]}\n{shown}".replace("\n  ", "\n")
    loaded = load(["-"], {}, io.StringIO(text)).networks["front"]
    assert (loaded.driver, loaded.driver_opts.keys()) == (name, example(name, driver).get("driver_opts", {}).keys())


def test_an_unknown_name_is_told_with_the_one_that_was_probably_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert "there is no driver segmnt; did you mean segment?" in told(capsys, "segmnt", ends=64)
    assert "there is no driver x; there are bridge, " in told(capsys, "x", ends=64)


def test_names_are_completed_without_anything_being_run(site: Path) -> None:
    executable(site, "henhouse", "#!/bin/false\n")
    assert drivers_beginning("h") == ["henhouse", "host", "hub"]
    assert drivers_beginning("seg") == ["segment"]


def test_a_manifest_with_an_unknown_driver_is_told_of_those_of_others_too() -> None:
    with pytest.raises(Exception, match="there is no driver 'hup'; did you mean hub"):
        load(["-"], {}, io.StringIO("version: 1\nproject: shop\nnetworks: {front: {driver: hup}}\n"))
