"""An independent reader of PROTOCOL.md: replays a table's journal and holds it against the metastore and the directories.

Shares no line with the product. `problems(uri, "db", "t")` is a list of sentences, empty when all is well.
"""

import gzip
import json
import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlparse

import schemas
from pymetastore.hive_metastore import ThriftHiveMetastore, ttypes
from thrift.protocol import TBinaryProtocol
from thrift.transport import TSocket, TTransport

NULL = "__HIVE_DEFAULT_PARTITION__"
ESCAPED = set("\"#%'*/:=?\\{[]^\x7f") | {chr(code) for code in range(1, 0x20)}
OPERATIONS = {
    "create", "write", "rollback", "drop_partition", "anchor", "drop_anchor", "stage", "publish", "discard", "adopt", "external", "abort",
    "repair",
}  # fmt: skip
BLOCK = 400


class Metastore:
    """A thrift client of the metastore for the length of a with statement."""

    def __init__(self, uri):
        parsed = urlparse(uri)
        self._transport = TTransport.TBufferedTransport(TSocket.TSocket(parsed.hostname, parsed.port))
        self.client = ThriftHiveMetastore.Client(TBinaryProtocol.TBinaryProtocol(self._transport))

    def __enter__(self):
        self._transport.open()
        return self.client

    def __exit__(self, *_):
        self._transport.close()


def table_of(client, database, name):
    """The table as every server shows it; Hive 4.0 has no `get_table`."""
    return client.get_table_req(ttypes.GetTableRequest(dbName=database, tblName=name)).table


@dataclass
class State:
    version: int = 0
    partitions: dict = field(
        default_factory=dict
    )  # values -> {batch_id | location, version, schema, storage, rows, bytes, files}
    txns: dict = field(default_factory=dict)
    anchors: dict = field(default_factory=dict)
    staged: dict = field(default_factory=dict)
    dropped: dict = field(default_factory=dict)  # values -> the version of ours that dropped them, within the hour
    recent: dict = field(default_factory=dict)  # version -> time, of the last hour


def replay(entries):
    """The state after these entries, and the state after each of them."""
    state, after = State(), {}
    for entry in entries:
        number, operation = entry["version"], entry["operation"]
        if operation != "abort":
            kept = {v: time for v, time in state.recent.items() if time > _an_hour_before(entry["timestamp"])}
            forgotten = max(set(state.recent) - set(kept), default=0)
            state.recent = {**kept, number: entry["timestamp"]}
            state.dropped = {values: v for values, v in state.dropped.items() if v >= forgotten}
        for change in entry["partitions"]:
            values = tuple(change["values"])
            if change.get("dropped"):
                state.partitions.pop(values, None)
                if operation in {"rollback", "drop_partition", "repair"}:
                    state.dropped[values] = number
                continue
            shown = {
                key: change[key]
                for key in ("batch_id", "location", "rows", "bytes", "files")
                if change.get(key) is not None
            }
            shown["schema"] = change.get("schema") or entry["schema"]
            shown["storage"] = change.get("storage") or entry["storage"]
            shown["version"] = change.get("version", number) if operation == "abort" else number
            if operation == "stage":
                state.staged.setdefault(entry["staged"], {})[values] = shown
            else:
                state.partitions[values] = shown
        if operation in {"publish", "discard"}:
            state.staged.pop(entry["staged"], None)
        if entry.get("txn"):
            state.txns[entry["txn"]["app_id"]] = entry["txn"]["version"]
        for app_id, mark in (entry.get("txns_restored") or {}).items():
            if mark is None:
                state.txns.pop(app_id, None)
            else:
                state.txns[app_id] = mark
        if operation == "anchor":
            state.anchors[entry["anchor"]] = entry["anchor_version"]
        if operation == "drop_anchor":
            state.anchors.pop(entry["anchor"], None)
        state.version = number
        after[number] = State(
            number,
            *(
                dict(part)
                for part in (state.partitions, state.txns, state.anchors, state.staged, state.dropped, state.recent)
            ),
        )
    return state, after


def state_of(checkpoint):
    """The state a checkpoint says."""

    def shown(part):
        return {
            **{key: part[key] for key in ("batch_id", "location", "version", "rows", "bytes", "files") if part.get(key) is not None},
            "schema": checkpoint["schemas"][part["schema"]],
            "storage": checkpoint["storages"][part["storage"]],
        }  # fmt: skip

    def partitions(parts):
        return {tuple(part["values"]): shown(part) for part in parts}

    return State(
        checkpoint["version"],
        partitions(checkpoint["partitions"]),
        checkpoint["txns"],
        checkpoint["anchors"],
        {batch: partitions(parts) for batch, parts in checkpoint["staged"].items()},
        {tuple(drop["values"]): drop["version"] for drop in checkpoint["dropped"]},
        {int(version): time for version, time in checkpoint["recent"].items()},
    )


def _an_hour_before(time):
    earlier = datetime.fromisoformat(time.removesuffix("Z")) - timedelta(hours=1)
    return earlier.isoformat(timespec="milliseconds") + "Z"


