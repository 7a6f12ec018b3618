"""What belongs to a cluster, a command or an application: tags, configs, dependencies, and what is linked, in order."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from sfbatch.jobs import catalog
from sfbatch.jobs.answer import Hal, Json, done
from sfbatch.jobs.body import IDS, TAGS, read_json, validate_list
from sfbatch.jobs.context import server_of
from sfbatch.jobs.kinds import CHILDREN, KINDS, PARENTS, Kind
from sfbatch.jobs.problem import not_found, precondition
from sfbatch.jobs.routes import schema
from sfbatch.jobs.routes.resources import in_list, statuses

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sqlalchemy import Connection

GONE = HTTPStatus.NO_CONTENT
BODY = schema.body(schema.STRINGS)


def lists(kind: Kind, name: str) -> APIRouter:
    """`/R/{id}/tags`, `/R/{id}/configs`, `/R/{id}/dependencies`: add, replace, read, empty."""
    routes = APIRouter(prefix=f"/api/v3/{kind.name}/{{resource_id}}/{name}", tags=[kind.name])
    adapter = TAGS if name == "tags" else IDS

    def write(connection: Connection, resource_id: str, values: list[str]) -> None:
        if name == "tags":
            catalog.set_tags(connection, kind, resource_id, values)
        else:
            catalog.set_list(connection, kind, resource_id, name, values)

    async def change(request: Request, resource_id: str, keep: bool) -> Response:
        values = validate_list(adapter, await read_json(request))

        def work() -> None:
            with server_of(request).database.write() as connection:
                before = catalog.get(connection, kind, resource_id, for_change=True)[name] if keep else []
                write(connection, resource_id, list(dict.fromkeys([*before, *values])))

        await run_in_threadpool(work)
        return done(GONE)

    _changing(routes, kind, name, change)

    @routes.get("", name=f"get {name} of {kind.one}")
    def get(request: Request, resource_id: str) -> Response:
        with server_of(request).database.read() as connection:
            return Json(catalog.get(connection, kind, resource_id)[name])

    @routes.delete("", status_code=GONE, name=f"empty {name} of {kind.one}")
    def empty(request: Request, resource_id: str) -> Response:
        with server_of(request).database.write() as connection:
            write(connection, resource_id, [])
        return done(GONE)

    if name == "tags":

        @routes.delete("/{tag}", status_code=GONE, name=f"remove a tag of {kind.one}")
        def remove(request: Request, resource_id: str, tag: str) -> Response:
            with server_of(request).database.write() as connection:
                before = catalog.get(connection, kind, resource_id, for_change=True)["tags"]
                write(connection, resource_id, [each for each in before if each != tag])
            return done(GONE)

    return routes


def children(kind: Kind) -> APIRouter:
    """A cluster's commands and a command's applications, in order."""
    child = CHILDREN[kind.name]
    routes = APIRouter(prefix=f"/api/v3/{kind.name}/{{resource_id}}/{child.name}", tags=[kind.name])

    async def change(request: Request, resource_id: str, keep: bool) -> Response:
        ids = validate_list(IDS, await read_json(request))
        if not ids and keep:
            raise precondition(f"No {child.one} ids entered. Unable to add {child.name}.")

        def work() -> None:
            with server_of(request).database.write() as connection:
                catalog.get(connection, kind, resource_id, for_change=True)
                before = [found["id"] for found in catalog.children(connection, kind, resource_id)] if keep else []
                catalog.set_children(connection, kind, resource_id, [*before, *ids])

        await run_in_threadpool(work)
        return done(GONE)

    _changing(routes, kind, child.name, change)

    @routes.get("", name=f"get {child.name} of {kind.one}")
    def get(request: Request, resource_id: str) -> Response:
        """In order; `status` may be given more than once."""
        with server_of(request).database.read() as connection:
            found = catalog.children(connection, kind, resource_id, statuses(child, request.query_params))
        return Hal([in_list(request, child, resource) for resource in found])

    @routes.delete("", status_code=GONE, name=f"remove all {child.name} of {kind.one}")
    def empty(request: Request, resource_id: str) -> Response:
        with server_of(request).database.write() as connection:
            catalog.set_children(connection, kind, resource_id, [])
        return done(GONE)

    @routes.delete("/{child_id}", status_code=GONE, name=f"remove a {child.one} of {kind.one}")
    def remove(request: Request, resource_id: str, child_id: str) -> Response:
        with server_of(request).database.write() as connection:
            catalog.get(connection, kind, resource_id, for_change=True)
            before = [found["id"] for found in catalog.children(connection, kind, resource_id)]
            if child_id not in before:
                raise not_found(f"No {child.one} with id {child_id} is linked to {kind.one} {resource_id}.")
            catalog.set_children(connection, kind, resource_id, [each for each in before if each != child_id])
        return done(GONE)

    return routes


def parents(kind: Kind) -> APIRouter:
    """A command's clusters and an application's commands."""
    parent = PARENTS[kind.name]
    routes = APIRouter(prefix=f"/api/v3/{kind.name}/{{resource_id}}/{parent.name}", tags=[kind.name])

    @routes.get("", name=f"get {parent.name} of {kind.one}")
    def get(request: Request, resource_id: str) -> Response:
        with server_of(request).database.read() as connection:
            found = catalog.parents(connection, kind, resource_id, statuses(parent, request.query_params))
        return Hal([in_list(request, parent, resource) for resource in found])

    return routes


def _changing(routes: APIRouter, kind: Kind, name: str, change: Callable[..., Awaitable[Response]]) -> None:
    """`change` adds to a list, or puts another in its place."""

    @routes.post("", status_code=GONE, openapi_extra=BODY, name=f"add {name} of {kind.one}")
    async def add(request: Request, resource_id: str) -> Response:
        """Append, keeping the order."""
        return await change(request, resource_id, keep=True)

    @routes.put("", status_code=GONE, openapi_extra=BODY, name=f"replace {name} of {kind.one}")
    async def replace(request: Request, resource_id: str) -> Response:
        """Put exactly these, in this order."""
        return await change(request, resource_id, keep=False)


ROUTERS = [
    *(lists(kind, name) for kind in KINDS for name in ("tags", "configs", "dependencies")),
    *(children(kind) for kind in KINDS if kind.name in CHILDREN),
    *(parents(kind) for kind in KINDS if kind.name in PARENTS),
]
