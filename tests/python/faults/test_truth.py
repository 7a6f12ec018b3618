"""The judge of `make test-faults` is judged: on a small table it finds a write that is lost, doubled, mixed, or that its writer was lied to about."""

import gzip
import json
from datetime import UTC, datetime

import pytest
from truth import Truth

OPS = {
    1: {"id": 1, "kind": "append", "table": "db.parts", "rows": {"a": 2, "b": 1}},
    2: {"id": 2, "kind": "append", "table": "db.parts", "rows": {"a": 1}},
    3: {"id": 3, "kind": "overwrite", "table": "db.parts", "rows": {"b": 1}},
    4: {"id": 4, "kind": "rollback", "table": "db.parts", "rows": {}, "back": 1},
}
DONE = {f"{number}.1": {"says": "done", "began": 10 * number - 7, "at": 10 * number} for number in OPS}
DONE["4.1"]["to"] = 3


@pytest.fixture
def table(tmp_path):
    """create; 1; 2; 3; 4: back to version 3."""
    root = tmp_path / "parts"

    def batch(day, batch_id, *rows):
        folder = root / day / batch_id
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part-0").write_text("".join(f"{op}\x01{k}\n" for op, k in rows))

    def entry(version, operation, attempt, changes, **more):
        path = root / "_sfbatch" / "journal" / "00000000" / f"{version:012d}.json.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        partitions = [
            {"values": [day], **({"batch_id": batch_id} if batch_id else {"dropped": True})}
            for day, batch_id in changes.items()
        ]
        at = datetime.fromtimestamp(10 * (version - 1) - 5, UTC).isoformat()
        made = {"version": version, "operation": operation, "partitions": partitions, "job_id": attempt, **more}
        made |= {"timestamp": at}
        path.write_bytes(gzip.compress(json.dumps(made).encode()))

    batch("a", "1", (1, 0), (1, 1))
    batch("b", "1", (1, 0))
    batch("a", "2", (1, 0), (1, 1), (2, 0))
    batch("b", "3", (3, 0))
    entry(1, "create", None, {})
    entry(2, "write", "1.1", {"a": "1", "b": "1"})
    entry(3, "write", "2.1", {"a": "2"})
    entry(4, "write", "3.1", {"b": "3"})
    entry(5, "rollback", "4.1", {"b": "1"}, to=3)
    return root, batch, entry


def found(root, ledger=None):
    return list(Truth(root, OPS, DONE if ledger is None else ledger).problems())


def test_what_is_well_is_called_so(table):
    root, *_ = table
    assert found(root) == []
    said = {**DONE, "3.1": {"says": "killed"}, "2.1": {"says": "failed", "code": "SFBATCH_PUBLISH_UNCLEAR"}}
    assert found(root, said) == []


def test_a_lost_write(table):
    root, *_ = table
    (root / "_sfbatch/journal/00000000/000000000005.json.gz").unlink()
    (root / "_sfbatch/journal/00000000/000000000004.json.gz").unlink()
    assert found(root) == ["write 3 (overwrite) was told done, and is not there"]


def test_a_doubled_write(table):
    root, batch, entry = table
    batch("a", "6", (1, 0), (1, 1), (2, 0), (2, 0))
    entry(6, "write", "2.2", {"a": "6"})
    assert "write 2 (append) is there 2 times" in found(root, {**DONE, "2.2": {"says": "killed"}})


@pytest.mark.parametrize(
    "rows", [[(1, 0), (2, 0)], [(1, 0), (1, 1)], [(1, 0), (1, 1), (2, 0), (2, 0)], [(1, 0), (1, 1), (2, 0), (3, 0)]]
)
def test_a_batch_that_lacks_rows_or_has_others(table, rows):
    root, batch, _ = table
    batch("a", "2", *rows)
    (problem,) = found(root)
    assert problem.startswith("version 3 (write by 2.1), partition ('a',): the batch holds")


def test_a_rollback_to_something_else(table):
    root, _, entry = table
    entry(5, "rollback", "4.1", {"b": "3"}, to=3)
    first, *_ = found(root)
    assert first.startswith("version 5 (rollback by 4.1)")
    entry(5, "rollback", "4.1", {}, to=3)
    assert found(root) == ["version 5 goes back to 3, and is not as version 3"]
    entry(5, "rollback", "4.1", {"b": "1", "a": "1"}, to=2)
    assert found(root) == ["version 5 of 4 goes back to 2, not to 3"]