def journal(root):
    """The entries of a table in order, read from its directory."""
    return [entry for entry, _ in _journal(Path(root))]


def segment(name, value, style):
    """One directory name of a partition."""
    value = value or NULL
    escaped = "".join(f"%{ord(letter):02X}" if letter in ESCAPED else letter for letter in value)
    if style == "hive":
        name = "".join(f"%{ord(letter):02X}" if letter in ESCAPED else letter for letter in name)
        return f"{name}={escaped}"
    return f"%{ord(escaped[0]):02X}{escaped[1:]}" if escaped[0] in "_." else escaped


def problems(uri, database, table, mirror=None):
    """Everything that is not as PROTOCOL.md says. A table on S3 is read from a mirror: a folder with a copy of each bucket."""
    with Metastore(uri) as client:
        seen = table_of(client, database, table)
        names = client.get_partition_names(database, table, -1) if seen.partitionKeys else []
        shown = [
            part
            for i in range(0, len(names), 500)
            for part in client.get_partitions_by_names(database, table, names[i : i + 500])
        ]
    return list(_problems(seen, shown, lambda location: path_of(location, mirror)))


def ours(uri, database):
    """The names of sfbatch tables in a database."""
    with Metastore(uri) as client:
        names = client.get_all_tables(database)
        return [name for name in names if "sfbatch.table-id" in table_of(client, database, name).parameters]


def _problems(table, shown, place_of):
    parameters = table.parameters
    root = place_of(parameters["sfbatch.root"])
    style = parameters.get("sfbatch.partition-style", "value")
    columns = [column.name for column in table.partitionKeys]
    for name, expected in (("sfbatch.protocol", "1"), ("external.table.purge", "false"), ("EXTERNAL", "TRUE")):
        if parameters.get(name, "").lower() != expected.lower():
            yield f"table property {name} is {parameters.get(name)!r}, not {expected!r}"
    for name in parameters:
        if columns and (
            name in {"numRows", "totalSize", "rawDataSize", "numFiles"} or name.startswith("spark.sql.statistics")
        ):
            yield f"the table carries the statistic {name}={parameters[name]}, which nothing refreshes"
    if columns and place_of(table.sd.location) != root:
        yield f"a partitioned table's location {table.sd.location} is not its root {root}"
    owner = json.loads((root / "_sfbatch" / "owner.json").read_text())
    if owner["table_id"] != parameters["sfbatch.table-id"] or owner["protocol"] != 1:
        yield f"owner.json says {owner}, the table property {parameters['sfbatch.table-id']}"

    yield from schemas.problems(root)
    read = list(_journal(root))
    entries = [entry for entry, _ in read]
    aborted = {entry["aborts"] for entry in entries if "aborts" in entry}
    for number, (entry, done) in enumerate(read, 1):
        yield from _entry_problems(number, entry, entries[number - 2] if number > 1 else None)
        if number not in aborted and done is None:
            yield f"version {number} ({entry['operation']}) has no .done"
        if number in aborted and done == b"":
            yield f"version {number} ({entry['operation']}) was shown, and yet aborted"
        if number not in aborted and done == b"refused":
            yield f"version {number} ({entry['operation']}) was refused, and no abort names it"
        if done not in {None, b"", b"refused"}:
            yield f"the .done of version {number} says {done!r}"
    if len({entry["nonce"] for entry in entries}) != len(entries):
        yield "two versions have the same nonce"
    state, after = replay(entries)
    for path in sorted((root / "_sfbatch" / "checkpoints").glob("*.json.gz")):
        yield from _checkpoint_problems(path, after)

    def location(values, partition):
        if partition.get("location"):
            return place_of(partition["location"])
        return root.joinpath(
            *[segment(*pair, style) for pair in zip(columns, values, strict=True)], partition["batch_id"]
        )

    if not columns:
        shown = [ttypes.Partition(values=[], sd=table.sd, parameters=parameters)]
    metastore = {tuple(part.values): part for part in shown}
    for values in sorted(metastore.keys() - state.partitions.keys()):
        # A partition that left may stay listed at the empty directory: it shows no row.
        if place_of(metastore[values].sd.location) != root / "_sfbatch" / "empty":
            yield f"the metastore shows partition {values} at {metastore[values].sd.location}; the journal does not have it"
    for values in sorted(state.partitions.keys() - metastore.keys()):
        yield f"the journal has partition {values} by version {state.partitions[values]['version']}; the metastore does not show it"
    adopted = {
        tuple(change["values"])
        for entry in entries
        if entry["operation"] in {"adopt", "external"}
        for change in entry["partitions"]
    }
    for values in sorted(metastore.keys() & state.partitions.keys()):
        expected, part = state.partitions[values], metastore[values]
        yield from _partition_problems(
            values,
            expected,
            part,
            location(values, expected),
            place_of=place_of,
            untouched=values in adopted and not expected.get("batch_id"),
        )

    claims = {path.name.removesuffix(".json") for path in (root / "_sfbatch" / "claims").glob("*.json")}
    for entry in entries:
        for change in entry["partitions"]:
            if change.get("dropped"):
                continue
            place = location(change["values"], change)
            if change.get("batch_id") and change["batch_id"] not in claims:
                yield f"version {entry['version']} publishes batch {change['batch_id']}, which nobody claimed"
            if change.get("files") is not None and change.get("batch_id"):
                yield from _directory_problems(entry["version"], place, change)
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        # What a killed driver leaves lies under _temporary, as with any Spark job; on S3 under __magic_job-<id>.
        kept_apart = parts[0] in {"_sfbatch", "_temporary"} or parts[0].startswith("__magic")
        if not kept_apart and path.is_file() and not adopted:
            *partition, batch, _ = parts
            if len(partition) != len(columns) or not re.fullmatch(r"\d{14}", batch):
                yield f"a file lies where no batch is: {path.relative_to(root)}"
            elif batch not in claims:
                yield f"batch {batch} has files but no claim"


