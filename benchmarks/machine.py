"""What was measured on: cores, memory, processor, file system, versions; never names or paths of the machine."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path

from contenders import DELTA, HUDI, ICEBERG


def describe(work: Path) -> dict[str, str]:
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    kib = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(kib[1]) / 2**20:.0f} GiB" if kib else "unknown",
        "system": f"{platform.system()} {platform.release()}",
        "file system": _file_system(work),
    }


def versions() -> dict[str, str]:
    return {
        "sfbatch": version("sfbatch"),
        "delta": DELTA.rpartition(":")[2],
        "iceberg": ICEBERG.rpartition(":")[2],
        "hudi": HUDI.rpartition(":")[2],
        "tpchgen-cli": version("tpchgen-cli"),
        "python": platform.python_version(),
        "metastore": "Hive 2.3.9 (the embedded default: one thrift server, Derby)",
    }


def _file_system(work: Path) -> str:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    under = [(place, kind) for place, kind in mounts if work.is_relative_to(place)]
    return max(under, key=lambda mount: len(mount[0]))[1] if under else "unknown"
