"""Holds the files under a table's `_sfbatch` against docs/schemas; strict: a field no schema names is a problem, unless told otherwise."""

import gzip
import json
import re
from functools import cache
from pathlib import Path

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
OF_FILE = {
    r"owner\.json": "owner",
    r"claims/[0-9]{14}\.json": "claim",
    r"journal/[0-9]{8}/[0-9]{12}\.json\.gz": "journal-entry",
    r"checkpoints/[0-9]{12}\.json\.gz": "checkpoint",
    r"unclear/[0-9]{13}-[0-9]{12}-[0-9a-f]{8}\.json": "unclear-mark",
}


@cache
def validator(name, strict=True):
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(_closed(schema) if strict else schema)


def problems(root, strict=True):
    """One sentence for each file that is not as its schema says, and for each file that should not be there."""
    home = Path(root) / "_sfbatch"
    for path in sorted(home.rglob("*")):
        name = str(path.relative_to(home))
        if path.is_dir() or name.startswith("empty/"):
            continue
        schema = next((schema for pattern, schema in OF_FILE.items() if re.fullmatch(pattern, name)), None)
        if schema:
            raw = path.read_bytes()
            content = json.loads(gzip.decompress(raw) if name.endswith(".gz") else raw)
            for error in validator(schema, strict).iter_errors(content):
                yield f"_sfbatch/{name} is not as {schema}.schema.json says: {error.json_path}: {error.message[:300]}"
        elif re.fullmatch(r"journal/[0-9]{8}/[0-9]{12}\.done", name):
            if path.read_bytes() not in {b"", b"refused"}:
                yield f"_sfbatch/{name} says {path.read_bytes()!r}"
        # A temporary file may outlive a writer that was killed.
        elif not path.name.startswith("_"):
            yield f"_sfbatch/{name} has a name the protocol does not know"


def _closed(schema):
    """Objects that list their fields take no others."""
    if isinstance(schema, dict):
        closed = {key: _closed(value) for key, value in schema.items()}
        if schema.get("type") == "object" and "properties" in schema:
            closed["additionalProperties"] = False
        return closed
    return [_closed(item) for item in schema] if isinstance(schema, list) else schema
