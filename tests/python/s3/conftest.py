"""An S3 server, and sessions that reach it: with sfbatch, and a stock one that has S3A and nothing of ours."""

import pytest
from s3a import JARS, s3a
from sfbatch.installed import installed_spark
from sfbatch.spark import CATALOG, EXTENSION, jar_path
from stock import StockSpark

from s3.s3_server import S3Server

#: AWS SDK v1 sends keys of KMS by HTTPS only.
SEALED = (
    {"algorithm": "AES256"}
    if installed_spark().line == "3.5"
    else {"algorithm": "SSE-KMS", "key": "arn:aws:kms:us-east-1:111122223333:key/of-the-lake"}
)


@pytest.fixture(scope="session")
def s3():
    server = S3Server("lake", "sealed", "plain", "inmemory", "parts")
    yield server
    server.close()


@pytest.fixture(scope="session")
def new_session(s3, metastore, tmp_path_factory):
    """`new_session(ours=True)`: a driver with S3A in a process of its own, with sfbatch or stock."""
    assert JARS.exists(), "run `make build/.s3`"
    started = []

    def start(*, ours):
        settings = {
            "spark.driver.extraClassPath": JARS.read_text(),
            **{f"spark.hadoop.{key}": value for key, value in s3a(s3.endpoint).items()},
            "spark.hadoop.fs.s3.impl": "org.apache.hadoop.fs.s3a.S3AFileSystem",
            **{f"spark.hadoop.fs.s3a.bucket.sealed.encryption.{key}": value for key, value in SEALED.items()},
            "spark.hadoop.fs.s3a.bucket.parts.multipart.size": "1M",
            "spark.hadoop.fs.s3a.bucket.plain.committer.magic.enabled": "false",
            "spark.hadoop.fs.s3a.bucket.inmemory.committer.magic.track.commits.in.memory.enabled": "true",
        }
        if not ours:  # writes as Spark's documents say
            cloud = "org.apache.spark.internal.io.cloud"
            settings |= {
                "spark.hadoop.fs.s3a.committer.name": "magic",
                "spark.hadoop.fs.s3a.committer.magic.enabled": "true",
                "spark.sql.sources.commitProtocolClass": f"{cloud}.PathOutputCommitProtocol",
                "spark.sql.parquet.output.committer.class": f"{cloud}.BindingParquetOutputCommitter",
            }
        if ours:
            settings |= {
                "spark.jars": jar_path(),
                "spark.sql.extensions": EXTENSION,
                "spark.sql.catalog.spark_catalog": CATALOG,
            }
        folder = tmp_path_factory.mktemp("s3")
        (folder / "spark-defaults.conf").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        session = StockSpark(metastore.uri, folder, env={"SPARK_CONF_DIR": str(folder)})
        started.append(session)
        return session

    yield start
    for session in started:
        session.close()


@pytest.fixture(scope="session")
def ours(new_session):
    return new_session(ours=True)


@pytest.fixture(scope="session")
def stock(new_session):
    return new_session(ours=False)
