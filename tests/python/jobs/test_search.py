"""A search finds exactly the jobs that meet its filters, in order, by whichever way it goes to them."""

import itertools
import random

import pytest
from sfbatch.jobs import jobs
from sfbatch.jobs.database import Database
from sfbatch.jobs.pages import Page
from sfbatch.jobs.tables import job_tags
from sqlalchemy import insert
from starlette.datastructures import QueryParams

TIMES = dict.fromkeys(("minStarted", "maxStarted", "minFinished", "maxFinished"))
TAGS = {"all": 1, "half": 2, "tenth": 10, "rare": 37, "none": 10**6}


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('search') / 'a.db'}")
    database.migrate()
    rows = [
        {
            "id": f"job{n:03d}", "name": f"n{n % 7}", "user": f"u{n % 3}", "version": "1", "status": ("SUCCEEDED", "FAILED")[n % 2], "updated_ms": 0,
            "created_ms": 1000 - n // 2, "request": {}, "applications": [], "priority": 0, "route": "r", "timeout_s": 1, "memory_mb": 1,
            "server_id": "s", "directory": "d", "attachments": 0, "attachments_bytes": 0, "cluster_id": f"c{n % 2}",
        }
        for n in range(200)
    ]  # fmt: skip
    with database.write() as connection:
        connection.execute(insert(jobs.jobs), rows)
        tagged = [
            {"job_id": f"job{n:03d}", "tag": tag}
            for n in range(200)
            for tag, every in TAGS.items()
            if n % every == 0 and tag != "none"
        ]
        connection.execute(insert(job_tags), tagged)
    yield database, rows
    database.close()


@pytest.mark.parametrize(("few", "many"), [(0, 1), (5, 50), (10**6, 10**6)])
def test_tags_and_filters_in_every_combination(database, monkeypatch, few, many):
    monkeypatch.setattr(jobs, "FEW", few)
    monkeypatch.setattr(jobs, "MANY", many)
    database, rows = database
    rng = random.Random(7)
    sets = [tags for size in range(3) for tags in itertools.combinations(TAGS, size)]
    for tags, user, status in itertools.product(sets, (None, "u1"), (None, "FAILED")):
        tags = rng.sample(tags, len(tags)) + list(tags[:1])  # in any order, one of them twice
        query = QueryParams(
            [
                *(("tag", tag) for tag in tags),
                *([("user", user)] if user else []),
                *([("status", status)] if status else []),
            ]
        )
        wanted = [
            row["id"]
            for n, row in enumerate(rows)
            if all(tag != "none" and n % TAGS[tag] == 0 for tag in tags)
            and user in {None, row["user"]}
            and status in {None, row["status"]}
        ]
        wanted.sort(key=lambda job_id: (rows[int(job_id[3:])]["created_ms"], job_id), reverse=True)
        with database.read() as connection:
            found, total = jobs.search(connection, query, TIMES, Page.of(query, 10, "created", jobs.SORTS))
        assert ([row.id for row in found], total) == (wanted[:10], len(wanted)), (tags, user, status)
