"""Makes a job's line for a cluster elsewhere: its files go to S3, and their addresses in place of their names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sfbatch.jobs import kit
from sfbatch.jobs.backends import s3
from sfbatch.jobs.environments import LOCK_FILE, PROJECT_FILE, Environments, Python
from sfbatch.jobs.problem import ServerError
from sfbatch.jobs.spark_submit import SparkSubmit, is_spark_submit, with_sfbatch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sfbatch.jobs.backends import Launch
    from sfbatch.jobs.settings import Settings

NOT_INPUT = {"stdout", "stderr", "initFailureDetails.txt", LOCK_FILE, PROJECT_FILE}
_ELSEWHERE = re.compile(r"_DIR$|TOKEN|SECRET|PASSWORD", re.IGNORECASE)
UNPACKED = "environment"  # what the Python environment is called where it is unpacked


def refused(message: str) -> ServerError:
    """The job cannot run there."""
    return ServerError("SFBATCH_CLUSTER_REFUSED", message)


def place_of(cluster: Any, needed: Mapping[str, str], optional: tuple[str, ...]) -> dict[str, Any]:
    """A cluster's `metadata.sfbatch.emr`. Raises ServerError for what is missing, with what it should look like."""
    found = (((cluster or {}).get("metadata") or {}).get("sfbatch") or {}).get("emr")
    found = found if isinstance(found, dict) else {}
    for name, example in needed.items():
        if not isinstance(found.get(name), str) or not found[name]:
            raise refused(f"cluster {cluster['id']} does not say its emr.{name} (e.g. {example})")
    unknown = sorted(set(found) - set(needed) - set(optional))
    if unknown:
        raise refused(f"cluster {cluster['id']}: there is no emr.{unknown[0]}, only {', '.join([*needed, *optional])}")
    return found


def python_of(place: Mapping[str, Any]) -> Python:
    """The interpreter on the cluster's machines. Raises ServerError."""
    found = place.get("python")
    if not isinstance(found, dict) or {"path", "version", "platform"} != set(found):
        example = "{path: /usr/bin/python3.11, version: '3.11', platform: x86_64-manylinux_2_28}"
        raise refused(f"the cluster does not say which Python it has: emr.python, e.g. {example}")
    return Python(**{name: str(value) for name, value in found.items()})


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What a job elsewhere sees of it: no path of this machine, and nothing secret, since AWS shows a job's words."""
    return {name: value for name, value in environment.items() if value and not _ELSEWHERE.search(name)}


class Stage:
    """A job's place in S3, `stage/jobs/NAME/`, and what all jobs share beside it."""

    def __init__(self, client: Any, settings: Settings, top: str, launch: Launch) -> None:
        self._client, self._launch = client, launch
        self._home, self._top = settings.directory, top.rstrip("/")
        try:
            s3.parts(self._top)
        except ValueError as error:
            raise refused(f"emr.stage: {error}") from None
        self._names = self._upload()

    def line(self) -> list[str]:
        """The words of a job that is no Spark job: whatever is the name of one of its files becomes its address."""
        return [self._names.get(word, word) for word in self._launch.arguments]

    def spark(self) -> SparkSubmit:
        """The words after spark-submit, with the files' addresses, sfbatch's own things, and all other files."""
        launch = self._launch
        line = SparkSubmit.parse(launch.arguments[1:])
        named: set[str] = set()

        def address(item: str) -> str:
            name, mark, alias = item.partition("#")
            if name in self._names:
                named.add(name)
            return self._names.get(name, name) + mark + alias

        line.each_file(address)
        left = [where for name, where in self._names.items() if name not in named]
        if left:
            line.add("--files", left)
        if launch.spark:
            jar, package = kit.jar_for(launch.spark), kit.package_zip(self._home / "kit")
            with_sfbatch(line, self._shared(jar), self._shared(package))
        line.conf["spark.sfbatch.job-id"] = launch.job_id
        return line

    def environment(self, python: Python) -> str | None:
        """The address of the archive with the Python packages that the job asks for, for --archives."""
        if self._launch.requirements is None:
            return None
        environments = Environments(self._home / "environments")
        archive = environments.archive(environments.get(self._launch.requirements, python))
        where = f"{self._top}/environments/{archive.name}"
        return f"{s3.put_once(self._client, archive, where)}#{UNPACKED}"

    def _upload(self) -> dict[str, str]:
        """File name -> address: of what lies in the job's directory, and of what lies in S3 already."""
        launch = self._launch
        names = {}
        for name, address in launch.fetch.items():
            if urlsplit(address).scheme not in {"s3", "s3a", "s3n"}:
                raise refused(f"{address}: on EMR dependencies and configs are addresses in S3; attach other files")
            names[name.rpartition("/")[2]] = address
        skipped = NOT_INPUT | ({launch.requirements.name} if launch.requirements else set())
        for path in sorted(launch.directory.iterdir()):
            if path.is_file() and path.name not in skipped and not path.name.startswith("."):
                where = f"{self._top}/jobs/{launch.directory.name}/{path.name}"
                names[path.name] = s3.put(self._client, path, where)
        return names

    def _shared(self, path: Any) -> str:
        """What depends on sfbatch's version alone, and on the copy of it that is installed here."""
        where = f"{self._top}/kit/{_stamp(path)}/{path.name}"
        return s3.put_once(self._client, path, where)


def _stamp(path: Any) -> str:
    found = path.stat()
    return f"{found.st_size:x}-{found.st_mtime_ns:x}"


def must_be_spark(launch: Launch) -> None:
    """Raises ServerError when a job's command is another program."""
    if not is_spark_submit(launch.program):
        raise refused(f"EMR Serverless runs spark-submit and nothing else, not {launch.program[0]}")
