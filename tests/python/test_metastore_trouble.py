"""The metastore goes away, comes back, refuses, or speaks of another protocol: a clear error, or no harm."""

import gzip
import json
import os
import signal
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest
from at_once import Running
from checker import Metastore, journal, problems, table_of
from metastore_proxy import GREETING, Proxy
from pymetastore.hive_metastore import ttypes
from sfbatch import local_metastore
from writer import Refusal, Writer, on_one_spark, wait_for

pytestmark = on_one_spark

OLD = {"1": [(1, "old")], "2": [(2, "old")]}
NEW = {"1": [(11, "new")], "2": [(12, "new")]}


@pytest.mark.parametrize("step", ["verified", "journalled"])
@pytest.mark.usefixtures("lasting_port")
def test_a_metastore_killed_and_started_again_in_the_middle_of_a_write_costs_only_time(tmp_home, step):
    """To the writer it is away until a call of the write has met nobody, however long it takes to start."""
    running = local_metastore.start(tmp_home)
    with Metastore(running.uri) as client:
        client.create_database(ttypes.Database(name="d", locationUri=f"{running.warehouse}/d.db"))
    with (
        Proxy(running.uri) as proxy,
        closing(Writer(running.uri)) as writer,
        closing(Writer(proxy.uri, at=f"{step}=stop")) as paused,
    ):
        writer.create("d.t")
        writer.overwrite("d.t", OLD)
        write = Running(lambda: paused.overwrite("d.t", NEW))
        paused.wait_until_stopped()
        os.kill(running.pid, signal.SIGKILL)
        wait_for(lambda: local_metastore.find(tmp_home) is None)
        assert local_metastore.start(tmp_home).uri == running.uri
        before = len(proxy.calls)
        proxy.cut()
        paused.resume()
        wait_for(lambda: set(proxy.calls[before:]) - {GREETING, "heartbeat"}, writer=paused)
        proxy.allow()
        assert write.result() == 3
        with Metastore(running.uri) as client:
            shown = {
                part.values[0]: Path(part.sd.location.removeprefix("file:"))
                for part in client.get_partitions("d", "t", -1)
            }
        assert {day: (folder / "part-0").read_text() for day, folder in shown.items()} == {
            "1": "11\x01new\n",
            "2": "12\x01new\n",
        }
        assert problems(running.uri, "d", "t") == []


def test_a_metastore_that_is_down_is_named_within_seconds():
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # ours, and nobody listens
        port = deaf.getsockname()[1]
        with closing(Writer(f"thrift://127.0.0.1:{port}")) as writer:
            _ = writer.jvm
            started = time.monotonic()
            with pytest.raises(Refusal, match=f"SFBATCH_METASTORE_DOWN.*127.0.0.1:{port}.*SFBATCH_METASTORE_URI"):
                writer.overwrite("d.t", OLD)
            assert time.monotonic() - started < 60


@pytest.fixture
def table(db, writer):
    writer.create(f"{db}.t")
    writer.overwrite(f"{db}.t", OLD)
    return f"{db}.t"


def refused_everywhere(writer, table):
    """Neither a write nor recovery touches the table."""
    for action in (
        lambda: writer.overwrite(table, NEW),
        lambda: writer.append(table, NEW),
        lambda: writer.recover(table),
    ):
        with pytest.raises(Refusal, match="SFBATCH_PROTOCOL_UNKNOWN.*protocol 2.*newest sfbatch wheel"):
            action()


@pytest.mark.unchecked("of another protocol")
@pytest.mark.parametrize("where", ["owner.json", "table property", "journal"])
def test_an_unknown_protocol_number_is_refused_before_anything_is_written(
    db, table, writers, metastore, stock_spark, where
):
    fresh = writers()  # one that has not read the journal before
    root = Path(fresh.table(table).root().toUri().getPath())
    if where == "owner.json":
        owner = root / "_sfbatch" / "owner.json"
        owner.write_text(json.dumps({**json.loads(owner.read_text()), "protocol": 2}))
    elif where == "table property":
        with Metastore(metastore.uri) as client:
            seen = table_of(client, db, "t")
            seen.parameters["sfbatch.protocol"] = "2"
            client.alter_table(db, "t", seen)
    else:
        entry = {**journal(root)[-1], "protocol": 2, "version": 3}
        (root / "_sfbatch" / "journal" / "00000000" / f"{3:012d}.json.gz").write_bytes(
            gzip.compress(json.dumps(entry).encode())
        )
    before = sorted(path for path in root.rglob("*") if path.is_file())
    refused_everywhere(fresh, table)
    assert sorted(path for path in root.rglob("*") if path.is_file()) == before
    assert sorted(stock_spark.sql(f"select day, id from {table}")) == [["1", 1], ["2", 2]]


@pytest.mark.unchecked("damaged on purpose")
def test_a_damaged_journal_entry_is_named_and_nothing_is_published(db, table, writer, writers, stock_spark):
    root = Path(writer.table(table).root().toUri().getPath())
    (root / "_sfbatch" / "journal" / "00000000" / f"{3:012d}.json.gz").write_bytes(b"not gzip")
    with pytest.raises(Refusal, match=r"SFBATCH_JOURNAL_DAMAGED.*000000000003\.json\.gz"):
        writers().overwrite(table, NEW)
    assert sorted(stock_spark.sql(f"select day, id from {table}")) == [["1", 1], ["2", 2]]
