"""Variables in a manifest's values: ${NAME}, ${NAME:-default}, and $$ for a dollar sign.

They are replaced in each value by itself, after YAML has been read: what a variable holds can't add keys or lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_FORM = re.compile(
    r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^}]*)?\}|(?P<other>\{[^}]*\}?|))"
)


def substitute(text: str, environ: Mapping[str, str], complain: Callable[[str, str], None]) -> str:
    """Return the text with its variables replaced; `complain(what, mend)` is told of those that can't be.

    As in the shell, the default also stands in for a variable that is set to nothing.
    """

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        if name := found["name"]:
            given = environ.get(name)
            if found["default"] is not None:
                return given or found["default"][2:]
            if given is None:
                complain(f"the variable {name} is not set", _set_it(name, environ))
            return given or ""
        form = f"${found['other']}"
        complain(
            f"{form!r} is not a variable",
            "write ${NAME} or ${NAME:-default}, within { } and [ ] in quotes; $$ is a dollar sign",
        )
        return form

    return _FORM.sub(value, text)


def _set_it(name: str, environ: Mapping[str, str]) -> str:
    from .words import did_you_mean

    return did_you_mean(name, environ) or f"set it, or give a default: ${{{name}:-...}}"
