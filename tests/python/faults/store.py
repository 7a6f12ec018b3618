"""An S3 server that keeps objects as files (s3proxy), in a process of its own; `make build/.s3proxy` fetches it."""

import subprocess
import time
from pathlib import Path

import boto3
from botocore.config import Config
from postgres import free_port

JARS = Path(__file__).parents[3] / "build" / "s3proxy.classpath"
LOGBACK = '<configuration><root level="ERROR"/></configuration>'
CREDENTIALS = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}


class Store:
    """`.endpoint`, and `.client` of boto3; bucket `lake`."""

    def __init__(self, folder):
        assert JARS.exists(), "run `make build/.s3proxy`"
        self.endpoint = f"http://127.0.0.1:{free_port()}"
        (folder / "objects").mkdir(parents=True)
        (folder / "logback.xml").write_text(LOGBACK)
        settings = {
            "s3proxy.authorization": "none",
            "s3proxy.endpoint": self.endpoint,
            "jclouds.provider": "filesystem-nio2",
            "jclouds.filesystem.basedir": folder / "objects",
            "jclouds.identity": "any",
            "jclouds.credential": "any",
        }
        (folder / "s3proxy.conf").write_text("".join(f"{key}={value}\n" for key, value in settings.items()))
        command = ["java", "-Xmx400m", "-XX:+UseSerialGC", f"-Dlogback.configurationFile={folder / 'logback.xml'}"]
        command += ["-cp", JARS.read_text(), "org.gaul.s3proxy.Main", "--properties", str(folder / "s3proxy.conf")]
        with (folder / "s3proxy.log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        patient = Config(retries={"max_attempts": 5, "mode": "standard"}, max_pool_connections=32)
        self.client = boto3.client("s3", endpoint_url=self.endpoint, config=patient, **CREDENTIALS)
        give_up = time.monotonic() + 60
        while True:
            try:
                self.client.create_bucket(Bucket="lake")
                return
            except Exception:
                assert self._process.poll() is None and time.monotonic() < give_up, "the S3 server did not start"
                time.sleep(0.2)

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

    def close(self):
        self._process.kill()
        self._process.wait()
