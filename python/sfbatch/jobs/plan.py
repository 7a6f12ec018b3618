"""Compares `conf/clusters.yaml` with a server and makes them equal; a second time there is nothing left to do.

What the file does not name is left as it is, with one exception, the red/black swap: a cluster that is UP, and has the
name of one in the file but another id, was replaced. It goes OUT_OF_SERVICE after its successor is UP; its jobs run on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfbatch.installed import SUPPORTED
from sfbatch.jobs.backends.places import BACKENDS
from sfbatch.jobs.kinds import APPLICATIONS, CHILDREN, CLUSTERS, COMMANDS, KINDS, Kind
from sfbatch.jobs.problem import precondition
from sfbatch.jobs.requests import Described
from sfbatch.jobs.selection import DEFAULT_BACKEND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sfbatch.jobs.api import Api

_OWN = {
    COMMANDS.name: ("limits", "spark"),
    CLUSTERS.name: ("limits", "emr"),
}  # keys of the file that Genie does not have
_LIMITS: dict[str, dict[str, type]] = {
    COMMANDS.name: {"writeDatabases": list},
    CLUSTERS.name: {"backend": str, "maxRunningJobs": int, "maxRunningJobsPerUser": int, "writeDatabases": list},
}
_TOP = ", ".join(kind.name for kind in KINDS)  # what a file can have
OWNER = "operator"  # whose the resources are, unless the file says otherwise
_DEFAULTS: dict[str, dict[str, Any]] = {
    APPLICATIONS.name: {"status": "ACTIVE", "version": "1"},
    COMMANDS.name: {"status": "ACTIVE", "version": "1", "checkDelay": 1000},
    CLUSTERS.name: {"status": "UP", "version": "1"},
}


@dataclass(frozen=True)
class Step:
    """One request, and the lines that tell a person what it changes."""

    method: str
    path: tuple[str, ...]
    body: Any
    lines: tuple[str, ...]


def plan(wanted: Any, api: Api) -> list[Step]:
    """The steps from what the server has to what the file says, in the order in which they must be taken.

    Raises Problem SFBATCH_INVALID for a file that says nothing sensible.
    """
    steps: list[Step] = []
    named = {kind.name: dict(_entries(wanted, kind)) for kind in KINDS}
    for kind in KINDS:
        for resource_id, entry in named[kind.name].items():
            steps += _resource(kind, resource_id, entry, api, named)
    ids = [resource_id for resource_id, _ in _entries(wanted, CLUSTERS)]
    successors = {_document(CLUSTERS, i, entry)["name"] for i, entry in _entries(wanted, CLUSTERS)}
    for found in api.every(CLUSTERS.name):
        if found["status"] == "UP" and found["name"] in successors and found["id"] not in ids:
            patch = [{"op": "replace", "path": "/status", "value": "OUT_OF_SERVICE"}]
            lines = (f"~ cluster {found['id']}", "    status: UP -> OUT_OF_SERVICE (replaced; its jobs run on)")
            steps.append(Step("PATCH", (CLUSTERS.name, found["id"]), patch, lines))
    return steps


def _resource(
    kind: Kind, resource_id: str, entry: dict[str, Any], api: Api, named: dict[str, dict[str, Any]]
) -> Iterator[Step]:
    child = CHILDREN.get(kind.name)
    document = _document(kind, resource_id, entry)
    linked = [str(each) for each in entry.get(child.name) or []] if child else []
    found = api.find(kind.name, resource_id)
    before = [each["id"] for each in api.call("GET", kind.name, resource_id, child.name)] if found and child else []
    for each in linked:
        if child and each not in named[child.name] and each not in before and not api.find(child.name, each):
            message = f"there is no {child.one} '{each}', neither in the file nor on the server"
            raise precondition(f"{kind.one} {resource_id}: {message}")
    links: list[Step] = []
    if child and before != linked:
        line = f"    {child.name}: {', '.join(before) or 'none'} -> {', '.join(linked) or 'none'}"
        links = [Step("PUT", (kind.name, resource_id, child.name), linked, (line,))]
    if found is None:
        # A cluster takes jobs only when its commands are there.
        hidden = {**document, "status": "OUT_OF_SERVICE"} if kind is CLUSTERS else document
        yield Step("POST", (kind.name,), hidden, (f"+ {kind.one} {resource_id}",))
        yield from links
        if hidden["status"] != document["status"]:
            line = f"    status: {document['status']}"
            yield Step("PUT", (kind.name, resource_id), document, (line,))
        return
    changed = [name for name in document if _comparable(name, found[name]) != _comparable(name, document[name])]
    lines = [f"    {name}: {_shown(name, found[name])} -> {_shown(name, document[name])}" for name in changed]
    if changed or links:
        head = f"~ {kind.one} {resource_id}"
        yield from (Step(s.method, s.path, s.body, (head, *s.lines)) if not changed else s for s in links)
        if changed:
            yield Step("PUT", (kind.name, resource_id), document, (head, *lines))


def _document(kind: Kind, resource_id: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The resource as the server would show it, without what the server adds."""
    links = CHILDREN[kind.name].name if kind.name in CHILDREN else None
    own = _OWN.get(kind.name, ())
    known = set(kind.model.model_fields) | {links, *own}
    unknown = [name for name in entry if name not in known]
    if unknown:
        raise precondition(
            f"{kind.one} {resource_id}: there is no '{unknown[0]}', only {', '.join(sorted(filter(None, known)))}"
        )
    for name, value in entry.items():
        shape = list if name == links else dict if name in {"limits", "emr"} else None
        if shape and not isinstance(value or shape(), shape):
            raise precondition(f"{kind.one} {resource_id}: {name} must be a {'list' if shape is list else 'mapping'}")
    given = {name: value for name, value in entry.items() if name not in {links, *own}}
    document = {**_DEFAULTS[kind.name], "name": resource_id, "user": OWNER, **given, "id": resource_id}
    ours = _ours(kind, resource_id, entry)
    if ours:
        given = document.get("metadata") or {}
        document["metadata"] = {**given, "sfbatch": {**(given.get("sfbatch") or {}), **ours}}
    try:
        model: Described = kind.model.model_validate(document)
    except ValueError as error:
        raise precondition(f"{kind.one} {resource_id}: {error}") from None
    return model.model_dump()


