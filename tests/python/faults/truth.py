"""Holds what writers were told, and what readers saw, against the journal, the metastore and the files; reads nothing else, and nothing by the product.

`Truth(...)` replays every version from what the writers meant to write: what each batch must hold, at any time, is known from the ledgers alone.
"""

import re
from collections import Counter

import checker
import pyarrow.orc
import pyarrow.parquet

UNCLEAR = "SFBATCH_PUBLISH_UNCLEAR"


class Truth:
    """Of one table. `ops`: id -> op; `ledger`: attempt -> [what its writer said]; `root`: the mirror of its root."""

    def __init__(self, root, ops, ledger):
        self.root, self.ops, self.ledger = root, ops, ledger
        self.entries = checker.journal(root)
        self.aborted = {entry["aborts"] for entry in self.entries if "aborts" in entry}
        self.rows = {0: {}}  # version -> {values: [(op, k)]}
        self.shown = {0: {}}  # version -> {values: location below the root}
        self.published = Counter()  # attempt -> versions that were not aborted

    def problems(self):
        for entry in self.entries:
            yield from self._replay(entry)
        yield from self._told()

    def _replay(self, entry):
        version, operation = entry["version"], entry["operation"]
        rows, shown = dict(self.rows[version - 1]), dict(self.shown[version - 1])
        if operation == "external":
            yield f"version {version} is external: a partition was not as the journal says, and nobody else writes here"
        attempt = entry.get("job_id")
        op = self.ops.get(int(attempt.split(".")[0])) if attempt else None
        mine = operation in {"write", "rollback", "drop_partition"}
        if mine and version not in self.aborted:
            self.published[attempt] += 1
        if mine:
            yield from self._is_what_was_meant(entry, op)
        for change in entry["partitions"]:
            values = tuple(change["values"])
            if change.get("dropped"):
                rows.pop(values, None)
                shown.pop(values, None)
                continue
            place = self._place(values, change["batch_id"])
            if operation == "write":
                meant = [(op["id"], k) for k in range(op["rows"].get("".join(values), 0))]
                expected = sorted(meant + (self.rows[version - 1].get(values, []) if op["kind"] == "append" else []))
            elif operation == "rollback":
                expected = self.rows[entry["to"]].get(values)
            elif operation == "abort":
                expected = self.rows[change["version"]].get(values, [])
            else:
                expected = []
            found = sorted(rows_of(self.root / place))
            if found != expected:
                yield f"version {version} ({operation} by {attempt}), partition {values}: the batch holds {found}, not {expected}"
            rows[values], shown[values] = expected, place
        self.rows[version], self.shown[version] = rows, shown
        if operation == "abort":
            before = entry["aborts"] - 1
            if self.rows[version] != self.rows[before]:
                yield f"version {version} aborts {before + 1}, and is not as version {before}"

    def _is_what_was_meant(self, entry, op):
        version, changed = entry["version"], {"".join(change["values"]) for change in entry["partitions"]}
        if op is None or not op["table"].endswith(f".{self.root.name}"):
            yield f"version {version} is by nobody: {entry.get('job_id')}"
        elif op["rows"] and changed != set(op["rows"]):
            yield f"version {version} of {op['id']} changes {sorted(changed)}, not {sorted(op['rows'])}"

    def _place(self, values, batch_id):
        style = "hive" if self.root.name == "lines" else "value"
        return "/".join([*(checker.segment("day", value, style) for value in values), batch_id])

    def _told(self):
        """Done: there once. An error: not there; unclear, or killed: there or not. Never twice."""
        for number, op in self.ops.items():
            if not op["table"].endswith(f".{self.root.name}"):
                continue
            attempts = [attempt for attempt in self.ledger if int(attempt.split(".")[0]) == number]
            done = any(self.ledger[attempt]["says"] == "done" for attempt in attempts)
            there = sum(self.published[attempt] for attempt in attempts)
            if there > 1:
                yield f"write {number} ({op['kind']}) is there {there} times"
            if done and not there and op["kind"] not in {"rollback", "drop"}:
                yield f"write {number} ({op['kind']}) was told done, and is not there"
            for attempt in attempts:
                said = self.ledger[attempt]
                if said["says"] == "failed" and said["code"] != UNCLEAR and self.published[attempt]:
                    yield f"attempt {attempt} was told {said['code']}, and is published: {said['text'][:300]}"

        for attempt in self.published.keys() - self.ledger.keys():
            yield f"attempt {attempt} is published, and its writer never began it"

    # --- readers ---

    def mixed(self, reads, late):
        """Reads, each one metastore request, that show no version; (those that a late call explains, as documented; those that nothing does)."""
        by_state = {frozenset(state.items()) for state in self.shown.values()}
        explained, unexplained = [], []
        for moment, seen in reads:
            if frozenset(seen.items()) in by_state:
                continue
            overlays = [shown for landed, shown in late if landed <= moment + 1]
            keys = set(seen).union(*self.shown.values())
            allowed = any(
                all(
                    seen.get(key) == state.get(key)
                    or any(key in overlay and seen.get(key) == overlay[key] for overlay in overlays)
                    for key in keys
                )
                for state in self.shown.values()
            )
            (explained if allowed else unexplained).append((moment, seen))
        return explained, unexplained


def rows_of(folder):
    """[(op, k)] of the data files of a batch, by pyarrow."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name.startswith(("_", ".")):
            continue
        if path.name.endswith(".parquet"):
            table = pyarrow.parquet.read_table(path, partitioning=None)
        elif path.name.endswith(".orc"):
            table = pyarrow.orc.read_table(path)
        else:
            found += [tuple(map(int, re.split("\x01", line))) for line in path.read_text().splitlines()]
            continue
        found += zip(table["op"].to_pylist(), table["k"].to_pylist(), strict=True)
    return found
