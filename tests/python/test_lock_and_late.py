"""Locks that are taken, calls that land late, partitions and tables that others drop, rights that lack: nothing acknowledged is lost."""

import re
import time
from pathlib import Path

import pytest
from at_once import Running
from checker import Metastore, journal
from metastore_proxy import ADD, ALTER, ALTER_TABLE, DENIED, NOT_ADDED, REFUSED, Proxy
from writer import Died, Refusal, on_one_spark, wait_for

pytestmark = on_one_spark

OLD = {"1": [(1, "old")], "2": [(2, "old")]}
NEW = {"1": [(11, "new")], "2": [(12, "new")]}
NEWER = {"1": [(21, "newer")]}
#: A client that gives up on an answer after so many seconds.
IMPATIENT = {"hive.metastore.client.socket.timeout": "2s"}


@pytest.fixture
def table(db, writer):
    """`db.t` with two partitions, at version 2."""
    writer.create(f"{db}.t")
    writer.overwrite(f"{db}.t", OLD)
    return f"{db}.t"


@pytest.fixture
def proxy(metastore):
    with Proxy(metastore.uri) as made:
        yield made


@pytest.fixture
def rows(stock_spark):
    def read(table):
        found = {}
        for day, number, item in sorted(stock_spark.sql(f"select day, id, item from {table}")):
            found.setdefault(day, []).append((number, item))
        return found

    return read


@pytest.fixture
def client(metastore):
    with Metastore(metastore.uri) as thrift:
        yield thrift


def operations(writer, table):
    return [operation for _, operation in writer.history(table)]


def root_of(writer, table):
    return Path(writer.table(table).root().toUri().getPath())


# --- the lock ---


@pytest.mark.parametrize(
    ("step", "last"),
    [("settled", "paused"), ("journalled", "other"), ("showing", "other"), ("placed", "other"), ("shown", "other")],
)
def test_a_paused_process_whose_lock_was_taken_harms_nothing_when_it_goes_on(table, writer, writers, rows, step, last):
    paused = writers(at=f"{step}=stop", user="paused")
    running = Running(lambda: paused.overwrite(table, NEW))
    paused.wait_until_stopped()
    other = writer.overwrite(table, NEWER)
    assert rows(table) == ({**OLD, **NEWER} if last == "paused" else {**NEW, **NEWER})
    paused.resume()
    version = running.result()
    assert (version, other) == ((4, 3) if last == "paused" else (3, 4))
    assert rows(table) == (NEW if last == "paused" else {**NEW, **NEWER})


def test_a_paused_append_whose_base_moved_meanwhile_keeps_both(table, writer, writers, rows):
    paused = writers(at="settled=stop")
    running = Running(lambda: paused.append(table, {"1": [(5, "mine")]}))
    paused.wait_until_stopped()
    writer.append(table, {"1": [(6, "other")]})
    paused.resume()
    running.result()
    assert rows(table) == {**OLD, "1": [(1, "old"), (5, "mine"), (6, "other")]}


def test_the_lock_of_a_dead_holder_is_taken_after_three_of_its_heartbeats(table, writer, writers, rows):
    dead = writers(at="locked=hang", **{"sfbatch.lock.heartbeat-ms": "1000"})
    running = Running(lambda: dead.overwrite(table, NEW))
    wait_for_log(dead, "hangs at")
    dead.kill()
    started = time.monotonic()
    writer.overwrite(table, NEWER)
    assert 2 < time.monotonic() - started < 120
    assert rows(table) == {**OLD, **NEWER}
    with pytest.raises(Died):
        running.result()


def test_the_lock_of_a_slow_holder_is_left_to_it(table, writers, rows):
    slow = writers(at="settled=hang", **{"sfbatch.lock.heartbeat-ms": "4000"})
    Running(lambda: slow.overwrite(table, NEW))
    wait_for_log(slow, "hangs at")
    waiting = writers(**{"sfbatch.lock.timeout-ms": "20000"})
    with pytest.raises(Refusal, match="SFBATCH_LOCK_TIMEOUT.*before us: ada@host"):
        waiting.overwrite(table, NEWER)
    assert rows(table) == OLD


def wait_for_log(writer, text):
    wait_for(lambda: text in writer.log(), writer=writer)


# --- calls that land late ---


