"""Clusters, commands and applications: making, reading, changing and deleting them; their tags, files and links.

The same routes three times over, for the three kinds.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import jsonpatch
from fastapi import APIRouter, Request, Response
from sqlalchemy import and_, func, or_, select
from starlette.concurrency import run_in_threadpool

from sfbatch.jobs import catalog
from sfbatch.jobs.answer import Hal, done
from sfbatch.jobs.body import read_json, validate
from sfbatch.jobs.clock import iso
from sfbatch.jobs.context import server_of
from sfbatch.jobs.kinds import KINDS, Kind
from sfbatch.jobs.links import api_url, hal, listed
from sfbatch.jobs.pages import Page, epoch_ms
from sfbatch.jobs.problem import bad_request, precondition
from sfbatch.jobs.routes import schema
from sfbatch.jobs.tables import resource_tags, resources

if TYPE_CHECKING:
    from starlette.datastructures import QueryParams

SORTS = {
    **{name: resources.c[name] for name in ("id", "name", "user", "version", "status", "type")},
    "created": resources.c.created_ms,
    "updated": resources.c.updated_ms,
}


def document(kind: Kind, found: catalog.Resource) -> dict[str, Any]:
    """A resource in the order of Genie's answers, without links."""
    names = ("version", "user", "name", "description", "metadata", "tags", "configs", "dependencies", "setupFile")
    own = {
        name: found[name]
        for name in ("status", *sorted(kind.fields, key=("executable", "checkDelay", "memory", "type").index))
    }
    times = {"created": iso(found["created_ms"]), "updated": iso(found["updated_ms"])}
    return {"id": found["id"], **times, **{name: found[name] for name in names}, **own}


def links_of(request: Request, kind: Kind, resource_id: str) -> list[tuple[str, str]]:
    """Where the resource is, and what is linked with it."""
    here = api_url(request, kind.name, resource_id)
    return [("self", here), *((relation, f"{here}/{relation}{template}") for relation, template in kind.links)]


def shown(request: Request, kind: Kind, found: catalog.Resource) -> dict[str, Any]:
    """As a single answer or in a page."""
    return hal(document(kind, found), links_of(request, kind, found["id"]))


def in_list(request: Request, kind: Kind, found: catalog.Resource) -> dict[str, Any]:
    """As an item of a bare list."""
    return listed(document(kind, found), links_of(request, kind, found["id"]))


