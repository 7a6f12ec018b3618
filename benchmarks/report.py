"""REPORT.md and report.png from results.json; must state a missed aim as plainly as one that was met."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

TASKS = {
    "floor": "Rewrite all 84 partitions, beside what writes the same files",
    "rewrite": "Rewrite all 84 partitions, beside other writers",
    "one": "Overwrite one partition of 84",
    "many": "One partition of {many:,}, `insertInto`",
    "many_static": "One partition of {many:,}, `INSERT OVERWRITE ... PARTITION (...)`",
}
STEPS = {
    "claimed": "check and claim (steps 1, 2)",
    "written": "the Spark job (3)",
    "verified": "list and compare the files (4)",
    "locked": "lock (5)",
    "settled": "recover, compare with the metastore (6, 7)",
    "journalled": "journal (8)",
    "showing": "to publishing",
    "shown": "publish and re-read (9)",
    "done": "mark done (10)",
    "returned": "unlock, refresh the session",
}


def write(results: dict[str, Any], out: Path) -> None:
    seconds = by_contender(results)
    chart(results, seconds, out / "report.png")
    (out / "REPORT.md").write_text("\n".join(_lines(results, seconds)).rstrip() + "\n")


def by_contender(results: dict[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Map task -> contender -> seconds in order of the rounds, warm-up left out."""
    found: dict[str, dict[str, list[float]]] = {}
    for run in results["runs"]:
        if run["run"] >= 0:
            found.setdefault(run["task"], {}).setdefault(run["contender"], []).append(run["seconds"])
    return found


