"""Reports of long runs: a whole run's is kept in `benchmarks/`, a smaller one's is in `build/`."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from sfbatch.installed import installed_spark

ROOT = Path(__file__).parents[2]


def stamp():
    """What was measured, and when."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"spark": installed_spark().version, "commit": commit(), "date": now}


def commit():
    """The short name of the commit, `-dirty` where the product differs from it."""

    def git(*arguments):
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    return git("rev-parse", "--short", "HEAD") + ("-dirty" if git("status", "--porcelain", "scala", "python") else "")


def write_report(name, report, *, whole):
    folder = ROOT / ("benchmarks" if whole else "build")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
