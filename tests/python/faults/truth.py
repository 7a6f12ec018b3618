"""Holds what writers were told, and what readers saw, against the journal, the metastore and the files; reads nothing else, and nothing by the product.

`Truth(...)` replays every version from what the writers meant to write: what each batch must hold, at any time, is known from the ledgers alone.
"""

import re
from collections import Counter
from datetime import datetime

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
        self.version_of = {}  # op -> the version that was not aborted
        self.written_at, self.began, self.changed = (
            {0: 0.0},
            {},
            {},
        )  # version -> when, its writer's begin, its partitions

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
        self.written_at[version] = datetime.fromisoformat(entry["timestamp"]).timestamp()
        self.began[version] = self.ledger.get(attempt, {}).get("began", 0)
        self.changed[version] = [tuple(change["values"]) for change in entry["partitions"]]
        op = self.ops.get(int(attempt.split(".")[0])) if attempt else None
        mine = operation in {"write", "rollback", "drop_partition"}
        if mine and version not in self.aborted:
            self.published[attempt] += 1
            self.version_of[op and op["id"]] = version
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
        if operation == "rollback" and rows != self.rows[entry["to"]]:
            yield f"version {version} goes back to {entry['to']}, and is not as version {entry['to']}"
        if operation == "abort":
            before = entry["aborts"] - 1
            if self.rows[version] != self.rows[before]:
                yield f"version {version} aborts {before + 1}, and is not as version {before}"

    def _is_what_was_meant(self, entry, op):
        version, changed = entry["version"], {"".join(change["values"]) for change in entry["partitions"]}
        if op is None or not op["table"].endswith(f".{self.root.name}"):
            yield f"version {version} is by nobody: {entry.get('job_id')}"
            return
        operation = {"rollback": "rollback", "drop": "drop_partition"}.get(op["kind"], "write")
        if entry["operation"] != operation:
            yield f"version {version} of {op['id']} is a {entry['operation']}, not a {operation}"
        if operation == "rollback":
            asked = self.ledger.get(entry["job_id"], {}).get("to")
            if entry["to"] != asked:
                yield f"version {version} of {op['id']} goes back to {entry['to']}, not to {asked}"
            return
        meant = {op["day"]} if operation == "drop_partition" else set(op["rows"])
        if changed != meant:
            yield f"version {version} of {op['id']} changes {sorted(changed)}, not {sorted(meant)}"
        if any(bool(change.get("dropped")) != (operation == "drop_partition") for change in entry["partitions"]):
            yield f"version {version} of {op['id']} is a {operation}, and does not drop what it should, or drops what it should not"

    def _place(self, values, batch_id):
        style = "hive" if self.root.name == "lines" else "value"
        return "/".join([*(checker.segment("day", value, style) for value in values), batch_id])

    def _told(self):
        """Done: there once. An error: not there; unclear, or killed: there or not. Never twice."""
        for number, op in self.ops.items():
            if not op["table"].endswith(f".{self.root.name}"):
                continue
            attempts = [attempt for attempt in self.ledger if int(attempt.split(".")[0]) == number]
            there = sum(self.published[attempt] for attempt in attempts)
            if there > 1:
                yield f"write {number} ({op['kind']}) is there {there} times"
            said = next((self.ledger[attempt] for attempt in attempts if self.ledger[attempt]["says"] == "done"), None)
            if said and not there and not self._had_nothing_to_do(op, said):
                yield f"write {number} ({op['kind']}) was told done, and is not there"
            for attempt in attempts:
                said = self.ledger[attempt]
                if said["says"] == "failed" and said["code"] != UNCLEAR and self.published[attempt]:
                    yield f"attempt {attempt} was told {said['code']}, and is published: {said['text'][:300]}"

        for attempt in self.published.keys() - self.ledger.keys():
            yield f"attempt {attempt} is published, and its writer never began it"

    def _had_nothing_to_do(self, op, said):
        """Whether a version that may have been the newest between its begin and its end was already as it was to be. A version is dated before
        it is committed, and after the one before it was."""
        now = [
            version
            for version, at in self.written_at.items()
            if at <= said["at"] and self.written_at.get(version + 2, said["at"]) >= said.get("began", 0)
        ]
        if op["kind"] == "drop":
            return any((op["day"],) not in self.rows[version] for version in now)
        if op["kind"] == "rollback":
            return any(self.rows[version] == self.rows[said["to"]] for version in now)
        return False

    # --- readers ---

    def told_done(self):
        """[(when the writer was told so, version)], by time."""
        told = {}
        for attempt, said in self.ledger.items():
            version = self.version_of.get(int(attempt.split(".")[0]))
            if said["says"] == "done" and version is not None:
                told[version] = min(said["at"], told.get(version, said["at"]))
        return sorted((at, version) for version, at in told.items())

    def misread(self, reads, changes):
        """Of what readers saw, each by one metastore request: (how often only a call that came late, or an overtaken writer's, explains it; what nothing does, and why).

        `reads`: [(first answered, last asked, {values: place})]; `changes`: [(sent, answered, {values: place, None: it leaves}, late)], all that the
        metastore carried out. A state is well when it is that of a version, of the newest or a newer one whose writer had been told that it is done before
        it was asked for. A call explains what it changed until a later write of that partition, begun after it, is told done.
        """
        done, explained, wrong = self.told_done(), Counter(), []
        for first, last, seen in reads:
            told = [version for at, version in done if at < last]
            needed, latest = max(told, default=0), max(first, last)  # seen once, it was answered after it was asked for
            states = [state for v, state in self.shown.items() if v >= needed and self.written_at[v] <= latest]
            if seen in states:
                continue
            by_version = [version for version, state in self.shown.items() if seen == state]
            since = {key: self.began[version] for version in sorted(told) for key in self.changed[version]}
            calls = [
                ({key: place for key, place in shown.items() if answered >= since.get(key, 0)}, late)
                for sent, answered, shown, late in changes
                if sent <= (latest if by_version else first)
            ]
            for why, overlays in {
                "late": [shown for shown, late in calls if late],
                "overtaken": [shown for shown, _ in calls],
            }.items():
                if any(_explained(seen, state, overlays) for state in states):
                    explained[why] += 1
                    break
            else:
                if by_version:
                    wrong.append(f"was seen at {last} as version {by_version[-1]}, when {needed} was told done")
                else:
                    wrong.append(f"was seen at {first} as {seen}, which is no version")
        return explained, wrong


def _explained(seen, shown, overlays):
    """Whether late calls make `seen` of `shown`."""
    return all(
        seen.get(key) == shown.get(key) or any(key in overlay and seen.get(key) == overlay[key] for overlay in overlays)
        for key in {*seen, *shown}
    )


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
