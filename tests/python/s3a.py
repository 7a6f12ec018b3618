"""How a session reaches an S3 server of the tests' by S3A; `make build/.s3` fetches it."""

from pathlib import Path

from sfbatch.installed import installed_spark

JARS = Path(__file__).parents[2] / "build" / f"s3-{installed_spark().line}.classpath"


def s3a(endpoint):
    """Settings of Hadoop."""
    return {
        "fs.s3a.endpoint": endpoint,
        "fs.s3a.endpoint.region": "us-east-1",
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
        "fs.s3a.aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "fs.s3a.access.key": "any",
        "fs.s3a.secret.key": "any",
    }
