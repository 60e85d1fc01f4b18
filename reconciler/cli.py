"""The commands: what each takes, calls and prints. docs/cli.md describes them; what they do is `reconciler.api`'s.

Everything that takes time to import is imported by the command that needs it.
"""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import commands, exits
from .commands import Wanted
from .errors import NetapplyError
from .exits import DIFFERENCES, OK, USAGE, Usage
from .options import (
    DEFAULT_FILE,
    Check,
    Debug,
    Detailed,
    DriverName,
    DriverOption,
    Files,
    FilesOrNone,
    Force,
    Format,
    Group,
    HostName,
    Manifests,
    Output,
    Plain,
    Project,
    Prune,
    Quiet,
    Start,
    Strict,
    Target,
    Verbose,
    Wait,
    Write,
    WriteKey,
)
from .output import page_of, put, replace_files, write
from .report.terminal import view_of

if TYPE_CHECKING:
    from .drivers import Driver
    from .manifest.model import Manifest


USAGE_ERROR: type[Any] = typer.BadParameter.__mro__[1]
"""Click's UsageError: of which click, an own one or that within typer, depends on typer's version."""

app = typer.Typer(
    name="netapply",
    cls=Group,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Make the networks of Linux containers what a manifest says. `netapply FILE...` is `netapply apply FILE...`.",
    epilog="Exit codes: 0 done, 1 failed and rolled back, 2 differences, 3 refused, 4 rolling back failed, 64 usage, "
    "65 manifest, 69 the host lacks something, 70 a bug, 75 locked, 77 not permitted.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from ._version import __version__

        write(sys.stdout, f"netapply {__version__}\n")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")] = False,
) -> None:
    pass


