"""The grammar of the command line: which command is meant, its arguments and options, what a shell may complete."""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from .manifest.model import Manifest


class Format(StrEnum):
    TEXT = "text"
    JSON = "json"


def files_beginning(incomplete: str) -> list[str]:
    """Return the YAML files and the folders that begin so."""
    folder, name = os.path.split(incomplete)
    try:
        entries = [entry for entry in os.scandir(folder or ".") if entry.name.startswith(name)]
    except OSError:
        return []
    hidden = name.startswith(".")
    return sorted(
        os.path.join(folder, entry.name) + ("/" if entry.is_dir() else "")
        for entry in entries
        if (hidden or not entry.name.startswith(".")) and (entry.is_dir() or entry.name.endswith((".yaml", ".yml")))
    )


LONGEST_WAIT = 86_400
"""Seconds: whatever waits must end."""

LINKS = "/sys/class/net"
"""Where sysfs has a folder for each link of this network namespace."""


def projects_beginning(incomplete: str) -> list[str]:
    """Return the projects with a link in this namespace: sysfs has the aliases, so that it needs no rights."""
    from glob import iglob

    from .resources import ALIAS

    found: set[str] = set()
    for path in iglob(f"{LINKS}/*/ifalias"):
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                alias = stream.read(512)
        except OSError:
            continue
        if alias.startswith(ALIAS):
            found.add(alias.removeprefix(ALIAS).partition("/")[0])
    return sorted(name for name in found if name.startswith(incomplete))


def drivers_beginning(incomplete: str) -> list[str]:
    from .drivers import available

    return [name for name in available() if name.startswith(incomplete)]


DEFAULT_FILE = "netapply.yaml"
"""The manifest that is meant where a command takes none as an argument and none is named."""


