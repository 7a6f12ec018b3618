"""`sfbatch clusters apply` makes a server's clusters those of a file: shown first, idempotent, red/black in one command."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cli import sfbatch
from live import eventually, free_port, until
from sfbatch.jobs.api import Api, JobServerError
from sfbatch.jobs.plan import plan
from sfbatch.jobs.problem import Problem

EXAMPLE = Path(__file__).parents[3] / "conf/clusters.yaml"


def apply(server, wanted, *arguments, code=0):
    path = server.home / "clusters.yaml"
    path.write_text(wanted if isinstance(wanted, str) else yaml.safe_dump(wanted, sort_keys=False))
    command = [
        sys.executable,
        "-c",
        "from sfbatch.cli import main; main()",
        "clusters",
        "apply",
        str(path),
        "--url",
        server.url,
        *arguments,
    ]
    done = subprocess.run(command, env=server.env, capture_output=True, text=True, timeout=120)
    assert done.returncode == code, done.stderr
    return done.stdout if code == 0 else done.stderr


def example():
    return yaml.safe_load(EXAMPLE.read_text())


def test_the_example_is_shown_then_made_then_nothing_is_left_to_do(server):
    shown = apply(server, example())
    assert "+ cluster dev-1\n    commands: none -> spark, python-3\n    status: UP" in shown
    assert "nothing was changed" in shown
    assert server.get("clusters/dev-1").status_code == 404
    apply(server, example(), "--yes")
    assert [c["id"] for c in server.get("clusters/dev-1/commands").json()] == ["spark", "python-3"]
    assert server.get("clusters/dev-1").json()["metadata"]["sfbatch"]["maxRunningJobs"] == 8
    assert "~ cluster local\n    status: UP -> OUT_OF_SERVICE (replaced; its jobs run on)" in shown
    assert server.get("clusters/local").json()["status"] == "OUT_OF_SERVICE"  # of the first start: without its limits
    assert server.get("commands/python").json()["status"] == "ACTIVE"  # not named, not touched
    before = server.get("clusters/dev-1").json()["updated"]
    assert apply(server, example(), "--yes") == "nothing to do\n"
    assert json.loads(apply(server, example(), "--yes", "--json")) == {"changes": [], "made": False}
    assert server.get("clusters/dev-1").json()["updated"] == before


def test_a_change_is_told_field_by_field(server):
    apply(server, example(), "--yes")
    wanted = example()
    wanted["commands"]["spark"]["executable"] = "/opt/spark/bin/spark-submit"
    wanted["clusters"]["dev-1"]["tags"].append("new:tag")
    wanted["clusters"]["dev-1"]["commands"].reverse()
    shown = apply(server, wanted, "--yes").splitlines()
    assert "    executable: spark-submit -> /opt/spark/bin/spark-submit" in shown
    assert "    tags: env:dev, sched:adhoc -> env:dev, new:tag, sched:adhoc" in shown
    assert "    commands: spark, python-3 -> python-3, spark" in shown
    assert [c["id"] for c in server.get("clusters/dev-1/commands").json()] == ["python-3", "spark"]
    assert apply(server, wanted) == "nothing to do\n"


def test_a_new_id_under_the_same_name_replaces_a_cluster_under_its_running_jobs(server, tmp_path):
    go = tmp_path / "go"
    wanted = {"clusters": {"a-1": {"name": "a", "tags": ["env:a"], "commands": ["sh"]}}}
    apply(server, wanted, "--yes")
    running = server.submit(["-c", f"{until(go)}; echo whole"], cluster=("env:a",))
    server.running(running)
    wanted["clusters"]["a-2"] = wanted["clusters"].pop("a-1")
    shown = apply(server, wanted, "--yes")
    assert "status: UP -> OUT_OF_SERVICE (replaced; its jobs run on)" in shown
    assert (server.get("clusters/a-1").json()["status"], server.get("clusters/a-2").json()["status"]) == (
        "OUT_OF_SERVICE",
        "UP",
    )
    later = server.submit(["-c", "true"], cluster=("env:a",))
    eventually(lambda: server.get(f"jobs/{later}/cluster").status_code == 200)
    assert server.get(f"jobs/{later}/cluster").json()["id"] == "a-2"
    go.touch()
    assert server.ended(running)["status"] == "SUCCEEDED"
    assert apply(server, wanted, "--yes") == "nothing to do\n"


def test_a_file_that_says_nothing_sensible_changes_nothing(server):
    for wanted, message in (
        ({"clusters": {"x": {"statsu": "UP"}}}, "there is no 'statsu'"),
        ({"clusters": {"x": {"status": "DOWN"}}}, "status"),
        ({"clusters": ["x"]}, "must map ids"),
        ("clusters: [", "cannot be read"),
        ("clusters: {x: {metadata: {since: 2024-01-01}}}", "dates in quotes"),
    ):
        assert message in apply(server, wanted, "--yes", code=1)
    assert server.get("clusters/x").status_code == 404


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        (None, "the file is empty: give some of applications, commands, clusters"),
        ({"cluster": {"x": {}}}, "there is no 'cluster' at the top of the file, only applications, commands, clusters"),
        ("clusters", "the file must begin with one of applications, commands, clusters"),
    ],
)
def test_a_file_without_what_it_can_have_is_refused(live, wanted, told):
    with pytest.raises(Problem, match=told):
        plan(wanted, Api(live.url, live.token))


def test_what_a_file_names_and_nobody_has_is_refused_before_the_first_change(live):
    wanted = {"commands": {"x": {"executable": "x"}}, "clusters": {"x": {"commands": ["x", "spark-submit", "zzz"]}}}
    with pytest.raises(Problem, match="cluster x: there is no command 'zzz', neither in the file nor on the server"):
        plan(wanted, Api(live.url, live.token))
    wanted["commands"]["x"]["applications"] = ["lib"]
    with pytest.raises(Problem, match="command x: there is no application 'lib'"):
        plan(wanted, Api(live.url, live.token))
    wanted["applications"] = {"lib": {}}
    wanted["clusters"]["x"]["commands"].remove("zzz")
    assert [step.path[0] for step in plan(wanted, Api(live.url, live.token))][:2] == ["applications", "commands"]


def test_without_a_server_it_says_so(monkeypatch):
    monkeypatch.setattr("sfbatch.jobs.api.COMES_UP_S", 0)
    with pytest.raises(JobServerError, match="SFBATCH_SERVER_DOWN"):
        plan(example(), Api(f"http://127.0.0.1:{free_port()}"))


def test_the_clusters_are_listed_with_what_they_run(live):
    lines = [line.split() for line in sfbatch(live, "clusters", "list").stdout.splitlines()[1:]]
    (line,) = (line for line in lines if line[0] == "local")  # other tests have made others
    assert line[:7] == ["local", "dev", "UP", "env:dev,", "sched:adhoc,", "type:local", "spark-submit,"]


def test_the_example_for_emr_is_taken_and_what_would_fail_later_is_refused_now(server):
    text = (EXAMPLE.parent / "clusters-emr.yaml").read_text()
    apply(server, text, "--yes")
    ours = server.get("clusters/emr-dev-1").json()["metadata"]["sfbatch"]
    assert (ours["backend"], ours["emr"]["clusterId"], ours["maxRunningJobs"]) == ("emr-steps", "j-DEV", 10)
    assert server.get("commands/emr-spark-4.0").json()["metadata"] == {"sfbatch": {"spark": "4.0"}}
    assert apply(server, text, "--yes") == "nothing to do\n"
    for change, message in (
        (
            {"clusters": {"x": {"limits": {"backend": "emr"}}}},
            "the backend is one of local, emr-steps, emr-serverless, not 'emr'",
        ),
        ({"clusters": {"x": {"limits": {"backend": "emr-steps"}}}}, "needs emr.clusterId"),
        ({"clusters": {"x": {"emr": {"region": "r"}}}}, "the backend local has no use for emr.region"),
        ({"clusters": {"x": {"commands": "spark"}}}, "commands must be a list"),
        ({"clusters": {"x": {"limits": 4}}}, "limits must be a mapping"),
        ({"clusters": {"x": {"limits": {"maxRunningJob": 4}}}}, "limits.maxRunningJob 4: there is backend (str)"),
        ({"clusters": {"x": {"limits": {"maxRunningJobs": "4"}}}}, "limits.maxRunningJobs '4': there is"),
        (
            {"commands": {"x": {"executable": "x", "spark": "3.4"}}},
            'spark is "3.5", "4.0", "4.1", "4.2", "4.3", "installed", not',
        ),
    ):
        assert message in apply(server, change, "--yes", code=1)
    both = {
        "commands": {
            "x": {"executable": "x", "spark": "3.5", "limits": {"writeDatabases": ["dev"]}, "metadata": {"team": "a"}}
        }
    }
    apply(server, both, "--yes")
    assert server.get("commands/x").json()["metadata"] == {
        "team": "a",
        "sfbatch": {"writeDatabases": ["dev"], "spark": "3.5"},
    }
