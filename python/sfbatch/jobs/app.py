"""Puts the server's rooms together: database, back ends, dispatcher, routes, and what stands before them."""

from __future__ import annotations

import importlib.util
import logging
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, DBAPIError
from starlette.exceptions import HTTPException

import sfbatch
from sfbatch.jobs.answer import problem_answer
from sfbatch.jobs.backends.local import LocalBackend
from sfbatch.jobs.backends.remote import RemoteBackend
from sfbatch.jobs.context import Server
from sfbatch.jobs.database import Database, is_away
from sfbatch.jobs.dispatcher import Dispatcher
from sfbatch.jobs.guard import Guard
from sfbatch.jobs.metrics import Metrics
from sfbatch.jobs.observe import Observe
from sfbatch.jobs.problem import Problem, ServerError, bad_request
from sfbatch.jobs.routes import jobs, linking, operations, ours, outputs, resources
from sfbatch.jobs.tokens import Authority
from sfbatch.jobs.web import routes as web
from sfbatch.jobs.web import session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sfbatch.jobs.backends import Backend
    from sfbatch.jobs.backends.remote import Service
    from sfbatch.jobs.lease import Lease
    from sfbatch.jobs.settings import Settings

log = logging.getLogger(__name__)


def create_app(settings: Settings, database: Database, lease: Lease) -> FastAPI:
    """The ASGI application. The database must be migrated, the lease taken."""
    backends = _backends(settings)
    dispatcher = Dispatcher(database, backends, settings, lease)
    authority = Authority(database)
    server = Server(settings, database, backends, dispatcher, Metrics(database), authority)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        dispatcher.start()
        yield
        dispatcher.stop()
        database.close()

    app = FastAPI(
        title="sfbatch",
        version=sfbatch.__version__,
        description="Submits jobs to clusters by tags: Genie's REST interface, version 3.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.server = server
    for router in (
        web.routes,
        ours.routes,
        jobs.routes,
        outputs.routes,
        operations.routes,
        *resources.ROUTERS,
        *linking.ROUTERS,
    ):
        app.include_router(router)
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(ServerError, _on_trouble)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_parameter)
    app.add_exception_handler(DBAPIError, _on_database)
    app.add_exception_handler(Exception, _on_bug)
    app.add_middleware(Guard, settings=settings, authority=authority)
    app.add_middleware(Observe, metrics=server.metrics)
    return app


def _backends(settings: Settings) -> dict[str, Backend]:
    """Those this server has; a job for another waits for a server that has it. boto3 is loaded by the first EMR job."""
    found: dict[str, Backend] = {"local": LocalBackend(settings)}
    if importlib.util.find_spec("boto3"):
        found["emr-steps"] = RemoteBackend(lambda: _emr_steps(settings), settings.remote_poll_s)
        found["emr-serverless"] = RemoteBackend(lambda: _emr_serverless(settings), settings.remote_poll_s)
    return found


def _emr_steps(settings: Settings) -> Service:
    from sfbatch.jobs.backends.emr_steps import EmrSteps

    return EmrSteps(settings)


def _emr_serverless(settings: Settings) -> Service:
    from sfbatch.jobs.backends.emr_serverless import EmrServerless

    return EmrServerless(settings)


async def _on_problem(request: Request, problem: Exception) -> Response:
    assert isinstance(problem, Problem)
    if session.is_page(request.url.path, request.headers):
        return web.problem_page(request, problem)
    return problem_answer(problem, request.url.path)


async def _on_trouble(request: Request, error: Exception) -> Response:
    """The server cannot go on, and knows why."""
    assert isinstance(error, ServerError)
    message = str(error).partition("] ")[2]
    return await _on_problem(request, Problem(HTTPStatus.INTERNAL_SERVER_ERROR, error.code, message))


async def _on_http(request: Request, error: Exception) -> Response:
    """What the framework itself answers: an unknown path, a method that is not allowed."""
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    message = {
        HTTPStatus.NOT_FOUND: "No message available",
        HTTPStatus.METHOD_NOT_ALLOWED: f"Request method '{request.method}' not supported",
    }.get(status, str(error.detail))
    code = "SFBATCH_NOT_FOUND" if status is HTTPStatus.NOT_FOUND else "SFBATCH_BAD_REQUEST"
    return problem_answer(Problem(status, code, message, error.headers), request.url.path)


async def _on_parameter(request: Request, error: Exception) -> Response:
    return problem_answer(bad_request(str(error)), request.url.path)


async def _on_database(request: Request, error: Exception) -> Response:
    """A value the database cannot hold is the client's fault; a database that is away comes back."""
    assert isinstance(error, DBAPIError)
    if isinstance(error, DataError):
        return problem_answer(bad_request("A value holds characters that cannot be stored"), request.url.path)
    if is_away(error):
        log.error("the database is away", exc_info=error)
        status, headers = HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": "5"}
        problem = Problem(status, "SFBATCH_DATABASE_FAILED", "The database does not answer; try again", headers)
        return problem_answer(problem, request.url.path)
    return await _on_bug(request, error)


async def _on_bug(request: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error)
    message = "An error in the server; its log says more"
    return problem_answer(Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "SFBATCH_SERVER_ERROR", message), request.url.path)
