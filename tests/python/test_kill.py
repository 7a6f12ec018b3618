"""kill -9 of the driver at every step: readers see old or new, never a mix, never nothing; the next writer or `recover` finishes it."""

import contextlib
import os
import random
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from at_once import Running, at_once
from checker import Metastore, journal
from kept import stamp, write_report
from writer import Died, on_one_spark, wait_for

#: Steps a driver passes, in order; readers see the old rows up to `placed`, and the new ones from `dropping` on.
STEPS = ["claimed", "written", "verified", "locked", "settled", "journalled", "showing", "placed", "dropping", "shown", "done"]  # fmt: skip
RECOVERY = ["recover", "showing", "placed", "dropping", "shown", "done"]
COMMITTED = STEPS.index("journalled")
SHOWN = STEPS.index("dropping")

OLD = {"1": [(1, "old")], "2": [(2, "old")], "3": [(3, "old")]}
NEW = {"1": [(11, "new")], "2": [(12, "new")]}
FRESH = {"4": [(14, "new")], "5": [(15, "new")]}


def overwrite(rows):
    return lambda writer, table: writer.overwrite(table, rows)


#: name -> (partition columns, what is there before, what the doomed driver does, rows before, rows after)
KINDS = {
    "first": (("day",), [], overwrite(NEW), {}, NEW),
    "several": (("day",), [overwrite(OLD)], overwrite(NEW), OLD, {**OLD, **NEW}),
    "appended": (("day",), [overwrite(OLD)], lambda w, t: w.append(t, NEW), OLD, {**OLD, **{d: OLD[d] + NEW[d] for d in NEW}}),
    "mixed": (("day",), [overwrite(OLD)], overwrite({**NEW, **FRESH}), OLD, {**OLD, **NEW, **FRESH}),
    "whole": ((), [overwrite({(): [(1, "old")]})], overwrite({(): [(2, "new")]}), {"": [(1, "old")]}, {"": [(2, "new")]}),
    "rolled": (("day",), [overwrite(OLD), overwrite({**NEW, **FRESH})], lambda w, t: w.rollback(t, 2), {**OLD, **NEW, **FRESH}, OLD),
    "dropped": (("day",), [overwrite(OLD)], lambda w, t: w.drop(t, "1", "2"), OLD, {"3": OLD["3"]}),
}  # fmt: skip


def prepare(writer, db):
    def one(kind):
        columns, before, *_ = KINDS[kind]
        writer.create(f"{db}.{kind}", columns)
        for step in before:
            step(writer, f"{db}.{kind}")

    at_once([lambda kind=kind: one(kind) for kind in KINDS])


def kill_when_all_hang(doomed, actions):
    """Every action runs in the doomed driver until it is over or hangs at the driver's step; then kill -9. How many hung."""
    running = [Running(lambda action=action: action(doomed)) for action in actions]
    wait_for(lambda: doomed.log().count("hangs at ") + sum(one.done for one in running) == len(running), 300, doomed)
    hung = doomed.log().count("hangs at ")
    doomed.kill()
    for one in running:
        with contextlib.suppress(Died):
            one.result()
    return hung


def seen(stock_spark, db, tables):
    """{table: {day: [(id, item)]}} as a stock reader finds it, each table in one request."""
    parts = [
        f"select '{table}', {'day' if KINDS[table][0] else repr('')}, id, item from {db}.{table}" for table in tables
    ]
    found = {table: {} for table in tables}
    for table, day, number, item in sorted(stock_spark.sql(" union all ".join(parts))):
        found[table].setdefault(day, []).append((number, item))
    return found


def expected(index):
    return {kind: spec[index] for kind, spec in KINDS.items()}


def hung_expectation(hung):
    assert hung, "no driver passed this step"


