"""The S3 server of a long run, and a copy of what it holds."""

import boto3
from botocore.config import Config
from s3a import s3a
from s3proxy import S3Proxy

CREDENTIALS = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}


def hadoop_settings(endpoint):
    """Of sessions and of the metastore. Markers of directories stay, as they do from Hadoop 3.4 on."""
    return {**s3a(endpoint), "fs.s3a.directory.marker.retention": "keep"}


class Store(S3Proxy):
    """With `.client` of boto3."""

    def __init__(self, folder):
        super().__init__(folder)
        patient = Config(retries={"max_attempts": 5, "mode": "standard"}, max_pool_connections=32)
        self.client = boto3.client("s3", endpoint_url=self.endpoint, config=patient, **CREDENTIALS)

    def objects(self):
        """(name, bytes) of every object; those of a directory's marker end in `/`."""
        for page in self.client.get_paginator("list_objects_v2").paginate(Bucket="lake"):
            yield from ((item["Key"], item["Size"]) for item in page.get("Contents", []))

    def mirror(self, folder):
        """Every object as a file under the folder, every directory's marker as a directory; what is there already stays: names are written once."""
        for key, size in self.objects():
            place = folder / "lake" / key
            (place if key.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
            if not key.endswith("/") and not (place.exists() and place.stat().st_size == size):
                place.write_bytes(self.client.get_object(Bucket="lake", Key=key)["Body"].read())
        return folder
