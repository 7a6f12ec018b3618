"""What clients send: the shapes of a job request, a cluster, a command, an application, and their limits.

A wrong type is 400 and a broken rule 412, as with Netflix's server; unknown fields are let pass.
"""

from __future__ import annotations

import json
import shlex
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

TEXT, LONG_TEXT, PATH, ARGUMENTS = 255, 1000, 1024, 10_000
MOST_TAGS, MOST_REFERENCES = 100, 1000  # all tags together fit into one environment variable
DEFAULT_TIMEOUT_S = 7 * 24 * 3600
TEN_YEARS_S = 10 * 365 * 24 * 3600
MOST_INT = 2**31 - 1


def _written(value: str) -> str:
    if "\0" in value:
        raise ValueError("a NUL character is not allowed")
    return value


def _address(value: str) -> str:
    try:
        _written(unquote(urlsplit(value).path))
    except ValueError as error:
        raise ValueError(f"'{value}' is no address: {error}") from None
    return value


def _not_blank(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be blank")
    return value


def _usable_id(value: str | None) -> str | None:
    if value is not None and (not value.strip() or any(c in "/\\?#%" or not c.isprintable() for c in value)):
        raise ValueError("An id must not be blank nor hold control characters or any of / \\ ? # %")
    if value in {".", ".."}:
        raise ValueError("An id must not be . or ..")
    return value


def _storable(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    return value


def _tellable(value: Any) -> Any:
    """What jobs are told of it by their environment can hold no NUL. However deep: no frame for each level."""
    rest = [value]
    while rest:
        each = rest.pop()
        if isinstance(each, str):
            _written(each)
        elif isinstance(each, (dict, list)):
            rest += [*each, *each.values()] if isinstance(each, dict) else each
    return value


def _email(value: str | None) -> str | None:
    name, _, host = (value or "a@b").rpartition("@")
    if not name or not host or any(c.isspace() for c in value or ""):
        raise ValueError("Must be a valid email address")
    return value


def _unique(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _none_is_empty(value: Any) -> Any:
    return [] if value is None else value


Text = Annotated[str, Field(max_length=TEXT), AfterValidator(_written)]
Required = Annotated[Text, AfterValidator(_not_blank)]
Id = Annotated[Text | None, AfterValidator(_usable_id)]
Reference = Annotated[str, Field(min_length=1, max_length=PATH), AfterValidator(_written), AfterValidator(_address)]
Tags = Annotated[list[Required], Field(max_length=MOST_TAGS), BeforeValidator(_none_is_empty), AfterValidator(_unique)]
References = Annotated[
    list[Reference], Field(max_length=MOST_REFERENCES), BeforeValidator(_none_is_empty), AfterValidator(_unique)
]


class Described(BaseModel):
    """What a job and the three resources have in common."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    id: Id = None
    name: Required
    user: Required
    version: Required
    description: Annotated[str, Field(max_length=LONG_TEXT), AfterValidator(_written)] | None = None
    metadata: Annotated[Any, AfterValidator(_storable)] = None
    tags: Tags = Field(default_factory=list)
    configs: References = Field(default_factory=list)
    dependencies: References = Field(default_factory=list)
    setupFile: Annotated[str, Field(max_length=PATH), AfterValidator(_written)] | None = None  # noqa: N815


class Application(Described):
    """A program that commands need, e.g. one build of Spark."""

    status: Literal["ACTIVE", "DEPRECATED", "INACTIVE"]
    type: Text | None = None


class Command(Described):
    """An executable with its leading arguments, e.g. `/opt/spark/bin/spark-submit --master yarn`."""

    status: Literal["ACTIVE", "DEPRECATED", "INACTIVE"]
    executable: Annotated[str, Field(max_length=PATH), AfterValidator(_written), AfterValidator(_not_blank)]
    metadata: Annotated[Any, AfterValidator(_storable), AfterValidator(_tellable)] = None
    checkDelay: Annotated[int, Field(ge=1, le=MOST_INT)]  # noqa: N815
    memory: Annotated[int, Field(ge=1, le=MOST_INT)] | None = None

    @model_validator(mode="after")
    def _splits(self) -> Command:
        split(self.executable, "executable")
        return self


class Cluster(Described):
    """Where jobs run. `metadata.sfbatch` holds what Genie has no field for: see `sfbatch.jobs.queue.limits`."""

    status: Literal["UP", "OUT_OF_SERVICE", "TERMINATED"]
    metadata: Annotated[Any, AfterValidator(_storable), AfterValidator(_tellable)] = None


class Criterion(BaseModel):
    """The tags a cluster must all have."""

    tags: Annotated[Tags, Field(min_length=1)]


class JobRequest(Described):
    """A job as its user asks for it."""

    clusterCriterias: Annotated[list[Criterion], Field(min_length=1, max_length=100)]  # noqa: N815
    commandCriteria: Annotated[Tags, Field(min_length=1)]  # noqa: N815
    commandArgs: Annotated[str, Field(max_length=ARGUMENTS), AfterValidator(_written)] | None = None  # noqa: N815
    commandArguments: list[Annotated[str, Field(max_length=ARGUMENTS), AfterValidator(_written)]] | None = None  # noqa: N815
    group: Text | None = None
    disableLogArchival: bool = False  # noqa: N815
    email: Annotated[Text | None, AfterValidator(_email)] = None
    cpu: Annotated[int, Field(ge=1, le=MOST_INT)] | None = None
    memory: Annotated[int, Field(ge=1, le=MOST_INT)] | None = None
    timeout: Annotated[int, Field(ge=1, le=TEN_YEARS_S)] | None = None
    applications: References = Field(default_factory=list)
    grouping: Text | None = None
    groupingInstance: Text | None = None  # noqa: N815
    priority: Annotated[int, Field(ge=-100, le=100)] = 0
    retries: Annotated[int, Field(ge=0, le=10)] = 0  # how often it runs again after it failed or was lost
    retryDelay: Annotated[int, Field(ge=0, le=24 * 3600)] = 10  # noqa: N815 - seconds before the first retry
    pythonPath: Tags = Field(default_factory=list)  # noqa: N815 - attachments that Python looks for modules in
    pythonEnvironment: Text | None = None  # noqa: N815 - an attached requirements.txt or uv.lock

    @model_validator(mode="after")
    def _splits(self) -> JobRequest:
        self.arguments()
        return self

    def arguments(self) -> list[str]:
        """The arguments, one by one: Genie 4's list if given, else `commandArgs` split by the shell's quoting."""
        given = self.commandArguments
        return split(self.commandArgs or "", "commandArgs") if given is None else given


def split(line: str, name: str) -> list[str]:
    """Split as a shell would, without ever running one: no variable, glob or substitution is expanded.

    >>> split("main.py 'a b' $HOME", "commandArgs")
    ['main.py', 'a b', '$HOME']
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise ValueError(f"{name} cannot be split into arguments: {error}") from None
