"""The server starts fast and small, refuses what is unsafe, and tells the truth about itself."""

import json
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import requests
import uvicorn
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from live import cpu_s, eventually, until
from sfbatch.jobs import database as databases
from sfbatch.jobs.listening import Listening
from sfbatch.jobs.problem import ServerError
from sfbatch.jobs.tables import metadata


def resident_mb(process_id):
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError


UNIT = "import time; sum(i * i for i in range(8_000_000)); print(time.process_time())"
UNIT_ON_REFERENCE_S = 0.26  # where a first start takes 0.7 s and a later one 0.5 s


def start_s(server):
    """The processor's time that a start takes, less where the processor is slower, or busy, just now."""
    server.start()
    took_s, size_mb = cpu_s(server.process.pid), resident_mb(server.process.pid)
    unit_s = float(subprocess.run([sys.executable, "-c", UNIT], capture_output=True, text=True, check=True).stdout)
    print(f"a start: {took_s:.2f} s of CPU, {size_mb:.0f} MB; the unit: {unit_s:.2f} s")
    assert size_mb < 120
    server.stop()
    return took_s / max(1, unit_s / UNIT_ON_REFERENCE_S)


def test_it_starts_within_two_seconds_of_processor_time_and_stays_under_120_mb(fresh):
    servers = [fresh() for _ in range(3)]
    assert any(start_s(server) < 2.0 for server in servers)  # each a first start
    assert any(start_s(servers[0]) < 2.0 for _ in range(3))


def test_the_tables_are_what_the_migrations_make(tmp_path):
    database = databases.Database(f"sqlite:///{tmp_path / 'a.db'}")
    database.migrate()
    assert database.schema_version() == databases.HEAD
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    names = sorted(path.name[:4] for path in (Path(databases.__file__).parent / "migrations/versions").glob("0*.py"))
    assert names[-1] == databases.HEAD


def test_a_database_of_a_newer_server_is_refused(server):
    server.stop()
    with sqlite3.connect(server.home / "jobs/jobs.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    server.start(wait=False)
    assert server.process.wait(120) == 1
    assert "[SFBATCH_DATABASE_FAILED]" in server.log_text()


@pytest.mark.parametrize("url", ["postgres://me:hunter2@here/jobs", "hunter2"])
def test_what_is_no_url_of_a_database_is_refused_and_not_shown(url):
    with pytest.raises(ServerError, match="SFBATCH_DATABASE_FAILED") as error:
        databases.Database(url)
    assert "hunter2" not in str(error.value)


def test_off_loopback_it_does_not_start_without_authentication(fresh):
    server = fresh("--host", "0.0.0.0", "--no-auth").start(wait=False)
    assert server.process.wait(120) == 1
    assert "[SFBATCH_SERVER_REFUSED]" in server.log_text()


def test_a_second_server_of_the_same_home_does_not_start(fresh):
    fresh(home="same").start()
    second = fresh(home="same").start(wait=False)
    assert second.process.wait(120) == 1
    assert "[SFBATCH_SERVER_REFUSED]" in second.log_text()


def test_it_tells_where_it_listens_and_that_a_port_is_taken(live, tmp_path):
    path = live.home / "jobs/url"
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == (f"{live.url}\n", 0o600)
    config = uvicorn.Config(None, host="127.0.0.1", port=live.port, lifespan="off", log_config=None)
    with pytest.raises(ServerError, match=rf"SFBATCH_SERVER_REFUSED.*127.0.0.1, port {live.port} .*address already in"):
        Listening(config, tmp_path).run()
    assert not (tmp_path / "url").exists()


def test_without_authentication_it_warns_and_needs_no_token(fresh):
    server = fresh("--no-auth").start()
    assert requests.get(f"{server.base}/jobs", timeout=60).status_code == 200
    assert "NO AUTHENTICATION" in server.log_text()
    assert not (server.home / "jobs/token").exists()


def test_the_first_token_is_the_owners_alone_and_survives_a_restart(fresh):
    server = fresh().start()
    path = server.home / "jobs/token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((server.home / "jobs").stat().st_mode) == 0o700
    before = server.token
    server.stop()
    server.start()
    assert server.token == before
    assert server.get("jobs").status_code == 200


def test_health_tells_everybody_whether_and_the_known_why(fresh):
    server = fresh().start()
    assert requests.get(f"{server.url}/actuator/health", timeout=60).json() == {"status": "UP"}
    components = server.api.get(f"{server.url}/actuator/health", timeout=60).json()["components"]
    assert {name: c["status"] for name, c in components.items()} == dict.fromkeys(
        ("database", "disk", "dispatcher"), "UP"
    )


def test_health_is_down_when_the_tables_are_gone(server):
    with sqlite3.connect(server.home / "jobs/jobs.db", timeout=60) as connection:
        connection.execute("ALTER TABLE resources RENAME TO elsewhere")
    answer = requests.get(f"{server.url}/actuator/health", timeout=60)
    assert (answer.status_code, answer.json()) == (503, {"status": "DOWN"})


def test_metrics_count_the_jobs_and_time_the_requests(server):
    server.ended(server.submit(["-c", "true"]))
    server.api.request("BREW", f"{server.base}/jobs", timeout=60)
    text = server.api.get(f"{server.url}/metrics", timeout=60).text
    assert "BREW" not in text  # series are never made by names that clients choose
    assert 'sfbatch_jobs{status="SUCCEEDED"} 1.0' in text
    assert 'sfbatch_http_request_seconds_count{method="POST",route="/api/v3/jobs",status="202"} 1.0' in text
    assert "process_resident_memory_bytes" in text


def test_logs_are_json_lines_without_tokens_or_arguments(server):
    server.ended(server.submit(["-c", "true arguments-are-private"]))
    lines = [json.loads(line) for line in server.log_text().splitlines()]
    assert any(
        line["message"] == "request" and line["path"] == "/api/v3/jobs" and line["status"] == 202 for line in lines
    )
    assert server.token not in server.log_text()
    assert "arguments-are-private" not in server.log_text()


def test_the_api_page_names_every_operation_and_loads_nothing(live):
    page = live.api.get(f"{live.url}/docs", timeout=60).text
    paths = live.api.get(f"{live.url}/openapi.json", timeout=60).json()["paths"]
    assert len(paths) > 30
    assert [path for path in paths if f"<code>{path}</code>" not in page] == []
    assert "http://" not in page
    assert "https://" not in page


def test_a_stopped_server_leaves_its_jobs_running_and_the_next_one_ends_them(server, tmp_path):
    go = tmp_path / "go"
    job_id = server.submit(["-c", f"{until(go)}; echo done"])
    server.running(job_id)
    server.stop()
    server.start()
    go.touch()
    assert server.ended(job_id)["status"] == "SUCCEEDED"
    assert server.output(job_id).text == "done\n"
    eventually(lambda: server.get(f"jobs/{job_id}/execution").json()["exitCode"] == 0)