def test_an_alter_that_lands_after_its_client_gave_up_is_put_right_by_the_next_writer(
    table, writer, writers, rows, proxy
):
    late = proxy.hold(ALTER)
    impatient = writers(uri=proxy.uri, **IMPATIENT)
    assert impatient.overwrite(table, NEW) == 3  # gave up on the first call, sent a second
    assert late.held.is_set()
    assert rows(table) == NEW
    writer.overwrite(table, {"2": [(22, "newer")]})
    late.release()
    assert rows(table) == NEW, "the late call has landed: version 3 in both"
    writer.overwrite(table, {"1": [(31, "last")]})
    assert rows(table) == {"1": [(31, "last")], "2": [(22, "newer")]}


def test_an_append_after_a_late_alter_loses_nothing(table, writer, writers, rows, proxy):
    late = proxy.hold(ALTER)
    writers(uri=proxy.uri, **IMPATIENT).append(table, {"1": [(5, "a")]})
    writer.append(table, {"1": [(6, "b")]})
    late.release()
    assert rows(table)["1"] == [(1, "old"), (5, "a")]
    writer.append(table, {"1": [(7, "c")]})
    assert rows(table)["1"] == [(1, "old"), (5, "a"), (6, "b"), (7, "c")]


def test_recover_puts_a_late_alter_right_and_says_so(db, writer, writers, stock_spark, proxy):
    table = f"{db}.t"
    writer.create(table, ())
    late = proxy.hold(ALTER_TABLE)
    writers(uri=proxy.uri, **IMPATIENT).overwrite(table, {(): [(1, "a")]})
    writer.overwrite(table, {(): [(2, "b")]})
    late.release()
    assert stock_spark.sql(f"select * from {table}") == [[1, "a"]]
    _, aborted, reasserted = writer.recover(table)
    assert (aborted, len(reasserted)) == ([], 1)
    assert stock_spark.sql(f"select * from {table}") == [[2, "b"]]
    assert writer.recover(table) == ([], [], [])


@pytest.mark.parametrize("call", [ALTER, ADD])
def test_a_change_whose_answer_was_lost_is_read_back_and_not_sent_again(table, writers, rows, proxy, call):
    proxy.lose_answer(call)
    rewritten = NEW if call == ALTER else {"3": [(13, "new")]}
    writers(uri=proxy.uri).overwrite(table, rewritten)
    assert proxy.calls.count(call) == 1
    assert rows(table) == {**OLD, **rewritten}


def test_a_lock_whose_answer_was_lost_is_found_by_its_nonce(table, writer, writers, rows, proxy):
    proxy.lose_answer("lock")
    # One that it left behind would be taken after three minutes.
    writers(uri=proxy.uri, **{"sfbatch.lock.heartbeat-ms": "60000"}).overwrite(table, NEW)
    started = time.monotonic()
    writer.overwrite(table, NEWER)
    assert time.monotonic() - started < 120, "a lock was left behind"
    assert rows(table) == {**NEW, **NEWER}


# --- what an error says, so that whoever does as it says neither loses rows nor has them twice ---


def test_an_earlier_version_that_cannot_be_finished_is_no_version_of_mine(table, writer, writers, rows, proxy):
    dead = writers(at="journalled=hang", user="dead")
    Running(lambda: dead.overwrite(table, NEW))
    wait_for_log(dead, "hangs at")
    dead.kill()
    proxy.cut(ALTER)
    mine = writers(uri=proxy.uri, **{"sfbatch.publish.timeout-ms": "1000"})
    with pytest.raises(Refusal, match=r"\[SFBATCH_METASTORE_DOWN\] .*version 3 of .*run it again"):
        mine.append(table, {"1": [(5, "mine")]})
    proxy.allow()
    mine.append(table, {"1": [(5, "mine")]})
    assert rows(table) == {**NEW, "1": [(5, "mine"), (11, "new")]}


def test_what_was_shown_is_committed_whatever_fails_about_later_versions(table, writer, writers, rows, proxy):
    paused = writers(at="journalled=stop", uri=proxy.uri)
    running = Running(lambda: paused.append(table, {"1": [(5, "mine")]}))
    paused.wait_until_stopped()
    dead = writers(at="journalled=hang", user="bob")
    Running(lambda: dead.overwrite(table, {"2": [(12, "bob")]}))
    wait_for_log(dead, "hangs at")
    dead.kill()
    proxy.refuse(ALTER, DENIED)
    paused.resume()
    with pytest.raises(
        Refusal, match=r"\[SFBATCH_PUBLISH_UNCLEAR\] version 3 .*was shown.*Do not run this again"
    ) as told:
        running.result()
    assert not says_run_again(told)
    writer.recover(table)
    assert rows(table) == {"1": [(1, "old"), (5, "mine")], "2": [(12, "bob")]}


