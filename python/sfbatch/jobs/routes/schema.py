"""What the OpenAPI document says about bodies that the routes read by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

STRINGS: dict[str, Any] = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 255}}
PATCH: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"enum": ["add", "remove", "replace", "move", "copy", "test"]},
            "path": {"type": "string"},
            "from": {"type": "string"},
            "value": {},
        },
    },
}


def body(schema: dict[str, Any]) -> dict[str, Any]:
    """`openapi_extra` of a route that reads JSON."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def of(model: type[BaseModel]) -> dict[str, Any]:
    """A model's schema, complete in itself."""
    return inlined(model.model_json_schema())


def inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its `$defs` put where they are used."""
    definitions = schema.pop("$defs", {})

    def put(node: Any) -> Any:
        if isinstance(node, dict):
            if "$ref" in node:
                return put(definitions[node["$ref"].rpartition("/")[2]])
            return {key: put(value) for key, value in node.items()}
        return [put(item) for item in node] if isinstance(node, list) else node

    result: dict[str, Any] = put(schema)
    return result


def query(names: Iterable[str]) -> dict[str, Any]:
    """`openapi_extra` of a search by these parameters, which the route reads by itself."""
    whole = {"minimum": 0, "type": "integer"}
    kinds: dict[str, dict[str, Any]] = {"page": whole, "size": {**whole, "maximum": 2000}}
    several = {"type": "array", "items": {"type": "string"}}

    def kind(name: str) -> dict[str, Any]:
        if name in {"status", "tag", "sort"}:
            return several
        return kinds.get(name, {"type": "integer"} if name.startswith(("min", "max")) else {"type": "string"})

    named = [*names, "page", "size", "sort"]
    return {"parameters": [{"name": name, "in": "query", "required": False, "schema": kind(name)} for name in named]}
