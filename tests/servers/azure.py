"""A second opinion on an Azure container: a client of the Blob service that is not the product's own.

    azure.py ENDPOINT CONTAINER create         makes it
    azure.py ENDPOINT CONTAINER list           one JSON object a line: key, bytes, sha256 of the contents, type
    azure.py ENDPOINT CONTAINER get KEY FILE   fetches one blob

ENDPOINT ends in the account's name; its key comes from AZURE_STORAGE_KEY.
"""

import base64
import email.utils
import hashlib
import hmac
import json
import os
import sys
import urllib.parse
import urllib.request
import xml.etree.ElementTree


def signature(account, method, path, query, headers):
    """Shared Key: what is signed is the request without its body."""
    ours = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    asked = "".join(f"\n{name}:{query[name]}" for name in sorted(query))
    # Of the eleven standard headers none is sent, an empty length counts as none.
    text = method + "\n" * 12 + ours + f"/{account}{path}" + asked
    key = base64.b64decode(os.environ["AZURE_STORAGE_KEY"])
    return base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()


def request(endpoint, method, path, **query):
    url = urllib.parse.urlsplit(endpoint)
    account = url.path.strip("/")
    path = urllib.parse.quote(f"{url.path.rstrip('/')}/{path}")
    headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    signed = signature(account, method, path, query, headers)
    url = url._replace(path=path, query=urllib.parse.urlencode(query)).geturl()
    request = urllib.request.Request(url, method=method, headers=headers)
    request.add_header("Authorization", f"SharedKey {account}:{signed}")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return answer.headers, answer.read()


def keys(endpoint, container):
    marker = ""
    while True:
        more = {"marker": marker} if marker else {}
        _, body = request(endpoint, "GET", container, restype="container", comp="list", **more)
        page = xml.etree.ElementTree.fromstring(body)
        yield from (blob.findtext("Name") for blob in page.iter("Blob"))
        marker = page.findtext("NextMarker")
        if not marker:
            return


def main(endpoint, container, command, *rest):
    if command == "create":
        request(endpoint, "PUT", container, restype="container")
    elif command == "list":
        for key in keys(endpoint, container):
            headers, body = request(endpoint, "GET", f"{container}/{key}")
            digest = hashlib.sha256(body).hexdigest()
            print(json.dumps({"key": key, "bytes": len(body), "sha256": digest, "type": headers["Content-Type"]}))
    elif command == "get":
        key, file = rest
        with open(file, "wb") as out:
            out.write(request(endpoint, "GET", f"{container}/{key}")[1])
    else:
        sys.exit(f"{command}: not one of create, list, get")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