def test_the_refusal_of_an_earlier_version_is_not_mine(db, table, writers, rows, client, proxy):
    dead = writers(at="journalled=hang")
    Running(lambda: dead.overwrite(table, NEW))
    wait_for_log(dead, "hangs at")
    dead.kill()
    proxy.refuse(ALTER, REFUSED, times=3)
    paused = writers(at="journalled=stop", uri=proxy.uri)
    running = Running(lambda: paused.overwrite(table, NEWER))
    paused.wait_until_stopped()
    client.drop_partition(db, "t", ["1"], False)
    paused.resume()
    running.result()
    assert rows(table) == {**OLD, **NEWER}


def test_a_create_whose_rows_were_refused_says_that_the_table_is_there_without_them(db, run_driver, proxy, stock_spark):
    proxy.refuse(ADD, NOT_ADDED)
    create = f"CREATE TABLE IF NOT EXISTS {db}.made USING sfbatch PARTITIONED BY (day) AS SELECT 1 AS id, 'a' AS day"
    ended = run_driver(
        f"from conftest import small_session; spark = small_session(); spark.sql({create!r})",
        env={"SFBATCH_METASTORE_URI": proxy.uri},
        check=False,
    )
    assert re.search(r"\[SFBATCH_PUBLISH_REFUSED\].*is there, without these rows: INSERT INTO it", ended.err)
    assert stock_spark.sql(f"SELECT * FROM {db}.made") == []


def says_run_again(told):
    rest = str(told.value).replace("Do not run this again", "")
    return re.search("run (it |this )?again|Create it", rest)


# --- what others do between write and publish ---


@pytest.mark.parametrize(
    ("how", "step", "expected", "history"),
    [
        ("overwrite", "written", {"1": [(11, "new")]}, ["create", "write", "external", "write"]),
        ("append", "written", {"1": [(11, "new")]}, ["create", "write", "external", "write"]),
        ("overwrite", "journalled", {"1": [(11, "new")]}, ["create", "write", "write", "abort", "write"]),
        ("append", "journalled", {"1": [(11, "new")]}, ["create", "write", "write", "abort", "write"]),
    ],
)
def test_a_partition_others_dropped_meanwhile_comes_back_with_the_new_rows_only(
    db, table, writer, writers, rows, client, how, step, expected, history
):
    paused = writers(at=f"{step}=stop", **{"sfbatch.lock.heartbeat-ms": "60000"})
    running = Running(lambda: getattr(paused, how)(table, {"1": [(11, "new")]}))
    paused.wait_until_stopped()
    client.drop_partition(db, "t", ["1"], False)
    paused.resume()
    running.result()
    assert rows(table) == {**expected, "2": OLD["2"]}
    assert operations(writer, table) == history


def test_a_partition_others_dropped_and_stock_spark_added_anew_is_recorded_and_replaced(
    db, table, writer, writers, rows, stock_spark
):
    paused = writers(at="written=stop")
    running = Running(lambda: paused.append(table, {"1": [(11, "new")]}))
    paused.wait_until_stopped()
    stock_spark.sql(f"ALTER TABLE {table} DROP PARTITION (day='2')")
    stock_spark.sql(f"ALTER TABLE {table} DROP PARTITION (day='1')")
    paused.resume()
    running.result()
    assert rows(table) == {"1": [(11, "new")]}
    writer.recover(table)
    assert operations(writer, table) == ["create", "write", "external", "write", "external"]


@pytest.mark.parametrize("dropped_by", ["sfbatch", "others"])
def test_a_paused_writer_whose_version_others_finished_does_not_write_it_twice(
    table, writer, writers, client, db, stock_spark, dropped_by
):
    paused = writers(at="journalled=stop")
    running = Running(lambda: paused.append(table, {"1": [(11, "mine")], "2": [(12, "mine")]}))
    paused.wait_until_stopped()
    if dropped_by == "sfbatch":
        writer.drop(table, "1")
    else:
        writer.overwrite(table, {"9": [(9, "theirs")]})
        client.drop_partition(db, "t", ["1"], False)
    paused.resume()
    assert running.result() == 3
    writer.recover(table)
    assert sorted(row[0] for row in stock_spark.sql(f"select id from {table} where day = '2'")) == [2, 12]
    assert stock_spark.sql(f"select id from {table} where day = '1'") == []


