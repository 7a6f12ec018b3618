"""A stock session reads our table as it reads a plain Hive table: same plan, same number of files listed."""

from __future__ import annotations

import re
from typing import Any

QUERIES = {
    "scan": "SELECT l_returnflag, sum(l_extendedprice) FROM {t} GROUP BY l_returnflag",
    "one partition": "SELECT count(*), sum(l_quantity) FROM {t} WHERE shipmonth = '199501' AND l_shipmode = 'AIR'",
    "a year, by column": "SELECT shipmonth, avg(l_discount) FROM {t} WHERE shipmonth BETWEEN '199401' AND '199412' AND l_quantity < 24 GROUP BY shipmonth",
    "join with itself": "SELECT count(*) FROM {t} a JOIN {t} b ON a.l_orderkey = b.l_orderkey WHERE a.shipmonth = '199501' AND b.shipmonth = '199502'",
}


def compare(spark, plain: str, ours: str) -> list[dict[str, Any]]:
    """For each query: the plans are equal but for names and places, and so is what was listed, read and returned."""
    return [
        {"query": name, **_compare(_read(spark, sql, plain), _read(spark, sql, ours))} for name, sql in QUERIES.items()
    ]


def _compare(plain: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    return {
        "same_plan": plain["plan"] == ours["plan"],
        "same_rows": plain["rows"] == ours["rows"],
        "files": [plain["files"], ours["files"]],
        "partitions": [plain["partitions"], ours["partitions"]],
        "plan": ours["plan"] if plain["plan"] == ours["plan"] else [plain["plan"], ours["plan"]],
    }


def _read(spark, sql: str, table: str) -> dict[str, Any]:
    spark.catalog.refreshTable(table)
    metrics = spark._jvm.org.apache.spark.metrics.source.HiveCatalogMetrics
    metrics.reset()
    query = spark.sql(sql.format(t=table))
    rows = sorted(map(str, query.collect()))
    counters = {
        "files": metrics.METRIC_FILES_DISCOVERED().getCount(),
        "partitions": metrics.METRIC_PARTITIONS_FETCHED().getCount(),
    }
    plan = spark.sql("EXPLAIN FORMATTED " + sql.format(t=table)).collect()[0][0]
    return {"rows": rows, "plan": _normalised(plan, table), **counters}


def _normalised(plan: str, table: str) -> str:
    """Without what must differ: the table's name and place, numbers of expressions and of plans."""
    plan = plan.replace(table, "TABLE").replace(table.split(".")[1], "TABLE")
    plan = re.sub(r"Location: (\w+) ?\[.*?\]", r"Location: \1", plan)
    return re.sub(r"#\d+L?|plan_id=\d+", "#", plan)
