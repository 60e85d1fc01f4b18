"""What is read without typer is read as typer reads it, and everything else is left to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler import cli, commands, shortcut
from reconciler.commands import Wanted

COMMAND = typer.main.get_command(cli.app)
FLAGS = sorted(
    {
        word
        for name in ("apply", "plan")
        for param in COMMAND.commands[name].params  # type: ignore[attr-defined]
        if getattr(param, "is_flag", False)
        for word in (*param.opts, *param.secondary_opts)
    }
)
FILES = ("shop.yaml", "./plan", "manifests/", "-", "status.d/front.yml")
WORDS = ("apply", "plan", "destroy", "status", "pln", "shop", "", "json")
OPTIONS = ("--format", "--format=json", "--format=text", "--format=xml", "--host", "--lock-timeout", "--lock-timeout=3")
MORE = ("-qv", "--", "--help", "--version", "--forc", "--check=1")


def by_typer(args: Sequence[str]) -> tuple[str, Wanted] | None:
    """Return what typer takes the words for, None if for no `apply` and no `plan`."""
    told: list[tuple[str, Wanted]] = []

    def doing(name: str) -> Callable[[Wanted], int]:
        def act(wanted: Wanted) -> int:
            told.append((name, wanted))
            return 0

        return act

    with pytest.MonkeyPatch.context() as patch:
        for name in ("apply", "plan"):
            patch.setattr(commands, name, doing(name))
        for name in ("destroy", "status"):
            patch.setattr(COMMAND.commands[name], "callback", lambda **_: 0)  # type: ignore[attr-defined]
        try:
            with COMMAND.make_context("netapply", list(args)) as ctx:
                COMMAND.invoke(ctx)
        except (typer.Exit, cli.USAGE_ERROR):
            return None
    return told[0] if told else None


@given(st.lists(st.sampled_from((*FLAGS, *FILES, *WORDS, *OPTIONS, *MORE)), max_size=6))
@example(["-q", "shop.yaml"])
@example(["plan", "plan"])
@example(["--check", "plan", "shop.yaml"])
@example(["shop.yaml", "plan"])
@example(["status", "shop.yaml"])
@example(["--format=json", "--format=text", "shop.yaml"])
def test_both_take_the_same_words_for_the_same(args: list[str]) -> None:
    meant = shortcut.read(args)
    assert meant is None or meant == by_typer(args)


@pytest.mark.parametrize(("command", "flag"), [*itertools.product(((), ("apply",), ("plan",)), FLAGS)])
def test_every_option_without_a_value_is_known(command: Sequence[str], flag: str) -> None:
    args = [*command, flag, "shop.yaml"]
    meant = shortcut.read(args)
    assert meant == by_typer(args)
    assert (meant is None) == (command == ("plan",) and flag == "--check")


@pytest.mark.parametrize("variable", ["_NETAPPLY_COMPLETE", "NETAPPLY_HOST"])
def test_what_the_environment_asks_for_is_left_to_typer(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shortcut.read(["shop.yaml"])
    monkeypatch.setenv(variable, "one")
    assert shortcut.read(["shop.yaml"]) is None


def test_what_the_shortcut_does_not_read_goes_to_typer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "run", len)
    assert shortcut.run(["pln", "shop.yaml"]) == 2