@pytest.mark.unchecked("the table is gone")
@pytest.mark.parametrize("step", ["written", "journalled"])
def test_a_table_others_dropped_meanwhile_is_an_error_and_its_files_stay(db, table, writer, writers, client, step):
    root = root_of(writer, table)
    paused = writers(at=f"{step}=stop")
    running = Running(lambda: paused.overwrite(table, NEW))
    paused.wait_until_stopped()
    client.drop_table(db, "t", False)
    paused.resume()
    code = "SFBATCH_UNKNOWN_TABLE" if step == "written" else "SFBATCH_PUBLISH_UNCLEAR.*is committed.*renamed"
    with pytest.raises(Refusal, match=rf"\[{code}") as told:
        running.result()
    assert step == "written" or not says_run_again(told)
    assert len(journal(root)) == (2 if step == "written" else 3)
    with pytest.raises(Refusal, match="SFBATCH_LOCATION_OWNED"):
        writer.create(table, location=f"file:{root}")
    writer.create(table)
    assert root_of(writer, table) != root


def test_a_table_dropped_and_made_anew_meanwhile_gets_nothing_of_the_write(
    db, table, writer, writers, client, stock_spark, tmp_path
):
    paused = writers(at="written=stop")
    running = Running(lambda: paused.overwrite(table, NEW))
    paused.wait_until_stopped()
    client.drop_table(db, "t", False)
    writer.create(table, location=f"file:{tmp_path}/elsewhere")
    paused.resume()
    with pytest.raises(Refusal, match="SFBATCH_TABLE_ID_MISMATCH"):
        running.result()
    assert stock_spark.sql(f"select * from {table}") == []
    assert operations(writer, table) == ["create"]


# --- rights and refusals ---


def test_a_recovering_user_without_rights_names_who_has_them_and_closes_nothing(table, writer, writers, rows, proxy):
    dead = writers(at="journalled=hang")
    Running(lambda: dead.overwrite(table, NEW))
    wait_for_log(dead, "hangs at")
    dead.kill()
    proxy.refuse(ALTER, DENIED)
    bob = writers(uri=proxy.uri, user="bob")
    for action in (lambda: bob.recover(table), lambda: bob.overwrite(table, NEWER)):
        with pytest.raises(
            Refusal, match=r"SFBATCH_RECOVERY_NEEDED\] version 3 of .*, written by ada, .*bob has no right"
        ):
            action()
    assert rows(table) == OLD
    finished, aborted, _ = writer.recover(table)
    assert (finished, aborted) == ([3], [])
    assert rows(table) == NEW


@pytest.mark.parametrize(("error", "code"), [(DENIED, "SFBATCH_NO_PERMISSION"), (REFUSED, "SFBATCH_PUBLISH_REFUSED")])
@pytest.mark.parametrize("how", ["existing", "mixed", "new"])
def test_a_write_the_metastore_refuses_is_an_error_its_version_closed_and_nothing_seen(
    table, writer, writers, rows, proxy, error, code, how
):
    if how == "new":
        proxy.refuse(ADD, error if error is DENIED else NOT_ADDED)
    else:
        proxy.refuse(ALTER, error)
    refused = writers(uri=proxy.uri)
    changed = {"existing": NEW, "mixed": {**NEW, "3": [(13, "new")]}, "new": {"3": [(13, "new")]}}[how]
    with pytest.raises(Refusal, match=code):
        refused.overwrite(table, changed)
    assert rows(table) == OLD
    assert operations(writer, table) == ["create", "write", "write", "abort"]
    proxy.allow()
    refused.overwrite(table, changed)
    assert rows(table) == {**OLD, **changed}


def test_a_version_refused_for_good_does_not_wedge_the_table(table, writer, writers, rows, proxy):
    dead = writers(at="journalled=hang")
    Running(lambda: dead.overwrite(table, NEW))
    wait_for_log(dead, "hangs at")
    dead.kill()
    proxy.refuse(ALTER, REFUSED, times=3)
    finished, aborted, _ = writers(uri=proxy.uri).recover(table)
    assert (finished, aborted) == ([], [3])
    assert rows(table) == OLD
    writer.overwrite(table, NEWER)
    assert rows(table) == {**OLD, **NEWER}


def test_a_denied_reassertion_says_who_is_needed(table, writer, writers, rows, proxy, client, db):
    before = client.get_partition(db, "t", ["1"])
    writer.overwrite(table, NEWER)
    client.alter_partition(db, "t", before)  # what a late call does
    proxy.refuse(ALTER, DENIED)
    with pytest.raises(Refusal, match="SFBATCH_RECOVERY_NEEDED"):
        writers(uri=proxy.uri, user="bob").recover(table)
    writer.recover(table)
    assert rows(table) == {**OLD, **NEWER}
