"""Which Spark is installed here; must never import PySpark, which is slow and may be absent."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sfbatch.errors import SparkError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Spark's version -> the Scala its jar is built for. One jar runs on every Spark 4.
SUPPORTED = {"3.5": "2.12", "4.0": "2.13", "4.1": "2.13", "4.2": "2.13", "4.3": "2.13"}


@dataclass(frozen=True)
class InstalledSpark:
    """A Spark directory: `home/jars` holds its jars; `version` is e.g. `3.5.6`, `scala` e.g. `2.12`."""

    home: Path
    version: str
    scala: str

    @property
    def jars(self) -> Path:
        """Where Spark's own jars are."""
        return self.home / "jars"

    @property
    def line(self) -> str:
        """The version sfbatch is built for, e.g. `3.5`.

        Raises SparkError SFBATCH_SPARK_UNSUPPORTED.
        """
        line = ".".join(self.version.split(".")[:2])
        if SUPPORTED.get(line) != self.scala:
            raise SparkError(
                "SFBATCH_SPARK_UNSUPPORTED",
                f"the Spark in {self.home} is {self.version} with Scala {self.scala}; sfbatch runs on Spark "
                f"{', '.join(SUPPORTED)}, with Scala 2.12 on 3.5 and 2.13 on the others. "
                "Install one of them, e.g. `pip install 'sfbatch[spark]'`, or point SPARK_HOME at one.",
            )
        return line


def jar_name(line: str) -> str:
    """What the jar for a Spark is called, as a pattern, e.g. `sfbatch-spark-3.5_2.12-*.jar` for `3.5`."""
    return f"sfbatch-spark-{line if line < '4' else '4'}_{SUPPORTED[line]}-*.jar"


def installed_spark() -> InstalledSpark:
    """The Spark a PySpark session here would start: SPARK_HOME if set, else pip's PySpark, else what findspark finds.

    Raises SparkError SFBATCH_SPARK_NOT_FOUND.
    """
    named = os.environ.get("SPARK_HOME")
    candidates = [Path(named)] if named else [home for home in (_from_pip(), _from_findspark()) if home]
    for home in candidates:
        if found := spark_in(home):
            return found
    if named:
        raise SparkError("SFBATCH_SPARK_NOT_FOUND", f"SPARK_HOME={named} is no Spark directory. Mend it, or unset it.")
    looked = f" (looked in {', '.join(str(home) for home in candidates)})" if candidates else ""
    raise SparkError(
        "SFBATCH_SPARK_NOT_FOUND",
        f"no Spark is installed{looked}. Run `pip install 'sfbatch[spark]'`, or set SPARK_HOME to a Spark directory.",
    )


def spark_in(home: Path) -> InstalledSpark | None:
    """The Spark of a directory, None when it is no Spark's."""
    for jar in sorted((home / "jars").glob("spark-core_*.jar")):
        match = re.fullmatch(r"spark-core_(\d+\.\d+)-(\d+\.\d+\.\d+.*)\.jar", jar.name)
        if match:
            return InstalledSpark(home, match[2], match[1])
    return None


def spark_of(program: str, environment: Mapping[str, str]) -> InstalledSpark | None:
    """The Spark that a `spark-submit` would start, as far as its place tells: SPARK_HOME's comes before its own.

    pip's script lies beside Python, and its Spark among the packages. It finds that by asking Python, which fails in
    an environment without PySpark: SPARK_HOME spares it the question.
    """
    if named := environment.get("SPARK_HOME"):
        return spark_in(Path(named))
    found = shutil.which(program, path=environment.get("PATH"))
    if found is None:
        return None
    for script in dict.fromkeys((Path(found), Path(found).resolve())):
        top = script.parent.parent
        pip = top.glob("lib*/python3*/*-packages/pyspark") if (script.parent / "find_spark_home.py").exists() else ()
        sparks = {spark.home.resolve(): spark for home in (top, *pip) if (spark := spark_in(home))}
        if len(sparks) == 1:
            return next(iter(sparks.values()))
    return None


def _from_pip() -> Path | None:
    spec = importlib.util.find_spec("pyspark")
    return Path(spec.origin).parent if spec and spec.origin else None


def _from_findspark() -> Path | None:
    if importlib.util.find_spec("findspark") is None:
        return None
    import findspark

    try:
        return Path(findspark.find())
    except (ValueError, OSError):
        return None
