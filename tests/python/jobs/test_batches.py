"""What a job published is read from its log; what the configuration says it may write reaches its writer."""

import json

import pytest
from live import eventually
from sfbatch.jobs.batches import KEPT, batches


def line(version, partitions, job="j", table="dev.t", operation="write"):
    told = {"job": job, "table": table, "version": version, "operation": operation, "partitions": partitions}
    return f"sfbatch-published {json.dumps(told)}\n"


@pytest.fixture
def log(tmp_path):
    (tmp_path / "genie").mkdir()
    path = tmp_path / "stderr"

    def write(text, mode="a"):
        with path.open(mode) as file:
            file.write(text)
        return [(v["table"], v["version"], v["partitions"]) for v in batches(tmp_path, "j")]

    return write


def test_a_log_that_grows_is_read_on_from_where_the_last_look_ended(log, tmp_path):
    assert log("WARN nothing yet\n") == []
    half = line(2, {"day=1": "20161001000000"})
    assert log(half[:30]) == []
    assert log(half[30:]) == [("dev.t", 2, {"day=1": "20161001000000"})]
    kept = json.loads((tmp_path / KEPT).read_text())
    read = (tmp_path / "stderr").stat().st_size
    assert kept["read"]["stderr"][1] == read
    # What was read is not read again: were it, the line that is overwritten here would be missed.
    with (tmp_path / "stderr").open("r+") as file:
        file.write("x" * read)
    assert log(line(3, {"day=2": None}))[-1] == ("dev.t", 3, {"day=2": None})
    assert len(batches(tmp_path, "j")) == 2


def test_a_version_of_many_lines_is_one_and_lines_of_both_streams_count(log, tmp_path):
    (tmp_path / "stdout").write_text(line(9, {"": "20161001000009"}, table="dev.other"))
    found = log(line(2, {"day=1": "20161001000000"}) + "noise " + line(2, {"day=2": "20161001000000"}))
    assert found == [
        ("dev.t", 2, {"day=1": "20161001000000", "day=2": "20161001000000"}),
        ("dev.other", 9, {"": "20161001000009"}),
    ]


@pytest.mark.parametrize(
    "text",
    [
        line(2, {"day=1": "b"}, job="another"),
        "sfbatch-published {broken\n",
        "sfbatch-published [1]\n",
        'sfbatch-published {"job": "j", "table": 1, "version": 1, "operation": "write", "partitions": {}}\n',
        line(2, {"day=1": {"x": 1}}),
    ],
)
def test_a_line_of_another_job_or_of_another_shape_is_nothing(log, text):
    assert log(text) == []


@pytest.mark.parametrize(
    "kept", ["", "{}", '{"read": {"stderr": 0}, "published": [1]}', "[]", '{"read": [], "published": 3}']
)
def test_notes_that_a_job_has_spoilt_are_made_anew(log, tmp_path, kept):
    log(line(2, {"day=1": "b"}))
    (tmp_path / KEPT).write_text(kept)
    assert [v["version"] for v in batches(tmp_path, "j")] == [2]


def test_each_attempt_of_a_job_has_published_what_its_own_log_says(log, tmp_path):
    log(line(2, {"day=1": "20161001000000"}))
    (tmp_path / "attempts/1").mkdir(parents=True)
    for name in ("stderr", "genie"):
        (tmp_path / name).rename(tmp_path / "attempts/1" / name)
    assert [v["version"] for v in batches(tmp_path, "j")] == [2]
    (tmp_path / "genie").mkdir()
    assert [version for _, version, _ in log("noise\n" * 100 + line(3, {"day=1": "20161001000001"}))] == [2, 3]


def test_a_log_that_was_brought_anew_is_read_anew(log, tmp_path):
    log(line(2, {"day=1": "20161001000000"}))
    (tmp_path / "new").write_text(line(2, {"day=1": "20161001000000"}) + line(3, {"day=1": "20161001000001"}))
    (tmp_path / "new").rename(tmp_path / "stderr")
    assert [v["version"] for v in batches(tmp_path, "j")] == [2, 3]


def test_a_log_that_is_a_link_to_elsewhere_is_not_read(tmp_path, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "log"
    other.write_text(line(2, {"day=1": "b"}))
    (tmp_path / "stderr").symlink_to(other)
    assert batches(tmp_path, "j") == []


def test_batches_are_shown_while_the_job_runs(live):
    told = line(2, {"day=20161001": "20161002002334"}, job="writer")
    job_id = live.submit(["-c", f"echo '{told.strip()}' >&2; sleep 60"], id="writer")
    found = eventually(lambda: live.get(f"jobs/{job_id}/batches").json())
    assert found == [
        {"table": "dev.t", "version": 2, "operation": "write", "partitions": {"day=20161001": "20161002002334"}}
    ]
    assert live.status(job_id) in {"INIT", "RUNNING"}
    live.api.delete(f"{live.base}/jobs/{job_id}", timeout=60)


def test_a_job_is_told_which_databases_it_may_change(server):
    cases = [
        (None, None, ""),
        (["dev_*", "scratch"], None, "dev_*,scratch"),
        (["dev_*"], ["scratch"], "scratch"),
        ("dev_*", None, "dev_*"),
        ([], None, "(none)"),
        ([7], None, "(none)"),
    ]
    asked = []
    for number, (of_cluster, of_command, seen) in enumerate(cases):
        metadata = {} if of_command is None else {"metadata": {"sfbatch": {"writeDatabases": of_command}}}
        command = server.add_command(f"sh{number}", "/bin/sh", **metadata)
        limits = None if of_cluster is None else {"writeDatabases": of_cluster}
        server.add_cluster(f"guarded{number}", [f"env:guarded{number}"], limits, [command])
        where = {"command": command, "cluster": (f"env:guarded{number}",)}
        asked.append((server.submit(["-c", 'echo "$SFBATCH_WRITE_DATABASES"'], **where), seen))
    for job_id, seen in asked:
        assert server.ended(job_id)["status"] == "SUCCEEDED"
        assert server.output(job_id).text == f"{seen}\n"
