"""tests/golden: the checker's replay, which shares no line with the product, reads the vectors the Scala code wrote."""

import gzip
import json
import re
from datetime import datetime
from pathlib import Path

import checker
import pytest
import schemas
from pymetastore.hive_metastore import ttypes

GOLDEN = Path(__file__).parents[1] / "golden"
JOURNALS = ["created", "adopted", "unpartitioned"]


def read(name):
    return json.loads((GOLDEN / name).read_text())


def states(journal):
    return [json.loads(path.read_text()) for path in sorted((GOLDEN / journal / "states").glob("*.json"))]


@pytest.mark.parametrize("journal", JOURNALS)
def test_replay_gives_the_same_state_after_every_version(journal):
    _, after = checker.replay(checker.journal(GOLDEN / journal))
    expected = states(journal)
    assert sorted(after) == [state["version"] for state in expected]
    for state in expected:
        assert after[state["version"]] == checker.state_of(state), f"version {state['version']}"


@pytest.mark.parametrize("journal", JOURNALS)
def test_entries_are_the_journal_unzipped_and_checkpoints_are_states(journal):
    entries = [json.loads(path.read_text()) for path in sorted((GOLDEN / journal / "entries").glob("*.json"))]
    assert entries == checker.journal(GOLDEN / journal)
    for path in (GOLDEN / journal / "_sfbatch" / "checkpoints").glob("*.json.gz"):
        found = json.loads(gzip.decompress(path.read_bytes()))
        assert found == states(journal)[found["version"] - 1]


@pytest.mark.parametrize("journal", [*JOURNALS, "unclear-mark"])
def test_files_are_as_their_schemas_say(journal):
    # Version 3 of `created` has the fields of a later release: allowed by the schema, and found by the strict reading.
    assert list(schemas.problems(GOLDEN / journal, strict=False)) == []
    strict = {re.search(r"journal/\d+/(\d+)", line)[1] for line in schemas.problems(GOLDEN / journal)}
    assert strict == ({"000000000003"} if journal == "created" else set())
    if journal in JOURNALS:
        for state in states(journal):
            assert list(schemas.validator("checkpoint").iter_errors(state)) == []


def test_a_file_that_breaks_its_schema_is_found(tmp_path):
    entry = checker.journal(GOLDEN / "created")[1]
    for damage in (
        {"operation": "guess"},
        {"timestamp": "2026-11-21T10:00:00Z"},
        {"mode": None},
        {"aborts": 1},
        {"partitions": [{"values": ["a"], "batch_id": "20261121100001", "location": "file:/x"}]},
        {"partitions": [{"values": ["a"], "dropped": True}]},
        {"partitions": [{"values": [""], "batch_id": "20261121100001"}]},
    ):
        damaged = {key: value for key, value in {**entry, **damage}.items() if value is not None}
        assert list(schemas.validator("journal-entry", strict=False).iter_errors(damaged)), damage


def test_partition_directories():
    vectors = read("partition-paths.json")
    for vector in vectors:
        pairs = list(zip(vector["columns"], vector["values"], strict=True))
        assert "/".join(checker.segment(*pair, vector["style"]) for pair in pairs) == vector["directory"]
        assert "/".join(checker.segment(*pair, "hive") for pair in pairs) == vector["name"]
        inside = (GOLDEN / vector["directory"]).resolve()
        assert len(inside.relative_to(GOLDEN).parts) == len(pairs)


def test_batch_ids():
    def valid(text):
        if not re.fullmatch(r"[0-9]{14}", text):
            return False
        try:
            datetime.strptime(text, "%Y%m%d%H%M%S")
        except ValueError:
            return False
        return True

    vectors = read("batch-ids.json")
    assert [text for text in vectors["valid"] if not valid(text)] == []
    assert [text for text in vectors["invalid"] if valid(text)] == []


def test_version_files():
    for vector in read("version-files.json"):
        number = vector["version"]
        assert vector["entry"] == f"journal/{(number - 1) // checker.BLOCK:08d}/{number:012d}.json.gz"


def test_a_lock_taken_as_the_vector_says_keeps_a_writer_out(spark, metastore, db):
    vector = read("lock-request.json")
    spark.sql(f"CREATE TABLE {db}.t (id BIGINT) USING sfbatch")
    with checker.Metastore(metastore.uri) as client:
        table_id = checker.table_of(client, db, "t").parameters["sfbatch.table-id"]
        part = vector["component"]
        component = ttypes.LockComponent(
            type=getattr(ttypes.LockType, part["type"]),
            level=getattr(ttypes.LockLevel, part["level"]),
            dbname=part["dbname"],
            tablename=part["tablename"].replace(vector["table_id"], table_id),
            operationType=getattr(ttypes.DataOperationType, part["operationType"]),
        )
        lock = client.lock(ttypes.LockRequest([component], None, "bob", "host2", vector["agentInfo"]))
        assert lock.state == ttypes.LockState.ACQUIRED
        spark.conf.set("sfbatch.lock.timeout-ms", "1500")
        try:
            with pytest.raises(Exception, match=r"SFBATCH_LOCK_TIMEOUT.*bob@host2"):
                spark.sql(f"INSERT INTO {db}.t VALUES (1)")
        finally:
            spark.conf.unset("sfbatch.lock.timeout-ms")
        client.unlock(ttypes.UnlockRequest(lock.lockid))
    spark.sql(f"INSERT INTO {db}.t VALUES (2)")
    assert [row.id for row in spark.table(f"{db}.t").collect()] == [2]


def test_the_protocol_names_every_field_and_operation_of_the_schemas():
    protocol = (schemas.FOLDER.parents[1] / "PROTOCOL.md").read_text()

    def fields(schema):
        if isinstance(schema, dict):
            for key, value in schema.items():
                if key == "properties" and schema.get("type") == "object":
                    yield from value
                yield from fields(value)
        elif isinstance(schema, list):
            for item in schema:
                yield from fields(item)

    for path in schemas.FOLDER.glob("*.schema.json"):
        named = set(fields(json.loads(path.read_text())))
        assert sorted(name for name in named if not re.search(rf'[`"{{]{name}["`?]', protocol)) == [], path.name
    entry = json.loads((schemas.FOLDER / "journal-entry.schema.json").read_text())
    operations = entry["properties"]["operation"]["enum"]
    assert set(operations) == checker.OPERATIONS
    assert [operation for operation in operations if f"`{operation}`" not in protocol] == []
