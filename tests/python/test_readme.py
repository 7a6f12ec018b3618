"""The README is true: its snippets run, its lists of errors, settings and steps are those of the sources."""

import re
from itertools import takewhile
from pathlib import Path

import checker
import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SOURCES = "\n".join(
    path.read_text()
    for folder, pattern in (("scala/main", "*.scala"), ("scala/spark-*", "*.scala"), ("python/sfbatch", "*.py"))
    for top in ROOT.glob(folder)
    for path in sorted(top.rglob(pattern))
)


def snippets(language, text=README):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def rows(heading, text=README):
    """The first column of the table that begins so."""
    table = takewhile(lambda line: line.startswith("|"), text[text.index(heading) :].splitlines())
    return [line.split("|")[1] for line in list(table)[2:]]


def names(cells):
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_error_code_is_there_and_no_other():
    listed = names(rows("| code |", (ROOT / "docs/errors.md").read_text()))
    settings = {name for name in names(rows("| setting |")) if name.startswith("SFBATCH_")}
    used = set(re.findall(r"\bSFBATCH_[A-Z]+(?:_[A-Z]+)*\b", SOURCES))
    assert listed == sorted(listed)
    assert sorted(used - set(listed) - settings) == []
    assert sorted(set(listed) - used) == []


def test_every_setting_is_there_and_no_other():
    listed = set(names(rows("| setting |")))
    read = r'(?:sys\.env\.get\(|environ\.get\(|\benvironment\(|environ\[)\s*"(SFBATCH_\w+)"'
    used = set(re.findall(read, SOURCES)) | set(re.findall(r'"(sfbatch\.(?:lock|publish)\.[a-z-]+)"', SOURCES))
    used |= set(re.findall(r'"(spark\.sfbatch\.[a-zA-Z.-]+)"', SOURCES))
    assert {name for name in listed if "fbatch" in name.lower()} == used


def test_every_write_option_and_procedure_is_there():
    source = (ROOT / "scala/main/org/apache/spark/sql/sfbatch/WriteParameters.scala").read_text()
    options = re.findall(r'"(\w+)"', re.search(r"val Names: Seq\[String\] =\s*Seq\((.*?)\)", source, re.DOTALL)[1])
    listed = names(rows("| write option"))
    assert [option for option in options if option not in listed] == []
    assert "append.maxCopyBytes" in listed
    source = (ROOT / "scala/main/org/apache/spark/sql/sfbatch/Procedure.scala").read_text()
    procedures = set(re.findall(r'extends Procedure\(\s*"(\w+)"', source))
    assert {name.split("(")[0] for name in names(rows("| `CALL sfbatch.`"))} == procedures


def test_every_step_is_in_the_table_of_deaths():
    steps = set(re.findall(r'\bStep\("([a-z]\w*)"', SOURCES))  # a Python Step("POST") is another thing
    assert sorted(steps - set(names(rows("| step |")))) == []


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        if not link.startswith("http"):
            assert (ROOT / link).exists(), link


@pytest.fixture
def default_tables(spark, metastore):
    """What the snippets make; held against its journal, then dropped."""
    before = {table.name for table in spark.catalog.listTables("default")}
    yield
    made = {table.name for table in spark.catalog.listTables("default")} - before
    problems = [line for table in made for line in checker.problems(metastore.uri, "default", table)]
    for table in made:
        spark.sql(f"DROP TABLE default.{table}")
    assert problems == []


def test_python_snippets_run(spark, default_tables):
    for snippet in snippets("python"):
        exec(compile(snippet, "README.md", "exec"), {})
    rows = spark.sql("CALL sfbatch.history(table => 'default.events')").collect()
    assert {(row.version, row.partition) for row in rows} == {
        (1, None), (2, "day=20161001"), (2, "day=20161002"), (3, "day=20161002"),
    }  # fmt: skip


def test_the_recovery_of_all_tables_of_a_database_says_what_it_finished(spark, default_tables, capsys):
    spark.sql("CREATE TABLE default.well (id INT) USING sfbatch")
    spark.sql("CREATE TABLE default.of_others (id INT) USING parquet")
    spark.sql("CREATE TABLE default.unfinished (id INT) USING sfbatch")
    spark.sql("INSERT INTO default.unfinished VALUES (1)")
    properties = {row.key: row.value for row in spark.sql("SHOW TBLPROPERTIES default.unfinished").collect()}
    # As if the driver had died right before its mark.
    Path(properties["sfbatch.root"].removeprefix("file:"), "_sfbatch/journal/00000000/000000000002.done").unlink()
    spark.sql("CREATE TEMPORARY VIEW passing AS SELECT 1")
    spark.sql("CREATE VIEW default.lasting AS SELECT 1")
    (snippet,) = snippets("python", (ROOT / "docs/operations.md").read_text())
    exec(compile(snippet.replace("sales", "default"), "operations.md", "exec"), {"spark": spark})
    assert capsys.readouterr().out == "default.unfinished finished 2 None\n"
    spark.sql("DROP VIEW passing")
    spark.sql("DROP VIEW default.lasting")
    spark.sql("DROP TABLE default.of_others")  # nothing of ours to check


def test_sql_snippets_run(spark, stock_spark, default_tables):
    for snippet in snippets("sql"):
        for statement in filter(None, (part.strip() for part in snippet.split(";"))):
            spark.sql(statement)
    assert stock_spark.sql("SELECT id, item, day FROM default.sales ORDER BY id") == [
        [1, "a", "20161001"],
        [2, "b", "20161002"],
    ]


def test_scala_snippet_speaks_of_what_there_is():
    """It is run by hand (spark-shell); here: its options and classes exist."""
    (snippet,) = snippets("scala")
    assert "spark.sql.extensions=sfbatch.SfBatchExtensions" in snippet
    assert (ROOT / "scala/main/sfbatch/SfBatchExtensions.scala").exists()