def router(kind: Kind) -> APIRouter:
    """The routes of one kind."""
    routes = APIRouter(prefix=f"/api/v3/{kind.name}", tags=[kind.name])
    one, many = kind.one, kind.name
    body = schema.body(schema.of(kind.model))

    @routes.post("", status_code=HTTPStatus.CREATED, openapi_extra=body, name=f"create {one}")
    async def create(request: Request) -> Response:
        """Store a new one; 409 when the id is taken."""
        asked = validate(kind.model, await read_json(request))

        def work() -> str:
            with server_of(request).database.write() as connection:
                return catalog.create(connection, kind, asked)

        return done(HTTPStatus.CREATED, api_url(request, many, await run_in_threadpool(work)))

    @routes.get("", name=f"search {many}", openapi_extra=schema.query(kind.filters))
    def search(request: Request) -> Response:
        """A page of those that meet every filter: name, user, status*, tag*, type, minUpdateTime, maxUpdateTime."""
        query = request.query_params
        page = Page.of(query, kind.page_size, "updated", SORTS)
        where = _where(kind, query)
        with server_of(request).database.read() as connection:
            total = connection.scalar(select(func.count()).select_from(resources).where(*where)) or 0
            order = [SORTS[name].desc() if down else SORTS[name].asc() for name, down in page.sort]
            rows = select(resources).where(*where).order_by(*order, resources.c.id)
            rows = rows.limit(page.size).offset(page.number * page.size)
            found = catalog.with_tags(connection, kind, connection.execute(rows))
        items = [shown(request, kind, resource) for resource in found]
        return Hal(page.document(api_url(request, many), query, kind.filters, kind.embedded, items, total))

    @routes.delete("", status_code=HTTPStatus.NO_CONTENT, name=f"delete every {one}")
    def remove_all(request: Request) -> Response:
        """Delete all, or none when one is in use."""
        with server_of(request).database.write() as connection:
            for resource_id in connection.scalars(select(resources.c.id).where(resources.c.kind == kind.name)).all():
                catalog.remove(connection, kind, resource_id)
        return done(HTTPStatus.NO_CONTENT)

    @routes.get("/{resource_id}", name=f"get {one}")
    def get(request: Request, resource_id: str) -> Response:
        """One of them."""
        with server_of(request).database.read() as connection:
            return Hal(shown(request, kind, catalog.get(connection, kind, resource_id)))

    @routes.put("/{resource_id}", status_code=HTTPStatus.NO_CONTENT, openapi_extra=body, name=f"replace {one}")
    async def replace(request: Request, resource_id: str) -> Response:
        """Put the body in its place; links stay."""
        asked = validate(kind.model, await read_json(request))

        def work() -> None:
            with server_of(request).database.write() as connection:
                catalog.replace(connection, kind, resource_id, asked)

        await run_in_threadpool(work)
        return done(HTTPStatus.NO_CONTENT)

    @routes.patch(
        "/{resource_id}",
        status_code=HTTPStatus.NO_CONTENT,
        openapi_extra=schema.body(schema.PATCH),
        name=f"patch {one}",
    )
    async def patch(request: Request, resource_id: str) -> Response:
        """Change it by a JSON Patch (RFC 6902)."""
        operations = await read_json(request)

        def work() -> None:
            with server_of(request).database.write() as connection:
                before = document(kind, catalog.get(connection, kind, resource_id, for_change=True))
                catalog.replace(connection, kind, resource_id, validate(kind.model, _patched(before, operations)))

        await run_in_threadpool(work)
        return done(HTTPStatus.NO_CONTENT)

    @routes.delete("/{resource_id}", status_code=HTTPStatus.NO_CONTENT, name=f"delete {one}")
    def remove(request: Request, resource_id: str) -> Response:
        """Delete it; 412 while it is in use."""
        with server_of(request).database.write() as connection:
            catalog.remove(connection, kind, resource_id)
        return done(HTTPStatus.NO_CONTENT)

    return routes


def _patched(before: dict[str, Any], operations: Any) -> Any:
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise bad_request("A JSON Patch is a list of operations")
    try:
        return jsonpatch.JsonPatch(operations).apply(before)
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException) as error:
        raise precondition(f"The patch cannot be applied: {error}") from None
    except (TypeError, AttributeError, KeyError, IndexError, RecursionError) as error:
        raise bad_request(f"No valid JSON Patch: {error}") from None


def statuses(kind: Kind, query: QueryParams) -> list[str]:
    """The states asked for. Raises Problem 412 for one that the kind has not."""
    states = [text.upper() for text in query.getlist("status") if text]
    if any(state not in kind.statuses for state in states):
        raise precondition(f"Unacceptable {kind.one} status. Must be one of {{{', '.join(kind.statuses)}}}")
    return states


def _where(kind: Kind, query: QueryParams) -> list[Any]:
    where = [resources.c.kind == kind.name]
    if states := statuses(kind, query):
        where.append(resources.c.status.in_(states))
    for tag in filter(None, query.getlist("tag")):
        tagged = and_(resource_tags.c.kind == kind.name, resource_tags.c.tag == tag)
        where.append(resources.c.id.in_(select(resource_tags.c.id).where(tagged)))
    for name in ("name", "user", "type"):
        values = [value for value in query.getlist(name) if value]
        column = resources.c[name]
        if values:
            where.append(or_(*(column.like(value) if "%" in value else column == value for value in values)))
    if (low := epoch_ms(query, "minUpdateTime")) is not None:
        where.append(resources.c.updated_ms >= low)
    if (high := epoch_ms(query, "maxUpdateTime")) is not None:
        where.append(resources.c.updated_ms < high)
    return where


ROUTERS = [router(kind) for kind in KINDS]
