"""Clusters, commands and applications in the database; nothing here knows about HTTP.

Every function takes the caller's transaction, so that what belongs together is committed together.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from sfbatch.jobs.clock import now_ms
from sfbatch.jobs.kinds import CHILDREN, CLUSTERS, COMMANDS, PARENTS, Kind
from sfbatch.jobs.problem import bad_request, conflict, not_found, precondition
from sfbatch.jobs.states import UNFINISHED
from sfbatch.jobs.tables import jobs, links, resource_tags, resources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sfbatch.jobs.requests import Described

Resource = dict[str, Any]
_COLUMNS = ("id", "name", "user", "version", "status", "type")


def create(connection: Connection, kind: Kind, asked: Described) -> str:
    """Store a new resource and return its id, made up when none was given. Raises Problem 409."""
    resource_id = asked.id or str(uuid.uuid4())
    created = now_ms()
    try:
        with connection.begin_nested():
            row = _row(kind, asked, resource_id)
            connection.execute(insert(resources).values(**row, kind=kind.name, created_ms=created, updated_ms=created))
    except IntegrityError:
        article = "An" if kind.one[0] in "aeiou" else "A"
        raise conflict(f"{article} {kind.one} with id {resource_id} already exists") from None
    _write_tags(connection, kind, resource_id, asked.name, asked.tags)
    return resource_id


def get(connection: Connection, kind: Kind, resource_id: str, for_change: bool = False) -> Resource:
    """One resource with its tags. Raises Problem 404."""
    query = select(resources).where(_is(kind, resource_id))
    row = connection.execute(query.with_for_update() if for_change else query).first()
    if row is None:
        raise not_found(f"No {kind.one} with id {resource_id} exists.")
    return with_tags(connection, kind, [row])[0]


def with_tags(connection: Connection, kind: Kind, rows: Iterable[Any]) -> list[Resource]:
    """Rows of `resources` as documents."""
    found = {row.id: {**row.body, **{k: v for k, v in row._mapping.items() if k != "body"}, "tags": []} for row in rows}
    query = select(resource_tags.c.id, resource_tags.c.tag).where(
        resource_tags.c.kind == kind.name, resource_tags.c.id.in_(list(found))
    )
    for resource_id, tag in connection.execute(query.order_by(resource_tags.c.tag)):
        found[resource_id]["tags"].append(tag)
    return list(found.values())


def replace(connection: Connection, kind: Kind, resource_id: str, asked: Described) -> None:
    """Put a new document in place of the old; links stay. Raises Problem 400 when the ids differ, 404."""
    get(connection, kind, resource_id, for_change=True)
    if asked.id not in {None, resource_id}:
        raise bad_request(f"{kind.one.capitalize()} id {asked.id} in the body is not {resource_id} of the path")
    row = _row(kind, asked, resource_id)
    connection.execute(update(resources).where(_is(kind, resource_id)).values(**row, updated_ms=now_ms()))
    _write_tags(connection, kind, resource_id, asked.name, asked.tags)


def set_tags(connection: Connection, kind: Kind, resource_id: str, tags: Sequence[str]) -> None:
    """Put these tags in place of the old. Raises Problem 404."""
    found = get(connection, kind, resource_id, for_change=True)
    _write_tags(connection, kind, resource_id, found["name"], tags)
    _touch(connection, kind, resource_id)


def set_list(connection: Connection, kind: Kind, resource_id: str, name: str, values: Sequence[str]) -> None:
    """Put these `configs` or `dependencies` in place of the old. Raises Problem 404."""
    found = get(connection, kind, resource_id, for_change=True)
    body = {key: found[key] for key in _body_fields(kind)} | {name: list(values)}
    connection.execute(update(resources).where(_is(kind, resource_id)).values(body=body, updated_ms=now_ms()))


def remove(connection: Connection, kind: Kind, resource_id: str) -> None:
    """Forget a resource. Raises Problem 404; 412 while an unfinished job or a command needs it."""
    get(connection, kind, resource_id, for_change=True)
    if kind.name in {CLUSTERS.name, COMMANDS.name}:
        column = jobs.c.cluster_id if kind is CLUSTERS else jobs.c.command_id
        busy = connection.scalar(select(func.count()).where(column == resource_id, jobs.c.status.in_(UNFINISHED)))
        if busy:
            raise precondition(f"Unable to delete {kind.one} {resource_id}: {busy} unfinished jobs use it.")
    elif used := len(parents(connection, kind, resource_id)):
        raise precondition(f"Unable to delete app {resource_id} as it is attached to {used} commands still.")
    for where in (
        and_(links.c.kind == kind.name, links.c.parent_id == resource_id),
        and_(
            links.c.kind == (PARENTS[kind.name].name if kind.name in PARENTS else ""), links.c.child_id == resource_id
        ),
    ):
        connection.execute(delete(links).where(where))
    connection.execute(delete(resource_tags).where(_tags_of(kind, resource_id)))
    connection.execute(delete(resources).where(_is(kind, resource_id)))


def children(connection: Connection, kind: Kind, resource_id: str, statuses: Sequence[str] = ()) -> list[Resource]:
    """A cluster's commands or a command's applications, in order. Raises Problem 404."""
    get(connection, kind, resource_id)
    here, there = links.c.parent_id == resource_id, links.c.child_id
    return _linked(connection, CHILDREN[kind.name], kind, here, there, links.c.position, statuses)


def parents(connection: Connection, kind: Kind, resource_id: str, statuses: Sequence[str] = ()) -> list[Resource]:
    """A command's clusters or an application's commands. Raises Problem 404."""
    get(connection, kind, resource_id)
    parent = PARENTS[kind.name]
    here, there = links.c.child_id == resource_id, links.c.parent_id
    return _linked(connection, parent, parent, here, there, resources.c.id, statuses)


def _linked(
    connection: Connection, wanted: Kind, linking: Kind, here: Any, there: Any, order: Any, statuses: Sequence[str]
) -> list[Resource]:
    """The resources at the other end of links; `linking` is the kind whose links they are."""
    query = select(resources).join(links, and_(there == resources.c.id, links.c.kind == linking.name, here))
    query = query.where(resources.c.kind == wanted.name).order_by(order)
    if statuses:
        query = query.where(resources.c.status.in_(statuses))
    return with_tags(connection, wanted, connection.execute(query))


def set_children(connection: Connection, kind: Kind, resource_id: str, ids: Sequence[str]) -> None:
    """Link exactly these, in this order. Raises Problem 404, and 412 when one does not exist."""
    get(connection, kind, resource_id, for_change=True)
    child = CHILDREN[kind.name]
    known = select(func.count()).select_from(resources).where(resources.c.kind == child.name, resources.c.id.in_(ids))
    if connection.scalar(known) != len(set(ids)):
        raise precondition(f"All {child.name} need to exist to add to a {kind.one}")
    connection.execute(delete(links).where(links.c.kind == kind.name, links.c.parent_id == resource_id))
    ordered = dict.fromkeys(ids)
    rows = [
        {"kind": kind.name, "parent_id": resource_id, "child_id": child_id, "position": position}
        for position, child_id in enumerate(ordered)
    ]
    if rows:
        connection.execute(insert(links), rows)
    _touch(connection, kind, resource_id)


def _row(kind: Kind, asked: Described, resource_id: str) -> dict[str, Any]:
    document = asked.model_dump()
    return {
        **{name: document[name] for name in _COLUMNS if name in document},
        "id": resource_id,
        "body": {name: document[name] for name in _body_fields(kind)},
    }


def _body_fields(kind: Kind) -> tuple[str, ...]:
    common = ("description", "metadata", "configs", "dependencies", "setupFile")
    return common + tuple(name for name in kind.fields if name not in _COLUMNS)


def _write_tags(connection: Connection, kind: Kind, resource_id: str, name: str, tags: Iterable[str]) -> None:
    """Genie's own two tags are always there, whatever was asked."""
    asked = (tag for tag in tags if not tag.startswith(("genie.id:", "genie.name:")))
    every = dict.fromkeys([*asked, f"genie.id:{resource_id}", f"genie.name:{name}"])
    connection.execute(delete(resource_tags).where(_tags_of(kind, resource_id)))
    connection.execute(insert(resource_tags), [{"kind": kind.name, "id": resource_id, "tag": tag} for tag in every])


def _touch(connection: Connection, kind: Kind, resource_id: str) -> None:
    connection.execute(update(resources).where(_is(kind, resource_id)).values(updated_ms=now_ms()))


def _is(kind: Kind, resource_id: str) -> Any:
    return and_(resources.c.kind == kind.name, resources.c.id == resource_id)


def _tags_of(kind: Kind, resource_id: str) -> Any:
    return and_(resource_tags.c.kind == kind.name, resource_tags.c.id == resource_id)
