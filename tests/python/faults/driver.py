"""A writer of `make test-faults`, in a process of its own: one JSON line on stdin is one write; what it means to do, and what came of it, is
on disk (fsync) before and after. `python driver.py <ledger> <descriptor for answers> <settings.json>`.
"""

import json
import os
import re
import sys
import time
from pathlib import Path


def rows_of(op):
    return ", ".join(
        f"({op['id']}, {k}{f', {day!r}' if op['partitioned'] else ''})" for day, count in op["rows"].items() for k in range(count)
    )  # fmt: skip


def statement(op, to):
    """The SQL of this write."""
    table = op["table"]
    if op["kind"] == "create":
        return f"CREATE TABLE {table} {op['columns']}"
    if op["kind"] == "recover":
        return f"CALL sfbatch.recover(table => '{table}')"
    if op["kind"] == "append":
        return f"INSERT INTO {table} VALUES {rows_of(op)}"
    if op["kind"] == "overwrite":  # of the partitions in its data; of all, when there are none
        return f"INSERT OVERWRITE {table} VALUES {rows_of(op)}"
    if op["kind"] == "overwrite_one":
        ((day, count),) = op["rows"].items()
        values = ", ".join(f"({op['id']}, {k})" for k in range(count))
        return f"INSERT OVERWRITE {table} PARTITION (day = '{day}') VALUES {values}"
    if op["kind"] == "drop":
        return f"ALTER TABLE {table} DROP IF EXISTS PARTITION (day = '{op['day']}')"
    return f"CALL sfbatch.rollback(table => '{table}', to => {to})"


def version_to_go_back_to(spark, op):
    if "to" in op:
        return op["to"]
    newest = spark.sql(f"CALL sfbatch.history(table => '{op['table']}', limit => 1)").collect()[0][0]
    return max(1, newest - op["back"])


def carry_out(spark, op, note):
    spark.conf.set("spark.sfbatch.job-id", op["attempt"])
    for name in ("txnAppId", "txnVersion"):
        if name in op:
            spark.conf.set(f"spark.sfbatch.{name}", op[name])
        else:
            spark.conf.unset(f"spark.sfbatch.{name}")
    to = version_to_go_back_to(spark, op) if op["kind"] == "rollback" else None
    note(attempt=op["attempt"], says="begins", to=to, at=time.time())
    spark.sql(statement(op, to)).collect()


def main():
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.enableHiveSupport()
    for key, value in (json.loads(Path(sys.argv[3]).read_text()) if len(sys.argv) > 3 else {}).items():
        builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    with Path(sys.argv[1]).open("a") as ledger, os.fdopen(int(sys.argv[2]), "w") as answers:

        def note(**line):
            ledger.write(json.dumps(line) + "\n")
            ledger.flush()
            os.fsync(ledger.fileno())

        print("ready", file=answers, flush=True)
        for line in sys.stdin:
            op = json.loads(line)
            try:
                carry_out(spark, op, note)
                note(attempt=op["attempt"], says="done", at=time.time())
                print("done", file=answers, flush=True)
            except Exception as error:
                text = str(error)
                code = re.search(r"\[(SFBATCH_\w+)\]", text)
                note(attempt=op["attempt"], says="failed", code=code[1] if code else "OTHER", text=text[:1500], at=time.time())  # fmt: skip
                print("failed", file=answers, flush=True)
    spark.stop()


main()
