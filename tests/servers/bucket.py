"""A second opinion on the bucket: an S3 client that is not the product's own.

    bucket.py ENDPOINT create BUCKET        makes it
    bucket.py ENDPOINT list BUCKET          one JSON object a line: key, bytes, sha256 of the contents
    bucket.py ENDPOINT keys BUCKET          one key a line
    bucket.py ENDPOINT get BUCKET KEY FILE  fetches one object
    bucket.py ENDPOINT put BUCKET KEY FILE  stores one object

Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import hashlib
import json
import sys

import boto3
from botocore.config import Config


def connect(endpoint):
    config = Config(connect_timeout=5, read_timeout=30, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", config=config)


def keys(client, bucket):
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", ()):
            yield item["Key"]


def main(endpoint, command, bucket, *rest):
    client = connect(endpoint)
    if command == "create":
        client.create_bucket(Bucket=bucket)
    elif command == "list":
        for key in keys(client, bucket):
            body = client.get_object(Bucket=bucket, Key=key)["Body"].read()
            print(json.dumps({"key": key, "bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}))
    elif command == "keys":
        for key in keys(client, bucket):
            print(key)
    elif command == "get":
        key, file = rest
        client.download_file(bucket, key, file)
    elif command == "put":
        key, file = rest
        client.upload_file(file, bucket, key)
    else:
        sys.exit(f"{command}: not one of create, list, keys, get, put")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
