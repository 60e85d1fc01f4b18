"""The suite for drivers' authors: every driver that netapply has passes it, and each broken one fails where it must."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from reconciler import drivers
from reconciler.conformance.checks import CHECKS, try_out
from reconciler.conformance.subject import Subject
from reconciler.drivers import built_in
from reconciler.errors import NetapplyError
from reconciler.host import executables as host
from reconciler.networks import Endpoint, Network, Subnet
from reconciler.resources import state
from tests.drivers import ROOT, code, executable, package

SEGMENT = code("drivers.md")
NEEDED: dict[str, dict[str, Any]] = {
    "cni": {"networks": {"*": {"driver_opts": {"conflist": {"type": "bridge"}}}}},
    "docker-plugin": {"networks": {"*": {"driver_opts": {"plugin": "weave"}}}},
    "overlay": {
        "hosts": {"here": {"address": "192.0.2.10"}, "there": {"address": "192.0.2.20"}},
        "containers": {"*": {"host": "here"}},
    },
}
"""What manifests with a driver can't do without."""


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("name", built_in())
def test_a_driver_that_comes_with_netapply_passes(name: str, check: str) -> None:
    try_out(CHECKS[check], Subject(name, NEEDED.get(name, {})), 5, same=True)


@pytest.mark.parametrize("check", CHECKS)
def test_the_driver_that_the_documentation_shows_passes(
    check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    package(tmp_path, "segment", SEGMENT)
    try_out(CHECKS[check], Subject("segment"), 15, same=True)


@pytest.mark.parametrize("check", CHECKS)
def test_the_executable_that_the_documentation_shows_passes(
    check: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "FOLDERS", ())
    monkeypatch.setenv(host.VARIABLE, str(tmp_path))
    executable(tmp_path, "segment", code("drivers/exec.md"))
    try_out(CHECKS[check], Subject("segment"), 2, same=True)


def test_both_languages_make_the_same_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page says so."""
    monkeypatch.setattr(host, "FOLDERS", ())
    monkeypatch.setenv(host.VARIABLE, str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    package(tmp_path, "segment", SEGMENT, driver="packaged")
    executable(tmp_path, "segment", code("drivers/exec.md"))
    ends = tuple(
        Endpoint(name, "front", "eth0", f"02:00:00:00:00:0{number}", (f"10.20.0.{number}/24",), sysctls={"a": "1"})
        for number, name in enumerate(("web", "db"), 1)
    )
    network = Network("shop", "front", "segment", 1400, {"stp": True}, (Subnet("10.20.0.0/24"),), ends, protect=True)
    packaged, executed = drivers.find("packaged"), drivers.find("segment")
    assert packaged is not None
    assert executed is not None
    assert state(list(packaged.lower(network))) == state(list(executed.lower(network)))  # type: ignore[arg-type]
    assert (packaged.SUMMARY, packaged.OPTIONS) == (executed.SUMMARY, executed.OPTIONS)


NAMES = '(one.path, "veth", HOST, outer'
BROKEN: dict[str, tuple[str, str, str]] = {
    "has a full stop": ('nobody else"', 'nobody else."', "what_it_says_of_itself_is_in_order"),
    "explains no option": ('"description": ', '"title": ', "what_it_says_of_itself_is_in_order"),
    "has a default that can't be": ('"default": False', '"default": "no"', "what_it_says_of_itself_is_in_order"),
    "has a wrong schema": ('"type": "boolean"', '"type": "bool"', "what_it_says_of_itself_is_in_order"),
    "always complains": ("    if network.allow:", "    if True:", "a_network_with_no_options_is_valid"),
    "points nowhere": (
        'Complaint(("allow",)',
        'Complaint(("alow",)',
        "checking_depends_on_its_arguments_alone_and_points_into_the_network",
    ),
    "complains of what it has not": (
        'Complaint(("allow",)',
        'Complaint(("driver_opts", "allow")',
        "checking_depends_on_its_arguments_alone_and_points_into_the_network",
    ),
    "complains at times": (
        "    if network.allow:",
        "    TIMES.append(1)\n    if network.allow and len(TIMES) % 2:",
        "checking_depends_on_its_arguments_alone_and_points_into_the_network",
    ),
    "fails at checking": (
        "    if network.allow:",
        "    if network.mtu > 0 and network.allow:",
        "checking_depends_on_its_arguments_alone_and_points_into_the_network",
    ),
    "counts its calls": (
        '{"stp_state"',
        '{"forward_delay": TIMES.append(1) or len(TIMES), "stp_state"',
        "lowering_depends_on_the_network_alone",
    ),
    "changes what it is given": (
        "network.options.get(",
        "network.options.pop(",
        "lowering_depends_on_the_network_alone",
    ),
    "numbers its endpoints": (
        NAMES,
        '(one.path, "veth", HOST, outer[:9] + str(network.endpoints.index(one))',
        "the_order_of_endpoints_does_not_matter",
    ),
    "has an MTU by how many there are": (
        "mtu=network.mtu, mac=one.mac",
        "mtu=network.mtu - len(network.endpoints), mac=one.mac",
        "one_container_more_changes_no_other",
    ),
    "yields another's path": ('Link(one.path, "veth"', 'Link("x/other", "veth"', "what_it_yields_is_in_order"),
    "yields options that the kernel has not": ('"stp_state"', '"stp"', "what_it_yields_is_in_order"),
    "stands on nothing": ("master=network.name", 'master="nothing"', "what_it_yields_is_in_order"),
    "takes a link of the host's": ("master=network.name", 'master="/canary0"', "what_it_yields_is_in_order"),
    "yields the other way round": ("yield Link(network.name", "yield (network.name", "what_it_yields_is_in_order"),
    "forgets endpoints": (
        "in network.endpoints:",
        "in network.endpoints[:1]:",
        "every_endpoint_has_what_the_manifest_gives_it",
    ),
    "has a path of its own for endpoints": (
        'Link(one.path, "veth"',
        'Link(one.path + "#veth", "veth"',
        "every_endpoint_has_what_the_manifest_gives_it",
    ),
    "names interfaces itself": ("one.interface_name", '"eth9"', "every_endpoint_has_what_the_manifest_gives_it"),
    "forgets the addresses": (
        "yield from addressing(one)",
        "list(addressing(one))",
        "every_endpoint_has_what_the_manifest_gives_it",
    ),
    "forgets that it is protected": (
        '"tags": tags(network)',
        '"tags": ()',
        "links_of_a_protected_network_are_marked",
    ),
    "forgets the project": (
        "bridge_name(network.project, network.name)",
        "bridge_name('p', network.name)",
        "two_projects_do_not_get_into_each_others_way",
    ),
    "promises another link": (
        "has_gateway=",
        'host_link=lambda project, network, options: "br0", has_gateway=',
        "the_link_that_others_may_stand_on_is_there",
    ),
    "gives all the same name": (
        NAMES,
        '(one.path, "veth", HOST, "veth0"',
        "a_second_run_has_nothing_to_do",
    ),
    "is another one each time": (
        '{"stp_state"',
        '{"forward_delay": TIMES.append(1) or len(TIMES), "stp_state"',
        "another_manifest_and_back_is_as_before",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_driver_that_is_broken_is_caught(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    was, becomes, check = BROKEN[kind]
    assert was in SEGMENT
    monkeypatch.syspath_prepend(str(tmp_path))
    package(tmp_path, "segment", SEGMENT.replace(was, becomes).replace("\nSUMMARY", "\nTIMES: list[int] = []\nSUMMARY"))
    with pytest.raises((AssertionError, NetapplyError, BaseExceptionGroup)):
        try_out(CHECKS[check], Subject("segment"), 30, same=True)


# As its user calls it


def called(*arguments: str, folder: Path, module: str = "reconciler.conformance") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{folder}"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_an_author_runs_it_on_a_driver_by_its_name(tmp_path: Path) -> None:
    package(tmp_path, "segment", SEGMENT)
    ran = called("segment", "--netapply-examples=2", folder=tmp_path)
    assert (ran.returncode, f"{len(CHECKS)} passed" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_an_author_reads_what_is_wrong_and_by_which_check(tmp_path: Path) -> None:
    package(tmp_path, "segment", SEGMENT.replace("one.interface_name", '"eth9"'))
    ran = called("segment", "--netapply-examples=3", "-k", "every_endpoint", folder=tmp_path)
    assert ran.returncode == 1
    assert "test_the_driver[every_endpoint_has_what_the_manifest_gives_it]" in ran.stdout
    assert "is elsewhere, or has another name" in ran.stdout


def test_it_joins_a_suite_of_the_authors_own(tmp_path: Path) -> None:
    package(tmp_path, "segment", SEGMENT)
    options = ["-p", "reconciler.conformance.plugin", "-p", "no:cacheprovider", "--pyargs", "reconciler.conformance"]
    ran = called(
        *options,
        "--netapply-driver=segment",
        "--netapply-examples=1",
        "-k",
        "in_order",
        folder=tmp_path,
        module="pytest",
    )
    assert (ran.returncode, "2 passed" in ran.stdout) == (0, True), ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 64, "usage: python -m reconciler.conformance NAME"),
        (("segmnt",), 4, "there is no driver segmnt; there are bridge"),
        (("bridge", "--netapply-manifest", "{"), 4, "--netapply-manifest is no JSON"),
        (("bridge", "--netapply-manifest", "7"), 4, "--netapply-manifest is no JSON object"),
    ],
)
def test_a_wrong_call_is_said_to_be_one(tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    ran = called(*arguments, folder=tmp_path)
    assert (ran.returncode, said in ran.stderr) == (code, True), ran.stdout + ran.stderr
