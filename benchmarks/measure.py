"""Runs the contenders in turn, A B C ..., A B C ..., and keeps every number; must never run two at once.

Each contender has a process with a warm session of its own configuration, idle while another writes. All share one metastore server.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import machine
import report
from contenders import CONTENDERS, WITH_MANY
from lake import Lake
from sfbatch import local_metastore
from worker import Worker, cause

sys.path.append(str(Path(__file__).parents[1] / "tests/python"))
from kept import commit
from s3proxy import S3Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = ("bare", "sfbatch", "hive", "hive_serde", "delta", "iceberg", "hudi")
SAME_WRITER = ("bare", "sfbatch", "hive")
TOGETHER, WRITERS = ("sfbatch", "delta", "iceberg"), 8
DISK = {
    # Those that write the same files with the same writer differ by little: more rounds, nearer to each other.
    "floor": SAME_WRITER,
    "rewrite": ("sfbatch", "hive_serde", "delta", "iceberg"),
    "one": ALL[:-1],
    "many": WITH_MANY,
    "many_static": WITH_MANY,
}
S3 = {
    "floor": ("bare", "sfbatch"),
    "rewrite": ("sfbatch", "delta", "iceberg", "hudi"),
    "one": ("bare", "sfbatch", "hive", "delta", "iceberg", "hudi"),
}


@dataclass(frozen=True)
class Task:
    """One thing that is measured, `runs` times for each contender after one run to warm up."""

    name: str
    contenders: tuple[str, ...]
    runs: int


def main() -> None:
    options = arguments()
    here = Path(__file__).parent
    if options.report_only:
        report.write(json.loads((options.out / "results.json").read_text()), options.out)
        return
    asked = {name: of for name, of in (S3 if options.s3 else DISK).items() if name in options.tasks}
    tasks = [Task(name, of, 2 * options.runs if name == "floor" else options.runs) for name, of in asked.items()]
    started, measured = time.monotonic(), commit()
    with s3_server(options.work / "s3") if options.s3 else nullcontext() as endpoint:
        lake = Lake(options.work.absolute(), options.scale, options.many, endpoint)
        results = measure(lake, tasks, options, started)
    results["commit"] = measured
    if options.keep:
        kept = json.loads((options.out / "results.json").read_text())
        results["runs"] = [run for run in kept["runs"] if run["task"] not in options.tasks] + results["runs"]
        for name in ("together", "reads"):
            results[name] = results[name] or kept[name]
        for name in ("titles", "versions", "failed"):
            results[name] = kept[name] | results[name]
    results["minutes"] = round((time.monotonic() - started) / 60, 1)
    results["smoke"] = options.smoke
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    report.write(results, options.out)
    say(started, f"report in {os.path.relpath(options.out / 'REPORT.md', here.parent)}")


def measure(lake: Lake, tasks: list[Task], options: argparse.Namespace, started: float) -> dict[str, Any]:
    say(started, f"TPC-H lineitem at scale {lake.scale}")
    lake.generate()
    uri = lake.anew()
    say(started, "one metastore server, one session for each contender")
    needed = {n for task in tasks for n in task.contenders} | set(TOGETHER if "together" in options.tasks else ())
    chosen = [n for n in ALL if n in options.contenders and n in needed]
    workers = {p: Worker(p, lake, uri, options.memory) for p in dict.fromkeys(CONTENDERS[n].process for n in chosen)}
    of = {name: workers[CONTENDERS[name].process] for name in chosen}
    try:
        with ThreadPoolExecutor() as pool:
            versions = next(iter(pool.map(lambda w: w.call("ready"), workers.values())))
        rows = of[chosen[0]].call("prepare")
        say(started, f"{rows:,} rows; every contender makes its table")
        for name in chosen:
            of[name].call("create", name)
        runs: list[dict[str, Any]] = []
        failed: dict[str, str] = {}
        for task in tasks:
            runs += task_runs(task, [n for n in task.contenders if n in chosen], of, lake, started, failed)
        filled = {name for task in tasks if task.name in ("floor", "rewrite") for name in task.contenders}
        counts = {name: of[name].call("count", name) for name in chosen if name in filled - failed.keys()}
        assert set(counts.values()) <= {rows}, f"rows: {counts}, expected {rows}"
        reads = (
            of["hive"].call("reads", "bench.lineitem_hive", "bench.lineitem_sfbatch")
            if {"hive", "sfbatch"} <= set(chosen) and not options.s3
            else []
        )
        together = {}
        for name in [n for n in TOGETHER if n in chosen and "together" in options.tasks]:
            together[name] = of[name].call("together", name, WRITERS, 2 * options.runs)
            say(
                started,
                f"{WRITERS} writers at once: {name} {len(together[name]['taken']) / together[name]['seconds']:.1f} writes/s",
            )
    finally:
        for worker in workers.values():
            worker.close()
        local_metastore.stop(lake.home)
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rows": rows,
        "partitions": 84,
        "store": "S3 (s3proxy 4.1.0 on this machine, by S3A of Hadoop 3.3.4)" if options.s3 else "local disk",
        "many": lake.many,
        "scale": lake.scale,
        "memory": options.memory,
        "machine": machine.describe(lake.work),
        "versions": {**machine.versions(), **versions},
        "titles": {name: CONTENDERS[name].title for name in chosen},
        "runs": runs,
        "failed": failed,
        "reads": reads,
        "writers": WRITERS,
        "together": together,
    }


def task_runs(
    task: Task, contenders: list[str], of: dict[str, Worker], lake: Lake, started: float, failed: dict[str, str]
) -> list[dict[str, Any]]:
    """Every timed write. A peer that fails is out from then on, and this task is told without it; why stands in `failed`."""
    if task.name == "many":
        for name in contenders:
            say(started, f"{name}: a table of {lake.many:,} partitions: {of[name].call('create_many', name):.0f} s")
    found: list[dict[str, Any]] = []
    for number in range(-1, task.runs):
        # Each round begins with another contender, so that none always follows the same one.
        turn = number % len(contenders)
        for name in [n for n in contenders[turn:] + contenders[:turn] if n not in failed]:
            load = os.getloadavg()[0]
            try:
                answer = of[name].call("timed", name, task.name, number)
                if task.name in ("floor", "rewrite") and number == -1:
                    # The very first run adds partitions: not what is measured.
                    answer = of[name].call("timed", name, task.name, number)
            except RuntimeError as error:
                if name == "sfbatch":
                    raise
                failed[name] = f"{task.name}, run {number}: {cause(error)}"
                say(started, f"{name} failed and is out: {failed[name]}")
                continue
            found.append({"task": task.name, "contender": name, "run": number, "load": round(load, 2), **answer})
        told = "  ".join(f"{r['contender']} {r['seconds']:.2f}" for r in found if r["run"] == number)
        say(started, f"{task.name} {'warm-up' if number < 0 else f'{number + 1}/{task.runs}'}: {told}")
    found = [run for run in found if run["contender"] not in failed]
    for name in [n for n in contenders if n not in failed]:
        seconds = [r["seconds"] for r in found if r["contender"] == name and r["run"] >= 0]
        say(started, f"{task.name}: {name} median {statistics.median(seconds):.2f} s")
    return found


@contextmanager
def s3_server(work: Path) -> Iterator[str]:
    """Give the endpoint of an S3 server with an empty bucket `lake`, as long as one comparison lasts."""
    shutil.rmtree(work, ignore_errors=True)
    server = S3Proxy(work, heap="600m")
    try:
        yield server.endpoint
    finally:
        server.close()


def say(started: float, what: str) -> None:
    print(f"{time.monotonic() - started:5.0f} s  {what}", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    here = Path(__file__).parent
    parser.add_argument("--work", type=Path, default=here.parent / "build/bench", help="tables, data and logs")
    parser.add_argument("--out", type=Path, help="where REPORT.md, report.png and results.json go")
    parser.add_argument("--s3", action="store_true", help="tables on an S3 server of this machine's, beside Hudi too")
    parser.add_argument("--smoke", action="store_true", help="little data, two runs, report under --work: does it run?")
    parser.add_argument("--scale", type=float, help="TPC-H's; 0.5 is 3.0 M rows")
    parser.add_argument("--many", type=int, help="size of the table of small partitions")
    parser.add_argument(
        "--runs",
        type=int,
        help="measured runs of each contender and task (twice as many where little is to be told apart)",
    )
    parser.add_argument("--memory", default="3g", help="heap of each contender's session")
    parser.add_argument("--contenders", nargs="+", choices=ALL, default=ALL)
    parser.add_argument("--tasks", nargs="+", default=[*DISK, "together"])
    parser.add_argument("--keep", action="store_true", help="what --tasks does not name stays as results.json has it")
    parser.add_argument("--report-only", action="store_true", help="write the report anew from results.json")
    options = parser.parse_args()
    scale, many, runs = (0.01, 300, 2) if options.smoke else (0.5, 10_000, 5)
    options.scale = options.scale or scale
    options.many = options.many or many
    options.runs = options.runs or runs
    options.out = options.out or (options.work / "smoke" if options.smoke else here / "s3" if options.s3 else here)
    return options


if __name__ == "__main__":
    main()
