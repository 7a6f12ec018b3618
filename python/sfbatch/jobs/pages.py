"""Pages of a search as Spring writes them: `page`, and links to the first, previous, next and last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from sfbatch.jobs.problem import bad_request

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.datastructures import QueryParams

LARGEST_PAGE, FARTHEST_PAGE = 2000, 1_000_000_000
MOST_PARAMETERS, LONGEST_PARAMETER = 100, 1000  # databases refuse a search that is larger by far


@dataclass(frozen=True)
class Page:
    """Which part of a search is wanted, in which order."""

    number: int
    size: int
    sort: tuple[tuple[str, bool], ...]  # field, whether descending

    @classmethod
    def of(cls, query: QueryParams, size: int, default_sort: str, fields: Mapping[str, Any]) -> Page:
        """Read `page`, `size` (at most 2000) and `sort=field,asc|desc`. Raises Problem 400."""
        given = query.multi_items()
        if len(given) > MOST_PARAMETERS or any(len(value) > LONGEST_PARAMETER for _, value in given):
            raise bad_request(f"A search takes at most {MOST_PARAMETERS} parameters of {LONGEST_PARAMETER} characters")
        sort: dict[str, bool] = {}
        for text in query.getlist("sort") or [f"{default_sort},desc"]:
            *names, last = text.split(",")
            direction = last.strip().lower()
            if direction not in {"asc", "desc"}:
                names, direction = [*names, last], "asc"
            for name in names:
                if name not in fields:
                    raise bad_request(f"Cannot sort by '{name}'. Must be one of {', '.join(fields)}")
                sort.setdefault(name, direction == "desc")
        asked = _whole(query, "size", size)
        return cls(_whole(query, "page", 0), min(asked, LARGEST_PAGE) or size, tuple(sort.items()))

    def document(
        self, url: str, query: QueryParams, filters: Sequence[str], embedded: str, items: list[Any], total: int
    ) -> dict[str, Any]:
        """The answer. `filters` are all there are; those not used are offered in the templated link, as Spring does."""
        used = [(name, value) for name in filters for value in query.getlist(name)]
        text = "&".join(f"{name}={quote(value, safe=':,@/*')}" for name, value in used)
        rest = ",".join(name for name in filters if name not in dict(used))
        base = f"{url}?{text}" if text else url
        self_link: dict[str, Any] = {"href": base}
        if rest:
            self_link = {"href": base + ("{&" if text else "{?") + rest + "}", "templated": True}
        pages = -(-total // self.size)
        sort = "&".join(f"sort={name},{'desc' if down else 'asc'}" for name, down in self.sort)

        def at(number: int) -> dict[str, str]:
            return {"href": f"{base}{'&' if text else '?'}page={number}&size={self.size}&{sort}"}

        links = {
            **({"first": at(0)} if pages > 1 else {}),
            **({"prev": at(self.number - 1)} if self.number > 0 else {}),
            "self": self_link,
            **({"next": at(self.number + 1)} if self.number + 1 < pages else {}),
            **({"last": at(pages - 1)} if pages > 1 else {}),
        }
        page = {"size": self.size, "totalElements": total, "totalPages": pages, "number": self.number}
        return {**({"_embedded": {embedded: items}} if items else {}), "_links": links, "page": page}


def epoch_ms(query: QueryParams, name: str) -> int | None:
    """A time given in milliseconds, None when it is not. Raises Problem 400."""
    text = query.get(name)
    try:
        value = int(text) if text else None
    except ValueError:
        raise bad_request(f"{name}: '{text}' is not a whole number of milliseconds") from None
    return None if value is None else max(min(value, 2**62), -(2**62))


def _whole(query: QueryParams, name: str, default: int) -> int:
    text = query.get(name)
    try:
        return min(max(int(text), 0), FARTHEST_PAGE) if text else default
    except ValueError:
        raise bad_request(f"{name}: '{text}' is not a whole number") from None
