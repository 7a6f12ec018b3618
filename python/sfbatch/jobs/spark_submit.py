"""The words of a spark-submit line, taken apart and put together again; runs nothing and expands nothing.

spark-submit takes the last of two `--jars`, so what the server adds must be merged with what the user gave.
Options as in Spark 3.5's and 4.0's `launcher/SparkSubmitOptionParser.java`.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

# An option whose values are joined -> the setting that means the same, which the option would put out of force.
LISTS = {
    "--jars": "spark.jars",
    "--py-files": "spark.submit.pyFiles",
    "--files": "spark.files",
    "--archives": "spark.archives",
    "--packages": "spark.jars.packages",
    "--exclude-packages": "spark.jars.excludes",
    "--repositories": "spark.jars.repositories",
}
_WITH_VALUE = {
    *LISTS, "--class", "--conf", "--deploy-mode", "--driver-class-path", "--driver-cores", "--driver-java-options",
    "--driver-library-path", "--driver-memory", "--executor-cores", "--executor-memory", "--keytab", "--kill",
    "--master", "--name", "--num-executors", "--principal", "--properties-file", "--proxy-user", "--queue", "--remote",
    "--status", "--total-executor-cores",
}  # fmt: skip
_SWITCHES = {"--help", "--load-spark-defaults", "--supervise", "--usage-error", "--verbose", "--version"}
_SHORT = {"-c": "--conf", "-h": "--help", "-v": "--verbose"}


def is_spark_submit(program: Sequence[str]) -> bool:
    """Whether a command's words run spark-submit."""
    return bool(program) and posixpath.basename(program[0]) == "spark-submit"


@dataclass
class SparkSubmit:
    """What follows the word `spark-submit`."""

    options: list[tuple[str, str | None]] = field(default_factory=list)  # in order; lists and settings are kept apart
    lists: dict[str, list[str]] = field(default_factory=dict)
    conf: dict[str, str] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)  # the program file and its arguments

    @classmethod
    def parse(cls, words: Sequence[str]) -> SparkSubmit:
        """Take a line apart. What spark-submit would refuse is left for it to refuse.

        >>> found = SparkSubmit.parse(["--jars", "a.jar", "--jars=b.jar", "--conf", "x=1", "job.py", "--jars", "c"])
        >>> found.lists["--jars"], found.conf, found.rest
        (['a.jar', 'b.jar'], {'x': '1'}, ['job.py', '--jars', 'c'])
        """
        found = cls()
        at = 0
        while at < len(words):
            name, equals, value = words[at].partition("=")
            name = _SHORT.get(name, name)
            if name in _SWITCHES and not equals:
                found.options.append((name, None))
                at += 1
                continue
            if name not in _WITH_VALUE or (not equals and at + 1 == len(words)):
                break
            if not equals:
                at += 1
                value = words[at]
            at += 1
            if name in LISTS:
                found.add(name, value.split(","))
            elif name == "--conf":
                key, _, setting = value.partition("=")
                found.conf[key] = setting
            else:
                found.options.append((name, value))
        found.rest = list(words[at:])
        return found

    def add(self, option: str, values: Iterable[str]) -> None:
        """Add to a list option what is not there yet."""
        items = self.lists.setdefault(option, [])
        items += [value for value in dict.fromkeys(values) if value and value not in items]

    def option(self, name: str) -> str | None:
        """The value that counts of an option that is no list: the last."""
        return next((value for key, value in reversed(self.options) if key == name), None)

    @property
    def deploy_mode(self) -> str:
        """`client` or `cluster`."""
        return self.option("--deploy-mode") or self.conf.get("spark.submit.deployMode") or "client"

    def each_file(self, change: Callable[[str], str]) -> None:
        """Put `change(file)` in place of the program's file and of every one in a list of files."""
        self._settings_into_lists()
        for option in ("--jars", "--py-files", "--files", "--archives"):
            if option in self.lists:
                self.lists[option] = [change(item) for item in self.lists[option]]
        if self.rest:
            self.rest[0] = change(self.rest[0])

    def words(self) -> list[str]:
        """The line again, each list once."""
        self._settings_into_lists()
        line = [word for name, value in self.options for word in ((name,) if value is None else (name, value))]
        for option, items in self.lists.items():
            line += [option, ",".join(items)]
        for key, value in self.conf.items():
            line += ["--conf", f"{key}={value}"]
        return line + self.rest

    def _settings_into_lists(self) -> None:
        for option, setting in LISTS.items():
            if option in self.lists and setting in self.conf:
                self.add(option, self.conf.pop(setting).split(","))


def with_sfbatch(line: SparkSubmit, jar: str, package: str | None) -> None:
    """Add our jar, our Python package and our settings; extensions and a catalog that are set already stay."""
    line.add("--jars", [jar])
    if package:
        line.add("--py-files", [package])
    extensions = [name for name in line.conf.get("spark.sql.extensions", "").split(",") if name]
    ours = "sfbatch.SfBatchExtensions"
    line.conf["spark.sql.extensions"] = ",".join(extensions if ours in extensions else [*extensions, ours])
    line.conf.setdefault("spark.sql.catalog.spark_catalog", "sfbatch.SfBatchCatalog")
