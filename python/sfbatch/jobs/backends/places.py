"""What a cluster must say about where it is on AWS (`metadata.sfbatch.emr`), by back end: name -> an example."""

STEPS = {"clusterId": "j-2AXXXXXXGAPLF", "region": "us-east-1", "stage": "s3://BUCKET/sfbatch"}
SERVERLESS = {
    "applicationId": "00f1abcdexample",
    "region": "us-east-1",
    "executionRoleArn": "arn:aws:iam::123456789012:role/sfbatch-job",
    "stage": "s3://BUCKET/sfbatch",
    "logs": "s3://BUCKET/logs",
}
STEPS_OPTIONAL = ("logs", "executionRoleArn", "python")
SERVERLESS_OPTIONAL = ("python",)
BACKENDS: dict[str, tuple[dict[str, str], tuple[str, ...]]] = {
    "local": ({}, ()),
    "emr-steps": (STEPS, STEPS_OPTIONAL),
    "emr-serverless": (SERVERLESS, SERVERLESS_OPTIONAL),
}
