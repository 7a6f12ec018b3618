"""Reports of long runs: a whole run's is kept in `benchmarks/`, a smaller one's is in `build/`."""

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from sfbatch.installed import installed_spark

ROOT = Path(__file__).parents[2]


def stamp():
    """What was measured, and when."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    changed = "-dirty" if _git("status", "--porcelain", "scala", "python") else ""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"spark": installed_spark().version, "commit": commit + changed, "date": now}


def _git(*arguments):
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def write_report(name, report, *, whole):
    folder = ROOT / ("benchmarks" if whole else "build")
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n")