@on_one_spark
@pytest.mark.parametrize("step", STEPS)
def test_a_driver_killed_at_a_step_of_its_write_leaves_old_or_new_and_the_next_writer_finishes(
    db, writer, writers, stock_spark, step
):
    prepare(writer, db)
    doomed = writers(at=f"{step}=hang")
    actions = [lambda w, kind=kind: KINDS[kind][2](w, f"{db}.{kind}") for kind in KINDS]
    hung_expectation(kill_when_all_hang(doomed, actions))
    old, new = expected(3), expected(4)
    finished = {kind for kind in KINDS if not _passes(kind, step)}
    now = new if STEPS.index(step) >= SHOWN else old
    assert seen(stock_spark, db, KINDS) == {kind: new[kind] if kind in finished else now[kind] for kind in KINDS}

    # The next writer touches another partition, or (unpartitioned) recovers.
    after = {kind: new[kind] if kind in finished or STEPS.index(step) >= COMMITTED else old[kind] for kind in KINDS}
    nexts = [
        (lambda kind=kind: writer.overwrite(f"{db}.{kind}", {"9": [(99, "next")]})) if KINDS[kind][0] else (lambda kind=kind: writer.recover(f"{db}.{kind}"))
        for kind in KINDS
    ]  # fmt: skip
    at_once(nexts)
    assert seen(stock_spark, db, KINDS) == {
        kind: {**rows, **({"9": [(99, "next")]} if KINDS[kind][0] else {})} for kind, rows in after.items()
    }


def _passes(kind, step):
    """Whether a driver doing this passes that step at all."""
    return {
        "claimed": kind not in {"rolled", "dropped"},
        "written": kind not in {"rolled", "dropped"},
        "verified": kind not in {"rolled", "dropped"},
        "placed": kind not in {"first", "whole"},
        "dropping": kind in {"rolled", "dropped"},
    }.get(step, True)


@on_one_spark
@pytest.mark.parametrize("step", RECOVERY)
def test_a_recovering_driver_killed_at_a_step_leaves_old_or_new_and_the_next_recovery_finishes(
    db, writer, writers, stock_spark, step
):
    prepare(writer, db)
    first = writers(at="journalled=hang")
    kill_when_all_hang(first, [lambda w, kind=kind: KINDS[kind][2](w, f"{db}.{kind}") for kind in KINDS])
    old, new = expected(3), expected(4)
    assert seen(stock_spark, db, KINDS) == old
    second = writers(at=f"{step}=hang")
    hung_expectation(kill_when_all_hang(second, [lambda w, kind=kind: w.recover(f"{db}.{kind}") for kind in KINDS]))
    now = new if step in {"dropping", "shown", "done"} else old
    assert seen(stock_spark, db, KINDS) == {kind: now[kind] if _passes(kind, step) else new[kind] for kind in KINDS}
    results = at_once([lambda kind=kind: writer.recover(f"{db}.{kind}") for kind in KINDS])
    assert seen(stock_spark, db, KINDS) == new
    assert all(not aborted for _, aborted, _ in results)


@on_one_spark
@pytest.mark.parametrize("step", ["aborting", "reassert"])
def test_a_driver_killed_while_it_closes_or_reasserts_leaves_it_to_the_next(
    db, metastore, writer, writers, stock_spark, step
):
    table = f"{db}.t"
    writer.create(table)
    writer.overwrite(table, OLD)
    with Metastore(metastore.uri) as client:
        before = client.get_partition(db, "t", ["1"])
        if step == "reassert":
            # A late call: the partition shows again what it showed before version 3.
            writer.overwrite(table, NEW)
            client.alter_partition(db, "t", before)
            rows = {**OLD, **NEW}
        else:
            # Committed, and dropped by others before it is shown: version 3 is closed by an abort.
            kill_when_all_hang(writers(at="journalled=hang"), [lambda w: w.overwrite(table, NEW)])
            client.drop_partition(db, "t", ["1"], False)
            rows = {"2": OLD["2"], "3": OLD["3"]}
    hung_expectation(kill_when_all_hang(writers(at=f"{step}=hang"), [lambda w: w.recover(table)]))
    writer.recover(table)
    found = {}
    for day, number, item in stock_spark.sql(f"select day, id, item from {table}"):
        found.setdefault(day, []).append((number, item))
    assert found == rows