def test_a_drop_of_something_else(table):
    root, _, entry = table
    ops = {**OPS, 5: {"id": 5, "kind": "drop", "table": "db.parts", "rows": {}, "day": "a"}}
    said = {**DONE, "5.1": {"says": "done", "at": 50}}
    entry(6, "drop_partition", "5.1", {"a": None})
    assert list(Truth(root, ops, said).problems()) == []
    entry(6, "drop_partition", "5.1", {"b": None})
    assert list(Truth(root, ops, said).problems()) == ["version 6 of 5 changes ['b'], not ['a']"]
    entry(6, "write", "5.1", {"a": None})
    assert "version 6 of 5 is a write, not a drop_partition" in list(Truth(root, ops, said).problems())


def test_a_version_that_changes_more_than_it_was_meant_to(table):
    root, _, entry = table
    entry(4, "write", "3.1", {"b": "3", "a": "1"})
    assert "version 4 of 3 changes ['a', 'b'], not ['b']" in found(root)


def test_a_writer_that_was_told_no(table):
    root, *_ = table
    said = {**DONE, "2.1": {"says": "failed", "code": "SFBATCH_STORE_FAILED", "text": "the store failed"}}
    assert found(root, said) == ["attempt 2.1 was told SFBATCH_STORE_FAILED, and is published: the store failed"]


def test_a_write_that_nobody_began(table):
    root, *_ = table
    ledger = {attempt: said for attempt, said in DONE.items() if attempt != "3.1"}
    assert found(root, ledger) == ["attempt 3.1 is published, and its writer never began it"]


def test_a_rollback_or_a_drop_that_is_told_done_and_is_not_there(table):
    root, *_ = table
    drop = {**OPS, 5: {"id": 5, "kind": "drop", "table": "db.parts", "rows": {}, "day": "a"}}
    said = {**DONE, "5.1": {"says": "done", "began": 43, "at": 50}}
    assert list(Truth(root, drop, said).problems()) == ["write 5 (drop) was told done, and is not there"]
    absent = {**drop, 5: {**drop[5], "day": "c"}}
    assert list(Truth(root, absent, said).problems()) == []
    back = {**OPS, 5: {"id": 5, "kind": "rollback", "table": "db.parts", "rows": {}, "back": 1}}
    assert list(Truth(root, back, {**said, "5.1": {**said["5.1"], "to": 3}}).problems()) == []
    assert list(Truth(root, back, {**said, "5.1": {**said["5.1"], "to": 2}}).problems()) == [
        "write 5 (rollback) was told done, and is not there"
    ]


def judged(truth, first, last, seen, *changes):
    explained, wrong = truth.misread([(first, last, seen)], changes)
    return dict(explained) or wrong


def test_a_read_of_two_versions_is_mixed_unless_a_call_explains_it(table):
    root, *_ = table
    truth = Truth(root, OPS, DONE)
    assert list(truth.problems()) == []
    whole, mixed = {("a",): "a/2", ("b",): "b/1"}, {("a",): "a/1", ("b",): "b/3"}
    assert judged(truth, 26, 28, whole) == []
    (problem,) = judged(truth, 28, 29, mixed)
    assert "which is no version" in problem
    assert judged(truth, 28, 29, mixed, (25, 26, {("a",): "a/1"}, True)) == {"late": 1}
    assert judged(truth, 28, 29, mixed, (25, 26, {("a",): "a/1"}, False)) == {"overtaken": 1}
    assert judged(truth, 28, 29, mixed, (50, 51, {("a",): "a/1"}, True)) == [problem]  # not yet
    assert judged(truth, 28, 29, mixed, (11, 12, {("a",): "a/1"}, True)) == [problem]  # version 3 was written since


def test_a_version_that_was_told_done_and_is_not_shown(table):
    root, *_ = table
    truth = Truth(root, OPS, DONE)
    assert list(truth.problems()) == []
    second, third = {("a",): "a/1", ("b",): "b/1"}, {("a",): "a/2", ("b",): "b/1"}
    assert judged(truth, 11, 19, second) == []  # 3 is told done at 20
    assert judged(truth, 11, 21, second) == ["was seen at 21 as version 2, when 3 was told done"]
    assert judged(truth, 11, 21, second, (18, 19, {("a",): "a/1"}, True)) == {"late": 1}
    assert judged(truth, 41, 99, third) == []  # version 5 goes back to 3
    assert judged(truth, 41, 99, {("a",): "a/2", ("b",): "b/3"}) == [
        "was seen at 99 as version 4, when 5 was told done"
    ]


def test_a_version_that_is_shown_before_it_is_written(table):
    root, *_ = table
    truth = Truth(root, OPS, DONE)
    assert list(truth.problems()) == []
    third = {("a",): "a/2", ("b",): "b/1"}
    assert judged(truth, 16, 16, third) == []
    assert judged(truth, 16, 14, third) == []  # written between the request and its answer
    assert judged(truth, 13, 14, third) == ["was seen at 14 as version 5, when 2 was told done"]