def senders_beginning(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the containers of the manifest that is meant, and who else may ask, that begin so."""
    manifest = _meant(ctx)
    names = manifest.containers if manifest else ()
    return [name for name in (*names, "host", "outside") if name.startswith(incomplete)]


def ends_beginning(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the same, the services and the aliases: who may be asked for."""
    manifest = _meant(ctx)
    more = [*manifest.services] if manifest else []
    for container in manifest.containers.values() if manifest else ():
        more += (alias for end in container.endpoints for alias in end.aliases)
    return [*dict.fromkeys((*senders_beginning(ctx, incomplete), *(one for one in more if one.startswith(incomplete))))]


def hosts_beginning(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the hosts of the manifest that is meant that begin so."""
    manifest = _meant(ctx)
    return [name for name in (manifest.hosts if manifest else ()) if name.startswith(incomplete)]


def _meant(ctx: typer.Context) -> "Manifest | None":
    """Return the manifest that a line is about whose last word is missing, None where there is none to read.

    An option without its value ends the parsing of that line: files are then among the words that are left.
    """
    from .errors import NetapplyError
    from .manifest import load

    files = ctx.params.get("file") or ctx.params.get("files") or [word for word in ctx.args if not word.startswith("-")]
    try:
        return load(files or [DEFAULT_FILE])
    except (NetapplyError, OSError):
        return None


_FILE = typer.Argument(
    metavar="FILE...",
    help="Manifest files or folders of them, merged; - is standard input.",
    autocompletion=files_beginning,
    show_default=False,
)
_FILES_OR_NONE = typer.Argument(
    metavar="[FILE...]", help="Manifest files.", autocompletion=files_beginning, show_default=False
)
Files: TypeAlias = Annotated[list[str], _FILE]
FilesOrNone: TypeAlias = Annotated[list[str] | None, _FILES_OR_NONE]
Project: TypeAlias = Annotated[
    str | None,
    typer.Option("--project", metavar="NAME", help="A project by name.", autocompletion=projects_beginning),
]
Check: TypeAlias = Annotated[bool, typer.Option("--check", help="Show what would be done, change nothing.")]
Prune: TypeAlias = Annotated[
    bool, typer.Option("--prune/--no-prune", help="Remove what the project has and the manifest has not.")
]
Force: TypeAlias = Annotated[bool, typer.Option("--force", help="Remove even where it is much: the limits are off.")]
Strict: TypeAlias = Annotated[bool, typer.Option("--strict", help="A container that does not run is an error.")]
Detailed: TypeAlias = Annotated[
    bool, typer.Option("--detailed-exitcode", help="Exit with 2 if there are differences and they stay.")
]
Output: TypeAlias = Annotated[Format, typer.Option("--format", help="How to print the result, and errors.")]
Verbose: TypeAlias = Annotated[bool, typer.Option("-v", "--verbose", help="Every kernel object, the whole firewall.")]
Quiet: TypeAlias = Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing if there is nothing to do.")]
Plain: TypeAlias = Annotated[bool, typer.Option("--no-color", help="No colours (as the variable NO_COLOR).")]


def _seconds(value: float) -> float:
    if not 0 <= value <= LONGEST_WAIT:  # nan is neither
        raise typer.BadParameter(f"it is {value:g}; give seconds, from 0 to {LONGEST_WAIT} (a day)")
    return value


Wait: TypeAlias = Annotated[
    float,
    typer.Option("--lock-timeout", callback=_seconds, metavar="SECONDS", help="How long to wait for another run."),
]
Debug: TypeAlias = Annotated[bool, typer.Option("--debug", help="Show where in netapply an error comes from.")]
DriverOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--driver", metavar="NAME", help="A driver's options alone.", autocompletion=drivers_beginning),
]
DriverName: TypeAlias = Annotated[
    str | None,
    typer.Argument(metavar="[NAME]", help="A driver.", autocompletion=drivers_beginning, show_default=False),
]
HostName: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--host",
        metavar="NAME",
        envvar="NETAPPLY_HOST",
        help="Which of the manifest's hosts this is.",
        autocompletion=hosts_beginning,
    ),
]
_END = "an address, `host` or `outside`"
Start: TypeAlias = Annotated[
    str, typer.Argument(metavar="A", help=f"A container, {_END}.", autocompletion=senders_beginning, show_default=False)
]
Target: TypeAlias = Annotated[
    str,
    typer.Argument(
        metavar="B[:PORT]",
        help=f"A container, a service, a name, {_END}; a port, of TCP or as 53/udp.",
        autocompletion=ends_beginning,
        show_default=False,
    ),
]
Manifests: TypeAlias = Annotated[
    list[str],
    typer.Option(
        "-f", "--file", metavar="FILE", help="The manifest; several are merged.", autocompletion=files_beginning
    ),
]
Write: TypeAlias = Annotated[bool, typer.Option("--write", help="Write them into the files.")]
WriteKey: TypeAlias = Annotated[bool, typer.Option("--write", help="Write the public key into the manifest.")]


class Group(TyperGroup):
    """A group with a default command: `netapply FILE...` is `netapply apply FILE...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        valued = {name for command in self.commands.values() for name in _valued(command)}
        word = args[place] if (place := first_word(args, valued)) < len(args) else ""
        if ctx.resilient_parsing and place == len(args) and _OWN.isdisjoint(args):
            return super().parse_args(ctx, [])  # what is to be completed may be the command
        close = get_close_matches(word, self.commands, 1) if word.isalpha() and word not in self.commands else None
        if close and not ctx.resilient_parsing and not os.path.exists(word):
            ctx.fail(f"there is neither a command nor a file {word}; did you mean {close[0]}?")
        return super().parse_args(ctx, arranged(args, set(self.commands), valued))

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        commands = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            return [*commands, *self.commands["apply"].shell_complete(ctx, incomplete)]
        return [*commands, *(type(_item(ctx, self))(name) for name in files_beginning(incomplete))]


def _item(ctx: Any, group: Group) -> Any:
    """Return a completion item, whose class is Click's own or the one that typer carries."""
    return TyperGroup.shell_complete(group, ctx, "")[0]


def _valued(command: Any) -> set[str]:
    """Return the options of a command that take a value."""
    return {name for param in command.params if not getattr(param, "is_flag", True) for name in param.opts}


_OWN = {"--help", "--version", "--install-completion", "--show-completion"}


def first_word(args: Sequence[str], valued: set[str]) -> int:
    """Return the place of the first word that is neither an option nor the value of one of those in `valued`."""
    place = 0
    while place < len(args) and args[place].startswith("-") and args[place] not in ("-", "--"):
        place += 2 if args[place] in valued else 1
    return place


def arranged(args: Sequence[str], commands: set[str], valued: set[str]) -> list[str]:
    """Return the arguments with the command in front, "apply" if none is given.

    Options may come before the command, which is the first word if that is the name of one: a file that is named like a
    command is written ./plan, or after --.
    """
    if not args or args[0] in _OWN:
        return list(args)
    place = first_word(args, valued)
    if place < len(args) and args[place] in commands:
        return [args[place], *args[:place], *args[place + 1 :]]
    return ["apply", *args]