# --- at random moments ---

SPARK_DRIVER = """
import sys
from conftest import small_session
spark = small_session(**{"spark.hadoop.sfbatch.lock.heartbeat-ms": "200"})
db, k = sys.argv[1], int(sys.argv[2])
print("GO", flush=True)
while True:
    rows = [f"({k}, 'x', '{day}')" for day in ("a", "b", "c", "d")] + [f"({k}, 'x', 'new{k:06d}')"]
    print("try", k, flush=True)
    spark.sql(f"INSERT OVERWRITE {db}.parts PARTITION (day) VALUES " + ", ".join(rows))
    print("parts", k, flush=True)
    spark.sql(f"INSERT INTO {db}.whole VALUES ({k}, 'x'), ({k}, 'y')")
    print("whole", k, flush=True)
    k += 1
"""


class Doings:
    """What was tried and what was acknowledged, of two tables: `parts` (four days rewritten and one added), `whole` (two rows appended)."""

    def __init__(self):
        self.tried, self.parts, self.whole = 0, [], []

    @property
    def acknowledged(self):
        return len(self.parts) + len(self.whole)

    def light(self, writer, db):
        while True:
            self.tried += 1
            k = self.tried
            writer.overwrite(f"{db}.parts", {**{day: [(k, "x")] for day in "abcd"}, f"new{k:06d}": [(k, "x")]})
            self.parts.append(k)
            writer.append(f"{db}.whole", {(): [(k, "x"), (k, "y")]})
            self.whole.append(k)

    def heed(self, line):
        word, _, number = line.strip().partition(" ")
        if word == "try":
            self.tried = int(number)
        elif word in {"parts", "whole"}:
            getattr(self, word).append(int(number))


def whole_or_not_at_all(rows, doings):
    """What a stock reader saw of both tables, in one request each, is one state of them."""
    parts = {day: number for table, day, number in rows if table == "parts"}
    versions = {parts.get(day) for day in "abcd"}
    assert len(versions) == 1, f"a mix of versions: {parts}"
    shown = versions.pop()
    if shown is not None:
        added = {int(day[3:]) for day in parts if day.startswith("new")}
        assert shown in added or shown == 0, f"version {shown} without its new partition: {sorted(added)}"
        assert max(added, default=0) <= shown, f"version {shown} with a later one's partition: {sorted(added)}"
    twice = Counter(number for table, _, number in rows if table == "whole")
    assert set(twice.values()) <= {2}, f"half an append: {twice}"
    return shown, set(twice)


KILLS = int(os.environ.get("SFBATCH_TEST_KILLS", "8"))