def _ours(kind: Kind, resource_id: str, entry: dict[str, Any]) -> dict[str, Any]:
    """What Genie has no field for. Raises Problem SFBATCH_INVALID for what would only fail when a job comes."""
    limits, known_limits = entry.get("limits") or {}, _LIMITS.get(kind.name, {})
    for name, value in limits.items():  # one that is misspelt would limit nothing
        if not isinstance(value, known_limits.get(name, ())):
            known = ", ".join(f"{each} ({shape.__name__})" for each, shape in known_limits.items())
            raise precondition(f"{kind.one} {resource_id}: limits.{name} {value!r}: there is {known}")
    if kind is COMMANDS:
        spark = entry.get("spark")
        if spark is not None and spark not in {*SUPPORTED, "installed"}:
            known = ", ".join(f'"{line}"' for line in (*SUPPORTED, "installed"))
            raise precondition(f"command {resource_id}: spark is {known}, not {spark!r}")
        return {**limits, **({"spark": spark} if spark else {})}
    emr = entry.get("emr") or {}
    backend = limits.get("backend", DEFAULT_BACKEND)
    if backend not in BACKENDS:
        raise precondition(f"cluster {resource_id}: the backend is one of {', '.join(BACKENDS)}, not {backend!r}")
    needed, optional = BACKENDS[backend]
    wrong = [*(f"needs emr.{name}" for name in needed if not emr.get(name))]
    wrong += [f"has no use for emr.{name}" for name in emr if name not in {*needed, *optional}]
    if wrong:
        raise precondition(f"cluster {resource_id}: the backend {backend} {wrong[0]}")
    return {**limits, **({"emr": emr} if emr else {})}


def _entries(wanted: Any, kind: Kind) -> list[tuple[str, dict[str, Any]]]:
    if not wanted:
        raise precondition(f"the file is empty: give some of {_TOP}")
    if not isinstance(wanted, dict):
        raise precondition(f"the file must begin with one of {_TOP}")
    if unknown := [name for name in wanted if name not in _DEFAULTS and not str(name).startswith("x-")]:  # x-: anchors
        raise precondition(f"there is no '{unknown[0]}' at the top of the file, only {_TOP}")
    found = wanted.get(kind.name)
    if not isinstance(found or {}, dict) or not all(isinstance(entry, dict) for entry in (found or {}).values()):
        raise precondition(f"{kind.name} must map ids to their descriptions")
    return [(str(resource_id), entry) for resource_id, entry in (found or {}).items()]


def _comparable(name: str, value: Any) -> Any:
    return sorted(_own(value)) if name == "tags" else value


def _shown(name: str, value: Any) -> str:
    return ", ".join(sorted(_own(value))) or "none" if name == "tags" else f"{value}"


def _own(tags: list[str]) -> list[str]:
    return [tag for tag in tags if not tag.startswith(("genie.id:", "genie.name:"))]
