"""Puts sfbatch into a Spark session about to be built; must never take away what is already configured there."""

from __future__ import annotations

import os
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sfbatch.errors import SparkError
from sfbatch.installed import installed_spark, jar_name

if TYPE_CHECKING:
    from collections.abc import Mapping

EXTENSION = "sfbatch.SfBatchExtensions"
CATALOG = "sfbatch.SfBatchCatalog"


class SparkBuilder(Protocol):
    """What is used of `pyspark.sql.SparkSession.Builder`."""

    def config(self, key: str, value: Any) -> Any:
        """Set one setting."""

    def enableHiveSupport(self) -> Any:  # noqa: N802
        """Use the Hive Metastore as the catalog."""


B = TypeVar("B", bound=SparkBuilder)


def configure_spark(builder: B, conf: Mapping[str, str] | None = None) -> B:
    """Take a session builder and return it with sfbatch in it.

    >>> spark = configure_spark(SparkSession.builder.appName("flights")).getOrCreate()  # doctest: +SKIP

    Sets `spark.jars` and `spark.sql.extensions` (adding to what the builder, PYSPARK_SUBMIT_ARGS and
    spark-defaults.conf hold), `spark.sql.catalog.spark_catalog` if nobody else is there, and Hive support. `conf` is
    set last and wins; with its `spark.jars` no jar is chosen here.

    Raises SparkError: SFBATCH_SPARK_NOT_FOUND, SFBATCH_SPARK_UNSUPPORTED, SFBATCH_SPARK_RUNNING.
    """
    forced = dict(conf or {})
    present = _present(builder)
    if present.get("spark.remote") or os.environ.get("SPARK_REMOTE"):
        raise SparkError(
            "SFBATCH_SPARK_UNSUPPORTED",
            "this builder makes a Spark Connect client. Configure the Connect server instead: "
            f"--jars $(sfbatch jar) --conf spark.sql.extensions={EXTENSION}.",
        )
    if "spark.jars" not in forced and not _jvm_has_sfbatch():
        if "--jars" in _submit_words():
            raise SparkError(
                "SFBATCH_SPARK_RUNNING",
                "PYSPARK_SUBMIT_ARGS has --jars, which overrides spark.jars. Add sfbatch's jar to it: "
                f"--jars ...,{jar_path()}",
            )
        builder.config("spark.jars", _added(present.get("spark.jars"), str(jar_path())))
    builder.config("spark.sql.extensions", _added(present.get("spark.sql.extensions"), EXTENSION))
    if not present.get("spark.sql.catalog.spark_catalog"):
        builder.config("spark.sql.catalog.spark_catalog", CATALOG)
    builder.enableHiveSupport()
    for key, value in forced.items():
        builder.config(key, value)
    return builder


def jar_path() -> Path:
    """Return the jar for the installed Spark, as `spark-submit --jars` wants it.

    >>> jar_path().name  # doctest: +SKIP
    'sfbatch-spark-3.5_2.12-0.1.0.jar'

    Raises SparkError: SFBATCH_SPARK_NOT_FOUND, SFBATCH_SPARK_UNSUPPORTED.
    """
    line = installed_spark().line
    folder = Path(__file__).parent / "jars"
    jars = sorted(folder.glob(jar_name(line)))
    if not jars:
        raise SparkError(
            "SFBATCH_SPARK_UNSUPPORTED",
            f"this copy of sfbatch holds no jar for Spark {line} in {folder}. Install the wheel that "
            "`make wheel` leaves in python/dist.",
        )
    return jars[-1]


def _added(present: str | None, new: str) -> str:
    """Add one item to a comma-separated setting, once."""
    items = [item.strip() for item in (present or "").split(",") if item.strip()]
    return ",".join(items if new in items else [*items, new])


def _present(builder: object) -> dict[str, str]:
    """What Spark would find without us; the later source wins, as in Spark."""
    options = getattr(builder, "_options", {})
    return {**_defaults_file(), **_submit_conf(), **{key: str(value) for key, value in options.items()}}


def _defaults_file() -> dict[str, str]:
    """Read spark-defaults.conf: a Java properties file, key and value parted by space, `=` or `:`."""
    folder = os.environ.get("SPARK_CONF_DIR")
    if not folder:
        try:
            folder = str(installed_spark().home / "conf")
        except SparkError:
            return {}
    path = Path(folder) / "spark-defaults.conf"
    if not path.is_file():
        return {}
    pairs = (re.match(r"\s*([^#!\s=:][^\s=:]*)[\s=:]+(.*?)\s*$", line) for line in path.read_text().splitlines())
    return {match[1]: match[2] for match in pairs if match}


def _submit_words() -> list[str]:
    # Under spark-submit the JVM is there already and PYSPARK_SUBMIT_ARGS is not read.
    return [] if "PYSPARK_GATEWAY_PORT" in os.environ else shlex.split(os.environ.get("PYSPARK_SUBMIT_ARGS", ""))


def _submit_conf() -> dict[str, str]:
    words = _submit_words()
    pairs = [value.partition("=") for option, value in pairwise(words) if option in {"--conf", "-c"}]
    found = {key: value for key, _, value in pairs}
    jvm = _jvm()
    if jvm is not None:
        found.update({pair._1(): pair._2() for pair in jvm.org.apache.spark.SparkConf().getAll()})
    return found


def _jvm() -> Any:
    """The JVM this Python process has (by spark-submit, or by an earlier session), or None."""
    try:
        from pyspark import SparkContext
    except ImportError:
        return None
    if "PYSPARK_GATEWAY_PORT" in os.environ:
        SparkContext._ensure_initialized()
    return SparkContext._jvm


def _jvm_has_sfbatch() -> bool:
    """Whether a JVM is there with our jar. One without it can be given no jar any more, so that is an error."""
    jvm = _jvm()
    if jvm is None:
        return False
    loader = jvm.java.lang.Thread.currentThread().getContextClassLoader()
    try:
        jvm.java.lang.Class.forName(EXTENSION, False, loader)
    except Exception as error:
        raise SparkError(
            "SFBATCH_SPARK_RUNNING",
            "Spark's JVM runs already, without sfbatch's jar. Call configure_spark before the first session of the "
            f"process (restart the notebook's kernel), or run `spark-submit --jars {jar_path()} ...`.",
        ) from error
    from pyspark import SparkContext

    running = SparkContext._active_spark_context
    if running is not None and EXTENSION not in running.getConf().get("spark.sql.extensions", ""):
        raise SparkError(
            "SFBATCH_SPARK_RUNNING",
            f"a session runs already without spark.sql.extensions={EXTENSION}. Stop it (spark.stop()) and build again.",
        )
    return True
