"""What the writers are to do, as a seed says: 1,000 writes of four tables, and which of them a kill -9 meets."""

import random

DAYS = [f"2016100{n}" for n in range(1, 7)]
#: name -> (columns after `CREATE TABLE`, partitioned)
TABLES = {
    "parts": ("(op INT, k INT, day STRING) USING sfbatch PARTITIONED BY (day)", True),
    "lines": ("(op INT, k INT, day STRING) USING sfbatch OPTIONS (format 'text', 'partition-style' 'hive') PARTITIONED BY (day)", True),
    "whole": ("(op INT, k INT) USING sfbatch", False),
    "stripes": ("(op INT, k INT) USING sfbatch OPTIONS (format 'orc')", False),
}  # fmt: skip
#: How often of 100, of a partitioned table and of one that is not. `once`: an append with a txn mark, sent again until it is done.
KINDS = {
    True: {"append": 30, "once": 15, "overwrite": 20, "overwrite_one": 15, "rollback": 8, "drop": 12},
    False: {"append": 40, "once": 15, "overwrite": 35, "rollback": 10},
}


def plan(seed, writes, kills, writers, database):
    """[[op]] of each writer. An op: {id, kind, table, partitioned, rows: {day: count} or {"": count}, killed: None or a part of its usual length}."""
    dice = random.Random(f"plan {seed}")
    # Not of the last ones: a write that is over before its kill comes leaves it to its writer's next.
    killed = set(dice.sample(range(1, writes - writes // 10 + 1), kills))
    made = [[] for _ in range(writers)]
    for number in range(1, writes + 1):
        table = dice.choice(list(TABLES))
        partitioned = TABLES[table][1]
        kind = dice.choices(list(KINDS[partitioned]), KINDS[partitioned].values())[0]
        op = {"id": number, "kind": kind, "table": f"{database}.{table}", "partitioned": partitioned, "rows": {}}
        if kind == "drop":
            op["day"] = dice.choice(DAYS)
        elif kind == "rollback":
            op["back"] = dice.randint(1, 4)
        elif not partitioned:
            op["rows"] = {"": dice.randint(1, 5)}
        else:
            days = dice.sample(DAYS, 1 if kind == "overwrite_one" else dice.randint(1, 4))
            op["rows"] = {day: dice.randint(1, 3) for day in days}
        writer = number % writers
        if kind == "once":
            op |= {"kind": "append", "txnAppId": f"writer-{writer}", "txnVersion": number}
        op["killed"] = dice.uniform(0, 1) if number in killed else None
        made[writer].append(op)
    return made
