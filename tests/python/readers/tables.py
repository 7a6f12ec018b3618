"""The tables that every reader is held to: how each is written, and the rows that are then in it."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal

FORMATS = ("parquet", "orc", "text")
STORES = ("file", "s3a")


@dataclass(frozen=True)
class Table:
    """`steps`: SQL (`{t}` is the table), or `("overwrite" | "append", rows)`; then `rows` are in it, in any order."""

    name: str
    columns: str
    steps: list
    rows: list
    by: str = ""
    format: str = "parquet"
    options: dict = field(default_factory=dict)

    @property
    def create(self):
        options = {"format": self.format, **self.options}
        given = ", ".join(f"'{name}' '{value}'" for name, value in options.items())
        return f"CREATE TABLE {{t}} ({self.columns}) USING sfbatch OPTIONS ({given}) {f'PARTITIONED BY ({self.by})' if self.by else ''}"


TYPES = {
    "flag": ("BOOLEAN", True, False),
    "tiny": ("TINYINT", -(2**7), 2**7 - 1),
    "small": ("SMALLINT", -(2**15), 2**15 - 1),
    "whole": ("INT", -(2**31), 2**31 - 1),
    "big": ("BIGINT", -(2**63), 2**63 - 1),
    "single": ("FLOAT", -0.25, float("inf")),
    "double": ("DOUBLE", 1e300, float("nan")),
    "money": ("DECIMAL(10,2)", Decimal("-12345678.90"), Decimal("0.01")),
    "huge": ("DECIMAL(38,18)", Decimal("-12345678901234567890.123456789012345678"), Decimal("0E-18")),
    "text": ("STRING", "Grüße, 日本 🦆\ttab \\ back", ""),
    "fixed": ("CHAR(5)", "abc  ", "12345"),
    "upto": ("VARCHAR(10)", "äöü", "1234567890"),
    "raw": ("BINARY", b"\x00\x01\xff\n", b"abc"),
    "day": ("DATE", date(1970, 1, 1), date(9999, 12, 31)),
    "moment": ("TIMESTAMP", datetime(2016, 10, 1, 23, 59, 59, 123456, UTC), datetime(1901, 1, 1, 0, 0, 0, 500000, UTC)),
    "numbers": ("ARRAY<INT>", [1, None, 3], []),
    "by_name": ("MAP<STRING,BIGINT>", {"a": 1, "b": None}, {"": 2**63 - 1}),
    "nested": ("STRUCT<a:INT,b:STRING>", {"a": 1, "b": "x"}, {"a": None, "b": None}),
    "deep": (
        "ARRAY<STRUCT<k:STRING,v:MAP<INT,ARRAY<DECIMAL(5,1)>>>>",
        [{"k": "x", "v": {1: [Decimal("1.5"), None], 2: [Decimal("-0.5")]}}, {"k": None, "v": None}],
        [{"k": "", "v": {7: [Decimal("0.0")]}}],
    ),
}  # fmt: skip

#: Strings that a path, a file name or a SerDe may take for something else; NULL among them.
HARD = [
    "a b",
    " a",
    "a/b",
    "a=b",
    "a:b",
    "100%",
    "%2F",
    "a+b",
    "a&b",
    "?#",
    "'\"\\",
    "ä日本🦆",
    "_x",
    ".x",
    "..",
    "{}[]^*",
    "NULL",
    "x\ty",
    None,
]


def all_types(form):
    columns = ", ".join(f"{name} {values[0]}" for name, values in TYPES.items())
    rows = [list(values) for values in zip(*(values[1:] for values in TYPES.values()), strict=True)]
    rows.append([None] * len(TYPES))
    return Table(f"types_{form}", columns, [("append", rows)], rows, format=form)


def strange_values(form, style):
    rows = [[number, f"v{number}", value] for number, value in enumerate(HARD)]
    steps = [("overwrite", rows[:9]), ("overwrite", rows), ("append", [])]
    return Table(
        f"values_{form}_{style}", "id INT, item STRING, p STRING", steps, rows, "p", form, {"partition-style": style}
    )


def added_columns(form, style):
    """The partitions written before do not have the new column, in their files nor in the metastore."""
    steps = [
        ("append", [[1, "old"], [2, "rewritten"], [3, "appended"]]),
        "ALTER TABLE {t} ADD COLUMNS (item STRING, more STRUCT<a:INT,b:ARRAY<STRING>>)",
        "INSERT OVERWRITE {t} PARTITION (day = 'rewritten') SELECT 20, 'b', named_struct('a', 1, 'b', array('x'))",
        "INSERT INTO {t} PARTITION (day = 'appended') SELECT 30, 'c', named_struct('a', 2, 'b', array('y', 'z'))",
    ]
    more = {"a": 1, "b": ["x"]}, {"a": 2, "b": ["y", "z"]}
    rows = [
        [1, None, None, "old"],
        [20, "b", more[0], "rewritten"],
        [3, None, None, "appended"],
        [30, "c", more[1], "appended"],
    ]
    return Table(f"added_{form}_{style}", "id INT, day STRING", steps, rows, "day", form, {"partition-style": style})


def unpartitioned(form):
    steps = [
        ("append", [[1, "a"]]),
        ("append", [[2, "b"]]),
        "ALTER TABLE {t} ADD COLUMNS (more DATE)",
        "INSERT INTO {t} VALUES (3, 'c', date '2016-10-01')",
    ]
    rows = [[1, "a", None], [2, "b", None], [3, "c", date(2016, 10, 1)]]
    return Table(f"whole_{form}", "id INT, item STRING", steps, rows, format=form)


def emptied(form):
    steps = [("append", [[1, "a"], [2, "b"]]), "INSERT OVERWRITE {t} PARTITION (day = 'a') SELECT 1 WHERE false"]
    return Table(f"emptied_{form}", "id INT, day STRING", steps, [[2, "b"]], "day", form)


def emptied_whole(form):
    steps = [("append", [[1]]), "INSERT OVERWRITE {t} SELECT 1 WHERE false"]
    return Table(f"emptied_whole_{form}", "id INT", steps, [], format=form)


def never_written(form, by):
    return Table(f"never_{form}{'_parted' if by else ''}", "id INT, day STRING", [], [], by, form)


def rolled_back(form):
    """Back behind ADD COLUMNS, and a partition that leaves."""
    steps = [
        ("append", [[1, "a"], [2, "b"]]),
        "ALTER TABLE {t} ADD COLUMNS (item STRING)",
        "INSERT OVERWRITE {t} VALUES (3, 'x', 'a'), (4, 'y', 'c')",
        "CALL sfbatch.rollback(table => '{t}', to => 2)",
    ]
    return Table(f"back_{form}", "id INT, day STRING", steps, [[1, None, "a"], [2, None, "b"]], "day", form)


def typed_partitions():
    columns = "id INT, i INT, l BIGINT, d DATE, m DECIMAL(5,2), t TIMESTAMP, b BOOLEAN, v VARCHAR(5)"
    moment = datetime(2016, 10, 1, 12, 30, 0, 500000, UTC)
    rows = [
        [1, -5, 2**62, date(2016, 10, 1), Decimal("1.50"), moment, True, "ä/b"],
        [2, 7, 0, date(1999, 12, 31), Decimal("-0.25"), moment.replace(microsecond=0), False, "x y"],
        [3, *[None] * 7],
    ]
    return Table("typed_partitions", columns, [("append", rows), ("overwrite", rows)], rows, "i, l, d, m, t, b, v")


def delimited():
    options = {"delimiter": ",", "nullvalue": "-", "collection.delim": "|", "mapkey.delim": ":"}
    rows = [[1, "a,b\\c", ["x", "y,z"], {"k": 2}], [2, None, [], None], [None, "", None, {"k": None}]]
    return Table(
        "delimited",
        "id INT, item STRING, list ARRAY<STRING>, map MAP<STRING,INT>",
        [("append", rows)],
        rows,
        format="text",
        options=options,
    )


def compressed(form, codec):
    rows = [[1, "a"], [2, "b"]]
    return Table(
        f"{form}_{codec}", "id INT, item STRING", [("append", rows)], rows, format=form, options={"compression": codec}
    )


TABLES = {
    table.name: table
    for table in (
        *map(all_types, FORMATS),
        *(strange_values(form, style) for form in FORMATS for style in ("value", "hive")),
        *(added_columns(form, style) for form in FORMATS for style in ("value", "hive")),
        *map(unpartitioned, FORMATS),
        *map(emptied, FORMATS),
        *map(emptied_whole, FORMATS),
        *(never_written(form, by) for form in FORMATS for by in ("", "day")),
        *map(rolled_back, FORMATS),
        typed_partitions(),
        delimited(),
        *(compressed("parquet", codec) for codec in ("gzip", "zstd", "lz4")),
        *(compressed("orc", codec) for codec in ("zlib", "zstd", "lz4")),
    )
}
