"""A job goes where its tags say, by Genie's rules, and a cluster can be replaced under running jobs."""

from live import until
from sfbatch.jobs.selection import Choice, Limits, least_loaded


def choice(cluster_id, running=0):
    return Choice(cluster_id, cluster_id, "c", "c", None, 1000, Limits("local", running, 0))


def put_status(server, kind, name, status):
    patch = [{"op": "replace", "path": "/status", "value": status}]
    assert server.api.patch(f"{server.base}/{kind}/{name}", json=patch, timeout=60).status_code == 204


def ran_on(server, **more):
    job = server.ended(server.submit(["-c", "true"], **more))
    return job["clusterName"], job["commandName"]


def test_the_first_criterion_that_any_cluster_meets_decides(server):
    server.add_cluster("a", ["env:a", "both"], commands=["sh"])
    server.add_cluster("b", ["env:b", "both"], commands=["sh"])
    criteria = [{"tags": ["env:none"]}, {"tags": ["env:b", "both"]}, {"tags": ["env:a"]}]
    assert ran_on(server, clusterCriterias=criteria)[0] == "b"


def test_a_cluster_needs_all_tags_and_so_does_its_command(server):
    server.add_command("sh2", "/bin/sh", tags=["type:sh", "ver:2"])
    server.add_cluster("a", ["env:a", "sched:adhoc"], commands=["sh", "sh2"])
    assert ran_on(server, cluster=("env:a", "sched:adhoc"), commandCriteria=["type:sh", "ver:2"]) == ("a", "sh2")
    answer = server.post("jobs", server.job([], cluster=("env:a", "sched:sla")))
    assert (answer.status_code, answer.json()["message"][:24]) == (412, "No cluster/command combi")
    assert server.post("jobs", server.job([], cluster=("env:a",), commandCriteria=["ver:2", "nope"])).status_code == 412


def test_of_a_clusters_commands_the_first_in_link_order_is_taken(server):
    server.add_command("one", "/bin/sh", tags=["type:x"])
    server.add_command("two", "/bin/sh", tags=["type:x"])
    server.add_cluster("a", ["env:a"], commands=["two", "one"])
    assert ran_on(server, cluster=("env:a",), command="x") == ("a", "two")
    assert server.api.put(f"{server.base}/clusters/a/commands", json=["one", "two"], timeout=60).status_code == 204
    assert ran_on(server, cluster=("env:a",), command="x") == ("a", "one")


def test_an_inactive_command_is_passed_over(server):
    server.add_command("one", "/bin/sh", tags=["type:x"])
    server.add_command("two", "/bin/sh", tags=["type:x"])
    server.add_cluster("a", ["env:a"], commands=["one", "two"])
    put_status(server, "commands", "one", "INACTIVE")
    assert ran_on(server, cluster=("env:a",), command="x") == ("a", "two")


def test_genies_own_tags_select_too(server):
    assert ran_on(server, cluster=("genie.name:dev",), commandCriteria=["genie.id:sh"]) == ("dev", "sh")


def test_a_red_black_swap_leaves_running_jobs_alone_and_moves_waiting_ones(fresh, tmp_path):
    go = tmp_path / "go"
    server = fresh("--memory-mb", "20").start()
    server.add_command("sh", "/bin/sh", cluster="local")
    server.add_cluster("red", ["env:prod"], commands=["sh"])
    running = server.submit(["-c", f"{until(go)}; echo whole"], cluster=("env:prod",))
    server.running(running)
    waiting = server.submit(["-c", "true"], cluster=("env:prod",))
    server.add_cluster("black", ["env:prod"], commands=["sh"])
    put_status(server, "clusters", "red", "OUT_OF_SERVICE")
    go.touch()
    assert (server.ended(running)["status"], server.output(running).text) == ("SUCCEEDED", "whole\n")
    assert (server.get(f"jobs/{running}").json()["clusterName"], server.ended(waiting)["clusterName"]) == (
        "red",
        "black",
    )
    put_status(server, "clusters", "red", "TERMINATED")
    assert server.get(f"jobs/{running}/cluster").json()["status"] == "TERMINATED"


def test_a_waiting_job_outlives_a_time_without_any_cluster(fresh, tmp_path):
    go = tmp_path / "go"
    server = fresh("--memory-mb", "20").start()
    server.add_command("sh", "/bin/sh", cluster="local")
    server.add_cluster("a", ["env:prod"], commands=["sh"])
    first = server.submit(["-c", until(go)], cluster=("env:prod",))
    server.running(first)
    waiting = server.submit(["-c", "true"], cluster=("env:prod",))
    put_status(server, "clusters", "a", "OUT_OF_SERVICE")
    go.touch()
    server.ended(first)
    assert server.status(waiting) == "ACCEPTED"
    put_status(server, "clusters", "a", "UP")
    assert server.ended(waiting)["status"] == "SUCCEEDED"


def test_a_version_alias_moves_from_one_command_to_another(server):
    server.add_command("old", "/bin/sh", tags=["type:x", "ver:3.x"], cluster="local")
    server.add_command("new", "/bin/sh", tags=["type:x"], cluster="local")
    assert ran_on(server, commandCriteria=["type:x", "ver:3.x"])[1] == "old"
    assert server.api.delete(f"{server.base}/commands/old/tags/ver:3.x", timeout=60).status_code == 204
    assert server.post("commands/new/tags", ["ver:3.x"]).status_code == 204
    assert ran_on(server, commandCriteria=["type:x", "ver:3.x"])[1] == "new"


def test_the_least_loaded_share_wins_and_ties_are_settled_the_same_way_every_time():
    big, small, other = choice("big", running=10), choice("small", running=2), choice("other")
    assert least_loaded([big, small], {"big": 4, "small": 1}).cluster_id == "big"  # 40 % against 50 %
    assert least_loaded([big, small], {"big": 6, "small": 1}).cluster_id == "small"
    assert least_loaded([small, other], {"small": 1, "other": 3}).cluster_id == "other"  # without a limit: 3 of 1,000
    assert least_loaded([small, big, other], {}).cluster_id == "big"
    assert least_loaded([big, small], {}, lambda c: c.cluster_id == "small").cluster_id == "small"
    assert least_loaded([big], {}, lambda c: False) is None


def test_jobs_spread_over_clusters_that_fit(server):
    for name in ("a", "b"):
        server.add_cluster(name, ["env:spread"], limits={"maxRunningJobs": 2}, commands=["sh"])
    ids = [server.submit(["-c", "sleep 300"], cluster=("env:spread",)) for _ in range(4)]
    for job_id in ids:
        server.running(job_id)
    names = sorted(server.get(f"jobs/{job_id}").json()["clusterName"] for job_id in ids)
    assert names == ["a", "a", "b", "b"]
    for job_id in ids:
        server.api.delete(f"{server.base}/jobs/{job_id}", timeout=60)