def _journal(root):
    folder = root / "_sfbatch" / "journal"
    for path in sorted(folder.glob("*/*.json.gz")):
        number = int(path.name.removesuffix(".json.gz"))
        assert path.name == f"{number:012d}.json.gz", path
        assert path.parent.name == f"{(number - 1) // BLOCK:08d}", path
        done = path.with_name(f"{number:012d}.done")
        yield json.loads(gzip.decompress(path.read_bytes())), done.read_bytes() if done.exists() else None


def _entry_problems(number, entry, previous):
    if entry["version"] != number or entry["protocol"] != 1:
        yield f"the file of version {number} says version {entry['version']}, protocol {entry['protocol']}"
    if entry["operation"] not in OPERATIONS:
        yield f"version {number} is an unknown operation {entry['operation']!r}"
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["timestamp"]):
        yield f"version {number} has the time {entry['timestamp']!r}"
    if previous and entry["timestamp"] <= previous["timestamp"]:
        yield f"version {number} is not later than version {number - 1}: {previous['timestamp']}, {entry['timestamp']}"
    for name in ("nonce", "user", "host", "schema", "partition_columns", "storage", "partitions"):
        if name not in entry:
            yield f"version {number} lacks {name}"
    values = [tuple(change["values"]) for change in entry["partitions"]]
    if len(set(values)) != len(values):
        yield f"version {number} has a partition twice"


def _checkpoint_problems(path, after):
    found = json.loads(gzip.decompress(path.read_bytes()))
    expected = after[found["version"]]
    if path.name != f"{found['version']:012d}.json.gz":
        yield f"checkpoint {path.name} says version {found['version']}"
    said = state_of(found)
    for name in ("partitions", "txns", "anchors", "staged", "dropped", "recent"):
        here, there = getattr(said, name), getattr(expected, name)
        if here != there:
            yield f"checkpoint {path.name} is not the replay: {name} {here} against {there}"


def _partition_problems(values, expected, part, place, *, place_of, untouched):
    if place_of(part.sd.location) != place:
        yield f"partition {values}: the metastore shows {part.sd.location}, the journal {place}"
    version, batch = part.parameters.get("sfbatch.version"), part.parameters.get("sfbatch.batch-id")
    if not untouched and version != str(expected["version"]):
        yield f"partition {values}: the metastore shows version {version}, the journal {expected['version']}"
    if batch != expected.get("batch_id"):
        yield f"partition {values}: the metastore shows batch {batch}, the journal {expected.get('batch_id')}"
    for name, key in (("numRows", "rows"), ("totalSize", "bytes"), ("numFiles", "files")):
        if not untouched and expected.get(key) is not None and part.parameters.get(name) != str(expected[key]):
            yield f"partition {values}: {name} is {part.parameters.get(name)}, the journal says {expected[key]}"
    columns = [(column.name, column.type) for column in part.sd.cols]
    journalled = [(column["name"], column["type"]) for column in expected["schema"]]
    if columns != journalled:
        yield f"partition {values}: columns {columns}, the journal says {journalled}"
    serde = part.sd.serdeInfo.serializationLib
    if serde != expected["storage"]["serde"]:
        yield f"partition {values}: SerDe {serde}, the journal says {expected['storage']['serde']}"


def _directory_problems(version, place, change):
    if not place.is_dir():
        yield f"version {version}: batch directory {place} is gone"
        return
    files = [path for path in place.iterdir() if not path.name.startswith(("_", "."))]
    size = sum(path.stat().st_size for path in files)
    if len(files) != change["files"] or (change.get("bytes") is not None and size != change["bytes"]):
        yield f"version {version}: {place} holds {len(files)} files, {size} bytes; the journal says {change['files']}, {change.get('bytes')}"


#: Where another file system's tables were copied to: `{"hdfs://127.0.0.1:8020": Path("/tmp/mirror")}`.
MIRRORS = {}


def path_of(location, mirror=None):
    """Where a location's files are to be read."""
    if mirror and location.startswith("s3a://"):
        return mirror / location.removeprefix("s3a://")
    for uri, folder in MIRRORS.items():
        if location.startswith(f"{uri}/"):
            return folder / location[len(uri) + 1 :]
    # Hadoop's Path.toString does not encode: a % in a location is a letter of the file's name.
    return Path(re.sub(r"^file:/+", "/", location))