def paired(ours: list[float], theirs: list[float]) -> float:
    """Median of the ratios round by round: what slowed the machine in one round slowed both."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def _lines(results: dict[str, Any], seconds: dict[str, dict[str, list[float]]]) -> list[str]:
    machine, versions = results["machine"], results["versions"]
    counts = [len(s) for of in seconds.values() for s in of.values()]
    loads = [r["load"] for r in results["runs"] if r["run"] >= 0]
    lines = [
        "# How fast",
        "",
        f"Written by `make {'bench-s3' if results.get('store', '').startswith('S3') else 'bench'}` (`benchmarks/run`); every number is in `results.json`, medians of "
        f"{min(counts)} to {max(counts)} interleaved runs after one to warm up.",
        "",
        f"- {results['date']}, commit `{results['commit']}`, {results['minutes']} minutes in all",
        f"- {machine['processor']}, {machine['cores']} cores, {machine['memory']}, {machine['system']}, {results.get('store', 'local disk')} ({machine['file system']}); "
        f"load before a run: {min(loads):.1f} to {max(loads):.1f}, median {statistics.median(loads):.1f}",
        f"- Spark {versions['spark']} (Scala {versions['scala']}, Hadoop {versions['hadoop']}, Java {versions['java']}), `local[2]`, {results['memory']} heap each; "
        f"sfbatch {versions['sfbatch']}, Delta {versions['delta']}, Iceberg {versions['iceberg']}, Hudi {versions.get('hudi', 'absent')}",
        f"- Metastore: {versions['metastore']}, the same server for all",
        f"- Data: TPC-H lineitem by tpchgen-cli {versions['tpchgen-cli']}, scale {results['scale']}: {results['rows']:,} rows in {results['partitions']} months",
        "",
    ]
    if results["smoke"]:
        lines += ["**A smoke run: the numbers mean nothing.**", ""]
    lines += ["![seconds by task and contender](report.png)", ""]
    for name, why in results.get("failed", {}).items():
        lines += [f"**{results['titles'][name]} failed** ({why}).", ""]
    lines += _aims(results, seconds)
    for task, of in seconds.items():
        lines += _table(TASKS[task].format(many=results["many"]), results["titles"], of)
    lines += _together(results)
    lines += _steps(results)
    lines += _reads(results)
    return lines + _method(results)


def _aims(results: dict[str, Any], seconds: dict[str, dict[str, list[float]]]) -> list[str]:
    def row(aim: str, measured: str, met: bool) -> str:
        return f"| {aim} | {measured} | {'met' if met else '**not met**'} |"

    rows = []
    floor, rewrite = seconds.get("floor", {}), seconds.get("rewrite", {})
    if "sfbatch" in floor and "bare" in floor:
        of_medians = statistics.median(floor["sfbatch"]) / statistics.median(floor["bare"])
        by_round = paired(floor["sfbatch"], floor["bare"])
        measured = f"{of_medians:.3f} (of medians), {by_round:.3f} (median of rounds)"
        rows.append(row("rewrite 84 partitions: at most 1.05 x bare Parquet", measured, of_medians <= 1.05))
    for of, name in (
        (floor, "hive"),
        (rewrite, "hive_serde"),
        (rewrite, "delta"),
        (rewrite, "iceberg"),
        (rewrite, "hudi"),
    ):
        if "sfbatch" in of and name in of:
            ratio = statistics.median(of["sfbatch"]) / statistics.median(of[name])
            aim = f"rewrite 84 partitions: faster than {results['titles'][name]}"
            rows.append(row(aim, f"{ratio:.2f} x", ratio < 1))
    on_s3 = results.get("store", "").startswith("S3")
    for task in ("one",) if on_s3 else ("many", "many_static"):
        of = seconds.get(task, {})
        for name in ("hive", "hive_serde"):
            if "sfbatch" in of and name in of:
                over = statistics.median(of["sfbatch"]) - statistics.median(of[name])
                rows.append(
                    row(
                        f"{_plain(task, results)}: at most 0.3 s over {results['titles'][name]}",
                        f"{over:+.2f} s",
                        over <= 0.3,
                    )
                )
    reads = results["reads"]
    if reads:
        same = all(r["same_plan"] and r["same_rows"] and r["files"][0] == r["files"][1] for r in reads)
        rows.append(
            row(
                "stock reads: same plan, same number of files as a plain Hive table",
                f"{sum(r['same_plan'] for r in reads)} of {len(reads)} queries",
                same,
            )
        )
    return ["| aim | measured | |", "|---|---|---|", *rows, ""] if rows else []


def _plain(task: str, results: dict[str, Any]) -> str:
    title = TASKS[task].format(many=results["many"])
    return title[0].lower() + title[1:]


def _table(title: str, titles: dict[str, str], of: dict[str, list[float]]) -> list[str]:
    against = next(name for name in ("bare", "hive", "sfbatch") if name in of)
    lines = [
        f"## {title}",
        "",
        f"| | median s | min | max | x {titles.get(against, against)} | the same, median of rounds |",
        "|---|---|---|---|---|---|",
    ]
    for name, s in of.items():
        ratios = (
            ("", "")
            if against not in of
            else (f"{statistics.median(s) / statistics.median(of[against]):.2f}", f"{paired(s, of[against]):.2f}")
        )
        title = f"**{titles[name]}**" if name == "sfbatch" else titles[name]
        lines.append(
            f"| {title} | {statistics.median(s):.2f} | {min(s):.2f} | {max(s):.2f} | {ratios[0]} | {ratios[1]} |"
        )
    return [*lines, ""]


def _together(results: dict[str, Any]) -> list[str]:
    if not results.get("together"):
        return []
    lines = [
        f"## {results['writers']} writers at once on one table, a partition each",
        "",
        "Threads of one session, each overwriting its own partition with 1,000 rows again and again; a refused write is not tried again.",
        "",
        "| | writes/s | p50 s | p99 s | refused | the first refusal |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in results["together"].items():
        taken = sorted(found["taken"]) or [float("nan")]
        p50, p99 = taken[len(taken) // 2], taken[min(len(taken) - 1, int(0.99 * len(taken)))]
        of = len(found["taken"]) + len(found["refused"])
        first = found["refused"][0].replace("|", " ")[:120] if found["refused"] else ""
        lines.append(
            f"| {results['titles'][name]} | {len(found['taken']) / found['seconds']:.2f} | {p50:.2f} | {p99:.2f} | {len(found['refused'])} of {of} | {first} |"
        )
    return [*lines, ""]


def _steps(results: dict[str, Any]) -> list[str]:
    tasks = list(dict.fromkeys(r["task"] for r in results["runs"] if "steps" in r))
    if not tasks:
        return []
    lines = [
        "## Where sfbatch's time goes",
        "",
        "Medians in milliseconds; the steps are those of `PROTOCOL.md`, section 3.",
        "",
    ]
    lines += ["| | " + " | ".join(_plain(t, results) for t in tasks) + " |", "|---" * (len(tasks) + 1) + "|"]
    for step, title in STEPS.items():
        cells = []
        for task in tasks:
            found = [
                r["steps"].get(step, 0.0)
                for r in results["runs"]
                if r["task"] == task and r["run"] >= 0 and "steps" in r
            ]
            cells.append(f"{1000 * statistics.median(found):.0f}")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _reads(results: dict[str, Any]) -> list[str]:
    if not results["reads"]:
        return []
    lines = [
        "## Stock reads",
        "",
        "A stock session (our jar absent) on the plain Hive table and on ours; plans of `EXPLAIN FORMATTED` compared without names, places and numbers of expressions.",
        "",
    ]
    lines += [
        "| query | same plan | same rows | files listed (Hive, ours) | partitions fetched (Hive, ours) |",
        "|---|---|---|---|---|",
    ]
    for r in results["reads"]:
        yes = {True: "yes", False: "**no**"}
        lines.append(
            f"| {r['query']} | {yes[r['same_plan']]} | {yes[r['same_rows']]} | {r['files'][0]}, {r['files'][1]} | {r['partitions'][0]}, {r['partitions'][1]} |"
        )
    return [*lines, ""]


def _method(results: dict[str, Any]) -> list[str]:
    return [
        "## How it was measured",
        "",
        "- Each contender has a process of its own with a warm session of its own configuration (the two Hive ways share one), idle while another writes; each round "
        "begins with another contender. Before each run: a garbage collection and `sync`, not timed. The DataFrame is opened before, planning and writing are timed.",
        "- *Bare* writes Parquet with `partitionBy` into a new directory and then sends one `alter_partitions` made ready beforehand, over a connection opened beforehand. "
        "It looks nothing up, locks nothing, records nothing: a floor.",
        "- The rows lie in the order of the orders, so every task meets every month; all contenders sort each task by month and none shuffles (Iceberg: "
        "`write.distribution-mode=none`; its default shuffles first). Snappy everywhere (Iceberg's default is zstd). Delta overwrites one partition by `replaceWhere`.",
        *(_method_s3() if results.get("store", "").startswith("S3") else _method_disk(results)),
    ]


def _method_s3() -> list[str]:
    return [
        "- *Bare* and sfbatch write by the magic committer; *Spark's insertInto* as Spark comes: to a temporary directory, then renamed, which on S3 is a copy. "
        "Delta by its own log store for one driver, Iceberg by its Hive catalog, Hudi by its path, with no metastore to tell. All keep directory markers.",
    ]


def _method_disk(results: dict[str, Any]) -> list[str]:
    return [
        f"- The {results['many']:,} small partitions: directories with hard links of one file of 100 rows, found by `MSCK REPAIR TABLE`; ours is then taken over by `CALL sfbatch.adopt`. "
        "Each run overwrites another partition with 100 rows.",
        "- *Spark's insertInto* into a Hive table is what Spark 3.5 does by default (its own Parquet writer); *Hive's INSERT OVERWRITE* is "
        "`spark.sql.hive.convertInsertingPartitionedTable=false`. Both replace files in place: a reader may find them gone.",
    ]


def chart(results: dict[str, Any], seconds: dict[str, dict[str, list[float]]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    colours = {"sfbatch": "#0b6e4f", "bare": "#9aa5b1"}
    figure, axes = plt.subplots(
        len(seconds),
        1,
        figsize=(8, 0.6 + sum(0.55 + 0.3 * len(of) for of in seconds.values())),
        squeeze=False,
        height_ratios=[1.2 + len(of) for of in seconds.values()],
        layout="constrained",
    )
    for axis, (task, of) in zip(axes[:, 0], seconds.items(), strict=True):
        names = list(of)[::-1]
        medians = [statistics.median(of[n]) for n in names]
        errors = [
            [m - min(of[n]) for m, n in zip(medians, names, strict=True)],
            [max(of[n]) - m for m, n in zip(medians, names, strict=True)],
        ]
        axis.barh(
            [results["titles"][n] for n in names],
            medians,
            color=[colours.get(n, "#c5cdd5") for n in names],
            xerr=errors,
            error_kw={"ecolor": "#52606d", "lw": 1, "capsize": 2},
        )
        for i, (median, above) in enumerate(zip(medians, errors[1], strict=True)):
            axis.annotate(
                f"{median:.2f}",
                (median + above, i),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color="#1f2933",
            )
        axis.set_title(
            TASKS[task].format(many=results["many"]).replace("`", "") + " (seconds: median, min, max)",
            loc="left",
            fontsize=9,
        )
        axis.tick_params(labelsize=8)
        axis.set_xlim(0, 1.1 * max(m + e for m, e in zip(medians, errors[1], strict=True)))
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
