"""Rows of any reader in one form, so that they can be compared and sent as JSON."""

from datetime import UTC, date, datetime
from decimal import Decimal


def plain(value):
    """Structs and maps become sorted lists of pairs, lists stay, all else is text: `{"a": 1}` is `[["a", "1"]]`."""
    names = getattr(value, "__fields__", None) or getattr(value, "_names", None)  # a struct of Spark's, of Trino's
    if names:
        value = dict(zip(names, value, strict=True))
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, (list, tuple)):
        items = [plain(item) for item in value]
        return sorted(items, key=repr) if all(type(item) is tuple for item in value) else items
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, datetime):
        utc = value.astimezone(UTC) if value.tzinfo else value
        return utc.replace(tzinfo=None).isoformat(" ", "microseconds")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value if value is None else str(value)


def plain_rows(rows):
    """Sorted, as no reader promises an order."""
    return sorted(([plain(value) for value in row] for row in rows), key=repr)
