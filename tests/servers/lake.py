"""Runs the SQL of docs/lake.md, as it stands there, on the tables in a bucket.

    lake.py ENDPOINT DOCUMENT

Prints one JSON object a block: title (its first line), rows. The block that makes a secret is left out: the secret of the
test's server takes its place. Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
"""

import json
import os
import pathlib
import re
import sys

import duckdb
import duckdb_extension_httpfs


def connect(endpoint):
    connection = duckdb.connect()
    extension = next(pathlib.Path(duckdb_extension_httpfs.__file__).parent.rglob("httpfs.duckdb_extension"))
    connection.execute(f"LOAD '{extension}'")
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    connection.execute(
        f"CREATE SECRET (TYPE s3, KEY_ID '{key}', SECRET '{secret}', ENDPOINT '{endpoint}', REGION 'us-east-1', "
        "URL_STYLE 'path', USE_SSL false)"
    )
    return connection


def main(endpoint, document):
    connection = connect(endpoint.removeprefix("http://"))
    text = pathlib.Path(document).read_text()
    for block in re.findall(r"^```sql\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        if "CREATE SECRET" in block:
            continue
        title = block.splitlines()[0].removeprefix("-- ")
        result = connection.execute(block)
        names = [column[0] for column in result.description or ()]
        rows = [dict(zip(names, row)) for row in result.fetchall()]
        print(json.dumps({"title": title, "rows": rows}, default=str))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
