"""The one exception tree of the Python side; a message without a code and a way to mend must never be raised.

SfBatchError                          .code: SFBATCH_<WHAT>, the same in Scala, Python, HTTP and CLI
├── SparkError                        SFBATCH_SPARK_NOT_FOUND, SFBATCH_SPARK_UNSUPPORTED, SFBATCH_SPARK_RUNNING
├── MetastoreError                    SFBATCH_JAVA_NOT_FOUND, SFBATCH_METASTORE_FAILED, SFBATCH_METASTORE_TOO_NEW, ...
├── jobs.problem.ServerError          SFBATCH_DATABASE_FAILED, SFBATCH_SERVER_REFUSED: the job server cannot start
├── jobs.api.JobServerError           SFBATCH_SERVER_DOWN, or the code that the job server answered
├── jobs.client.JobFailedError        SFBATCH_JOB_FAILED, SFBATCH_JOB_UNFINISHED: a job that was waited for
└── jobs.problem.Problem              what the job server answers to a request, with an HTTP status
"""


class SfBatchError(Exception):
    """What happened, why, and how to mend it.

    >>> str(SfBatchError("SFBATCH_SPARK_NOT_FOUND", "no Spark is installed."))
    '[SFBATCH_SPARK_NOT_FOUND] no Spark is installed.'
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"[{code}] {message}")
        self.code = code


class SparkError(SfBatchError):
    """The installed Spark is missing, unsupported, or already running without sfbatch."""


class MetastoreError(SfBatchError):
    """The local metastore could not be started, found or stopped."""