@on_one_spark
@pytest.mark.random_moments
@pytest.mark.timeout(900 + 60 * KILLS)
def test_random_moments(db, writer, writers, stock_spark, run_driver, capsys):
    """Kills at random moments of drivers that write without pause, while a stock reader reads without pause."""
    writer.create(f"{db}.parts")
    writer.create(f"{db}.whole", ())
    writer.overwrite(f"{db}.parts", {day: [(0, "x")] for day in "abcd"})
    root = {name: Path(writer.table(f"{db}.{name}").root().toUri().getPath()) for name in ("parts", "whole")}
    query = f"select 'parts', day, id from {db}.parts union all select 'whole', '', id from {db}.whole"
    doings, ended, reads, report = Doings(), threading.Event(), [0], []

    def read():
        while not ended.is_set():
            whole_or_not_at_all(stock_spark.sql(query), doings)
            reads[0] += 1

    reader = Running(read)
    dice = random.Random(os.environ.get("SFBATCH_TEST_SEED"))
    for number in range(KILLS):
        spark = number % 4 == 3
        before = doings.acknowledged
        # Some while they finish what the one before left, or at their first write; others in the midst of writing.
        wanted = [3, 0, 2, 1][(number + number // 4) % 4]
        moment = dice.uniform(0, 1 if wanted else 4)
        if spark:
            driver = run_driver.start(SPARK_DRIVER, arguments=[db, str(doings.tried + 1)])
            for line in driver.stdout:
                if line.strip() == "GO":
                    break
            lines = Running(lambda driver=driver: [doings.heed(line) for line in driver.stdout])
            wait_for(lambda goal=before + wanted, lines=lines: doings.acknowledged >= goal or lines.done, 240)
            time.sleep(moment)
            assert driver.poll() is None, "it ended before it was killed"
            run_driver.kill(driver)
            lines.result()
            driver.wait()
        else:
            doomed = writers(**{"sfbatch.lock.heartbeat-ms": "200"})
            _ = doomed.jvm
            lines = Running(lambda doomed=doomed: doings.light(doomed, db))
            wait_for(lambda goal=before + wanted, lines=lines: doings.acknowledged >= goal or lines.done, 240)
            time.sleep(moment)
            if lines.done:
                lines.result()  # it was refused
            doomed.kill()
            with pytest.raises(Exception):  # noqa: B017
                lines.result()
            doomed.close()
        assert not reader.done, reader.result()
        acknowledged = doings.acknowledged - before
        state = {name: _tail(path) for name, path in root.items()}
        report.append({"kill": number + 1, "driver": "spark" if spark else "light", "after_s": round(moment, 3), "after_writes": wanted, "acknowledged": acknowledged, **state})  # fmt: skip
        with capsys.disabled():
            if KILLS > 8 and number % 10 == 9:
                print(f"{number + 1} kills, {reads[0]} whole reads", flush=True)
        doings.tried += 1
    ended.set()
    reader.result()
    at_once([lambda name=name: writer.recover(f"{db}.{name}") for name in root])
    shown, kept = whole_or_not_at_all(stock_spark.sql(query), doings)
    assert shown >= max(doings.parts, default=0), "an acknowledged overwrite is gone"
    assert kept >= set(doings.whole), "an acknowledged append is gone"
    days = {day for table, day, _ in stock_spark.sql(query) if table == "parts"}
    assert days >= {f"new{k:06d}" for k in doings.parts}, "an acknowledged partition is gone"
    found = _write_report(report, reads[0], doings.acknowledged, root)
    assert doings.parts and doings.whole and doings.acknowledged >= KILLS, (
        "these drivers were killed before they did anything"
    )
    assert KILLS < 100 or found["versions_left_unfinished"] > KILLS / 20, (
        "hardly a driver was killed between commit and done"
    )


def _tail(root):
    entries = journal(root)
    last = entries[-1]["version"]
    done = root / "_sfbatch" / "journal" / f"{(last - 1) // 400:08d}" / f"{last:012d}.done"
    return f"{last} {'done' if done.exists() else 'unfinished'}"


def _write_report(report, reads, acknowledged, root):
    unfinished = {(name, one[name]) for one in report for name in root if one[name].endswith("unfinished")}
    summary = {
        **stamp(), "kills": len(report), "whole_reads": reads,
        "acknowledged": acknowledged, "acknowledged_and_lost": 0, "versions": {name: len(journal(path)) for name, path in root.items()}, "versions_left_unfinished": len(unfinished),
        "claims_without_version": {name: _orphans(path) for name, path in root.items()}, "each": report,
    }  # fmt: skip
    write_report("kills", summary, whole=len(report) >= 200)
    return summary


def _orphans(root):
    claims = {path.name.removesuffix(".json") for path in (root / "_sfbatch" / "claims").glob("*.json")}
    return len(claims - {change.get("batch_id") for entry in journal(root) for change in entry["partitions"]})
