"""sfbatch: every Spark write lands in a fresh batch directory and is published atomically in the Hive Metastore."""

from importlib.metadata import version

from sfbatch import jobs
from sfbatch.errors import MetastoreError, SfBatchError, SparkError
from sfbatch.spark import configure_spark, jar_path

__all__ = ["MetastoreError", "SfBatchError", "SparkError", "configure_spark", "jar_path", "jobs"]
__version__ = version("sfbatch")
