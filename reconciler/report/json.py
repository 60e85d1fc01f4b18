"""A plan, a state and errors as JSON. The form of a plan is schemas/plan.schema.json; keys always come in one order."""

from __future__ import annotations

import json
from collections.abc import Iterable

from ..errors import ManifestError, NetapplyError, Position, Refused, RollbackFailed
from ..naming import digest
from ..plan import Change, Create, Delete, Update
from ..resources import HOST, NftTable, Resource, State, subject, value_of
from ..safety import is_disruptive
from ..wire import Json as Json
from ..wire import plain
from . import publishing
from .content import Content
from .entries import Counts, count, fold, resource_of, source

FORMAT_VERSION = 1
"""Moves when a reader of the form before would go wrong; new keys don't move it."""


def text(value: Json) -> str:
    """Return the value as JSON text, indented, ended by a newline; ASCII, so that every stream can carry it."""
    return json.dumps(value, indent=2) + "\n"


def plan(content: Content) -> Json:
    """Return a plan, applied or not (`applied`, and then `seconds`)."""
    texts: dict[str, Json] = {}
    changes: list[Json] = [_change(change, content, texts) for change in content.plan.changes]
    return {
        "format_version": FORMAT_VERSION,
        "project": content.project,
        "applied": content.seconds is not None,
        "seconds": None if content.seconds is None else round(content.seconds, 3),
        "changes": changes,
        "texts": texts,
        "services": _services(content) if texts else [],
        "ports": [one for change in content.plan.changes for one in publishing.changed(change)],
        "notes": list(content.plan.notes),
        "pending": {name: content.pending[name] for name in sorted(content.pending)},
        "refusals": list(content.refusals),
        "summary": {**_counts(count(fold(content.plan))), "objects": _counts(Counts(*content.plan.counts))},
    }


def _services(content: Content) -> Json:
    from . import services

    return services.changed(content.plan.changes)


def _counts(counts: Counts) -> dict[str, Json]:
    return dict(counts._asdict())


def _told(one: Resource | None, texts: dict[str, Json]) -> Json:
    """Return a resource as JSON; the text of a sandbox's table, the same in many, is in `texts` by its digest."""
    value = plain(one)
    if isinstance(one, NftTable) and one.sandbox != HOST and isinstance(value, dict):
        return {**value, "text": _by_digest(one.text, texts)}
    return value


def _by_digest(text: str, texts: dict[str, Json]) -> Json:
    found = digest(text).hex()[:16]
    texts.setdefault(found, text)
    return {"digest": found}


def _change(change: Change, content: Content, texts: dict[str, Json]) -> Json:
    before: Resource | None = None if isinstance(change, Create) else change.before
    after: Resource | None = None if isinstance(change, Delete) else change.after
    container, network = subject(resource_of(change))
    place = content.position and source(change, content.position)
    return {
        "action": type(change).__name__.lower(),
        "kind": change.key.kind,
        "key": change.key.name,
        "network": network,
        "container": container,
        "replacement": not isinstance(change, Update)
        and (change.replaces if isinstance(change, Create) else change.replaced),
        "reason": None if isinstance(change, Update) else change.reason or None,
        "disruptive": is_disruptive(change),
        "source": _position(place) if place else None,
        "changed": _changed(change.before, change.after, change.fields, texts) if isinstance(change, Update) else {},
        "before": _told(before, texts),
        "after": _told(after, texts),
    }


def _changed(before: Resource, after: Resource, names: Iterable[str], texts: dict[str, Json]) -> Json:
    def told(one: Resource, name: str) -> Json:
        if name == "text" and isinstance(one, NftTable) and one.sandbox != HOST:
            return _by_digest(one.text, texts)
        return plain(value_of(one, name))

    return {name: {"before": told(before, name), "after": told(after, name)} for name in names}


def status(project: str, observed: State, content: Content | None) -> Json:
    """Return what there is of a project. `drift` are the changes that would mend it, null without a manifest."""
    texts: dict[str, Json] = {}
    drift: Json = None if content is None else [_change(change, content, texts) for change in content.plan.changes]
    ports = [one for resource in observed.values() for one in publishing.of(resource)]
    resources: list[Json] = [
        {"kind": key.kind, "key": key.name, "value": _told(observed[key], texts)} for key in sorted(observed)
    ]
    return {
        "format_version": FORMAT_VERSION,
        "project": project,
        "resources": resources,
        "texts": texts,
        "ports": publishing.as_json(ports),
        "drift": drift,
    }


def error(failure: NetapplyError) -> Json:
    """Return an error, with the exit code that it ends in."""
    return problem(
        str(failure),
        failure.exit_code,
        type(failure).__name__,
        problems=[
            {"source": _position(one.position), "what": one.what, "mend": one.mend or None} for one in failure.problems
        ]
        if isinstance(failure, ManifestError)
        else [],
        refusals=list(failure.reasons) if isinstance(failure, Refused) else [],
        left=list(failure.left) if isinstance(failure, RollbackFailed) else [],
    )


def problem(
    message: str,
    exit_code: int,
    kind: str,
    problems: list[Json] | None = None,
    refusals: list[Json] | None = None,
    left: list[Json] | None = None,
) -> Json:
    """Return an error by its parts. `kind` is the name of its class, "Usage" or "Bug"."""
    return {
        "format_version": FORMAT_VERSION,
        "error": {
            "kind": kind,
            "exit_code": exit_code,
            "message": message,
            "problems": problems or [],
            "refusals": refusals or [],
            "left": left or [],
        },
    }


def _position(place: Position) -> Json:
    return {"file": place.file, "line": place.line, "column": place.column}