def run(args: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    return exits.run(lambda: _invoke(list(args)), args)


def _invoke(args: list[str]) -> int:
    command = typer.main.get_command(app)
    if "_NETAPPLY_COMPLETE" in os.environ:
        command.main(args, prog_name="netapply")  # answers the shell and exits
    try:
        with command.make_context("netapply", args) as ctx:
            if not args:
                write(sys.stderr, command.get_help(ctx) + "\n")
                return USAGE
            return int(command.invoke(ctx) or OK)
    except typer.Exit as done:
        return done.exit_code
    except USAGE_ERROR as wrong:
        place = getattr(wrong, "ctx", None)
        raise Usage(wrong.format_message(), place.command_path if place else "netapply") from wrong


@app.command()
def apply(
    files: Files,
    check: Check = False,
    prune: Prune = True,
    force: Force = False,
    strict: Strict = False,
    here: HostName = None,
    detailed_exitcode: Detailed = False,
    output: Output = Format.TEXT,
    verbose: Verbose = False,
    quiet: Quiet = False,
    no_color: Plain = False,
    lock_timeout: Wait = 10.0,
    debug: Debug = False,
) -> int:
    """Make the host what the manifest says, or leave it as it was. The default command."""
    asked = (detailed_exitcode, output is Format.JSON, verbose, quiet, no_color, lock_timeout)
    return commands.apply(Wanted(tuple(files), check, prune, force, strict, here, *asked))


@app.command()
def plan(
    files: Files,
    prune: Prune = True,
    force: Force = False,
    strict: Strict = False,
    here: HostName = None,
    detailed_exitcode: Detailed = False,
    output: Output = Format.TEXT,
    verbose: Verbose = False,
    quiet: Quiet = False,
    no_color: Plain = False,
    debug: Debug = False,
) -> int:
    """Show what applying the manifest would do. Changes nothing and waits for nobody."""
    asked = (detailed_exitcode, output is Format.JSON, verbose, quiet, no_color)
    return commands.plan(Wanted(tuple(files), False, prune, force, strict, here, *asked))


@app.command()
def destroy(
    files: FilesOrNone = None,
    project: Project = None,
    here: HostName = None,
    check: Check = False,
    detailed_exitcode: Detailed = False,
    output: Output = Format.TEXT,
    verbose: Verbose = False,
    quiet: Quiet = False,
    no_color: Plain = False,
    lock_timeout: Wait = 10.0,
    debug: Debug = False,
) -> int:
    """Remove all that the project owns, and nothing else."""
    from . import api
    from .engine import Options

    page = page_of(output is Format.JSON, verbose=verbose, quiet=quiet, no_color=no_color)
    name, manifest = _which(files, project, here)
    if check:
        proposal = api.plan_destruction(manifest or name, commands.host_factory())
        return commands.tell(page, proposal, None, detailed_exitcode, checked=True)
    options = Options(lock_timeout=lock_timeout)
    return commands.carry_out(
        page, lambda progress: api.destroy(manifest or name, commands.host_factory(), options, progress), None
    )


@app.command()
def validate(
    files: Files,
    here: HostName = None,
    output: Output = Format.TEXT,
    quiet: Quiet = False,
    no_color: Plain = False,
    debug: Debug = False,
) -> int:
    """Check the manifest. Needs no rights and no host."""
    from . import api
    from .report import about

    manifest = api.load(*files)
    if here:
        from .placement import known

        known(manifest, here)
    if output is Format.JSON:
        put(about.valid_json(manifest))
    elif not quiet:
        put(about.valid(manifest))
    return OK


@app.command()
def status(
    files: FilesOrNone = None,
    project: Project = None,
    here: HostName = None,
    detailed_exitcode: Detailed = False,
    output: Output = Format.TEXT,
    no_color: Plain = False,
    debug: Debug = False,
) -> int:
    """Show what there is: networks, containers, addresses; with a manifest also what has drifted from it."""
    from . import api
    from .engine import Options
    from .report import json
    from .report import status as report
    from .report.content import proposed

    name, manifest = _which(files, project, here)
    host = commands.host_factory()
    proposal = api.plan(manifest, host, Options(here=here)) if manifest else api.plan_destruction(name, host)
    content = proposed(proposal, manifest) if manifest else None
    observed = proposal.observation.state
    if output is Format.JSON:
        put(json.status(name, observed, content))
    else:
        view = view_of(sys.stdout, os.environ, colour=not no_color)
        put(report.tree(name, observed, content, view))
    return DIFFERENCES if content and content.plan and detailed_exitcode else OK


@app.command()
def explain(
    start: Start,
    target: Target,
    file: Manifests = [DEFAULT_FILE],  # noqa: B006 - typer takes its own copy
    here: HostName = None,
    detailed_exitcode: Detailed = False,
    output: Output = Format.TEXT,
    debug: Debug = False,
) -> int:
    """Say whether A reaches B on the host as it is, hop by hop, and what to change if not. Sends nothing."""
    from dataclasses import replace

    from . import api
    from . import explain as model
    from .engine import Options
    from .host.coexistence import bridged
    from .report import explain as report

    manifest = api.load(*file)
    host = commands.host_factory()
    rules = host.rules()
    filters = host.filters(model.hooks(rules))
    proposal = api.plan(manifest, host, Options(here=here))
    known = model.situation(proposal, manifest, filters, bridged() if filters else (), rules)
    try:
        one = model.sender(start, known.topology, known.elsewhere, known.waiting)
        known = replace(known, told=host.told(model.placed(one, known)))
        other = model.aimed(target, one, known)
    except model.Unknown as wrong:
        raise Usage(str(wrong)) from wrong
    answer = model.explain(one, other, replace(known, sockets=host.listeners(model.concerned(one, other, known))))
    put(report.as_json(answer) if output is Format.JSON else report.text(answer))
    return DIFFERENCES if answer.verdict == "no" and detailed_exitcode else OK


@app.command()
def doctor(
    files: FilesOrNone = None,
    here: HostName = None,
    detailed_exitcode: Detailed = False,
    output: Output = Format.TEXT,
    no_color: Plain = False,
    debug: Debug = False,
) -> int:
    """Say what is wrong with the host, or will be with a manifest on it, and what mends it. Changes nothing."""
    from .diagnosis import diagnose

    view = view_of(sys.stdout, os.environ, colour=not no_color)
    return diagnose(files or [], commands.host_factory(), here, output is Format.JSON, detailed_exitcode, view)


@app.command()
def pin(
    files: Files,
    in_place: Write = False,
    here: HostName = None,
    output: Output = Format.TEXT,
    quiet: Quiet = False,
    no_color: Plain = False,
    debug: Debug = False,
) -> int:
    """Show, as a diff, how to write the chosen subnets and addresses into the manifest; --write does it."""
    from . import api
    from .engine import Options
    from .report import about

    if in_place and "-" in files:
        raise Usage("standard input can't be written to; leave --write out and pass the diff to patch")
    manifest = api.load(*files)
    texts = api.pinned(manifest, commands.host_factory(), Options(here=here))
    if in_place:
        replace_files(texts)
    if output is Format.JSON:
        put(about.pinned_json(manifest.project, texts, in_place))
    elif texts:
        put(about.pinned(manifest.sources, texts, view_of(sys.stdout, os.environ, colour=not no_color)))
    elif not quiet:
        put(f"{manifest.project}: nothing to pin\n")
    return OK


@app.command()
def keys(
    files: Files,
    in_place: WriteKey = False,
    here: HostName = None,
    output: Output = Format.TEXT,
    debug: Debug = False,
) -> int:
    """Make this host's private key unless it has one, and print the public one; --write puts it into the manifest."""
    from . import api
    from .report import about

    if in_place and "-" in files:
        raise Usage("standard input can't be written to; leave --write out and put the key there by hand")
    manifest = api.load(*files, keyless=True)
    key = api.own_key(manifest, commands.host_factory(), here)
    texts = api.with_key(manifest, key) if in_place else {}
    replace_files(texts)
    put(about.keys_json(manifest, key, texts) if output is Format.JSON else about.keys(manifest, key, texts))
    return OK


@app.command()
def schema(driver: DriverOption = None, debug: Debug = False) -> int:
    """Print the JSON Schema of manifests, or of one driver's options."""
    from .manifest.schema import options_schema, published

    put(options_schema(driver, _driver(driver).OPTIONS) if driver else published())
    return OK


@app.command()
def drivers(name: DriverName = None, output: Output = Format.TEXT, debug: Debug = False) -> int:
    """List the drivers, or explain one and its options."""
    from .drivers import available, find
    from .plugins import sources
    from .report import drivers as report

    found: list[report.Known] = []
    for one in [name] if name else available():
        try:
            found.append(report.Known(one, sources(one), _driver(one) if name else find(one)))
        except NetapplyError as failure:  # it must not hide the others
            if name:
                raise
            found.append(report.Known(one, sources(one), fault=str(failure)))
    view = view_of(sys.stdout, os.environ, colour=False)
    if output is Format.JSON:
        put(report.listed_json(found))
    else:
        put(report.explained(found[0], view) if name else report.listed(found, view))
    return OK


def _driver(name: str) -> "Driver":
    from .drivers import available, find

    driver = find(name)
    if driver is None:
        from .manifest.words import did_you_mean, listed

        known = available()
        hint = did_you_mean(name, known) or f"there are {listed(known, 'and')}"
        raise Usage(f"there is no driver {name}; {hint}")
    return driver


def _which(files: list[str] | None, project: str | None, here: str | None) -> "tuple[str, Manifest | None]":
    """Return the project that is meant, and its manifest if there is one. `here` must be one of its hosts."""
    if bool(files) == bool(project):
        raise Usage("say which project: either FILE... or --project NAME")
    if project:
        import re

        from .manifest.core import PROJECT

        if not re.search(PROJECT, project):
            raise Usage(f"{project} is no project's name: small letters, digits, _ . and -")
        return project, None
    from . import api

    manifest = api.load(*(files or ()))
    if here:
        from .placement import known

        known(manifest, here)
    return manifest.project, manifest
