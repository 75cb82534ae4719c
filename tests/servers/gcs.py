"""As much of Google Cloud Storage's XML API as an uploader needs, over a folder.

    gcs.py --port PORT --folder FOLDER --bucket NAME

Single puts, uploads in parts, HEAD, GET and lists. Everything is on disk before it is answered, so that a kill
loses nothing that was acknowledged. It is as strict as the real one where a client can go wrong: lengths, parts
that were never sent, ETags that do not match, uploads and buckets that do not exist.
"""

import argparse
import email.utils
import hashlib
import json
import os
import re
import secrets
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

# All parts but the last have at least this size.
SMALLEST_PART = 5 * 1024 * 1024


class Refusal(Exception):
    def __init__(self, status, code, message):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class Bucket:
    """Objects and unfinished uploads: a folder each, with `data` or the parts, and `about.json`."""

    def __init__(self, folder, name):
        self.name = name
        self.objects, self.uploads = folder / "objects", folder / "uploads"
        self.objects.mkdir(parents=True, exist_ok=True)
        self.uploads.mkdir(exist_ok=True)

    def place(self, key):
        return self.objects / urllib.parse.quote(key, safe="")

    def put(self, key, data, kind):
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        place = self.place(key)
        place.mkdir(exist_ok=True)
        write(place / "data", data)
        about = {"key": key, "type": kind, "etag": etag, "bytes": len(data)}
        write(place / "about.json", json.dumps(about).encode())
        return etag

    def get(self, key):
        place = self.place(key)
        if not (place / "about.json").exists():
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
        return json.loads((place / "about.json").read_text()), place / "data"

    def begin(self, key, kind):
        upload = secrets.token_urlsafe(24)
        (self.uploads / upload).mkdir()
        write(self.uploads / upload / "about.json", json.dumps({"key": key, "type": kind}).encode())
        return upload

    def upload(self, key, upload):
        place = self.uploads / upload
        if not re.fullmatch(r"[\w-]+", upload) or not (place / "about.json").exists():
            raise Refusal(404, "NoSuchUpload", "The requested upload was not found.")
        about = json.loads((place / "about.json").read_text())
        if about["key"] != key:
            raise Refusal(404, "NoSuchUpload", "The requested upload is for another object.")
        return place, about

    def put_part(self, key, upload, number, data):
        place, _ = self.upload(key, upload)
        if not 1 <= number <= 10_000:
            raise Refusal(400, "InvalidArgument", "Part number must be an integer between 1 and 10000.")
        write(place / f"{number}.part", data)
        return f'"{hashlib.md5(data).hexdigest()}"'

    def complete(self, key, upload, listed):
        place, about = self.upload(key, upload)
        numbers = [number for number, _ in listed]
        if not numbers or numbers != sorted(set(numbers)):
            raise Refusal(400, "InvalidPartOrder", "The list of parts was not in ascending order.")
        data = b""
        for number, etag in listed:
            part = place / f"{number}.part"
            content = part.read_bytes() if part.exists() else None
            if content is None or etag.strip('"') != hashlib.md5(content).hexdigest():
                raise Refusal(400, "InvalidPart", f"Part {number} was not found, or its ETag differs.")
            if number != numbers[-1] and len(content) < SMALLEST_PART:
                raise Refusal(400, "EntityTooSmall", f"Part {number} is smaller than the minimum.")
            data += content
        etag = self.put(key, data, about["type"])
        self.abort(key, upload)
        return etag

    def abort(self, key, upload):
        place, _ = self.upload(key, upload)
        for file in place.iterdir():
            file.unlink()
        place.rmdir()

    def list(self):
        return [json.loads(file.read_text()) for file in sorted(self.objects.glob("*/about.json"))]


def write(path, data):
    """Whole or not at all."""
    half = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    with open(half, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    half.rename(path)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def serve(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        bucket, _, key = urllib.parse.unquote(url.path).lstrip("/").partition("/")
        try:
            if bucket != self.server.bucket.name:
                raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
            self.act(self.server.bucket, key, query, body)
        except Refusal as refusal:
            text = f"<Error><Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message></Error>"
            self.answer(refusal.status, text.encode())

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = serve

    def act(self, bucket, key, query, body):
        kind, upload = self.headers.get("Content-Type", "application/octet-stream"), query.get("uploadId")
        if self.command in ("GET", "HEAD") and not key:
            return self.answer(200, listing(bucket.list()))
        if self.command in ("GET", "HEAD"):
            about, data = bucket.get(key)
            return self.answer(200, data.read_bytes(), about["etag"], about["type"])
        if self.command == "PUT" and upload:
            return self.answer(200, b"", bucket.put_part(key, upload, int(query["partNumber"]), body))
        if self.command == "PUT" and not query:
            return self.answer(200, b"", bucket.put(key, body, kind))
        if self.command == "POST" and "uploads" in query:
            upload = bucket.begin(key, kind)
            text = f"<Bucket>{bucket.name}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
            return self.answer(200, wrap("InitiateMultipartUploadResult", text))
        if self.command == "POST" and upload:
            etag = bucket.complete(key, upload, parts(body))
            text = f"<Bucket>{bucket.name}</Bucket><Key>{escape(key)}</Key><ETag>{escape(etag)}</ETag>"
            return self.answer(200, wrap("CompleteMultipartUploadResult", text))
        if self.command == "DELETE" and upload:
            bucket.abort(key, upload)
            return self.answer(204, b"")
        raise Refusal(501, "NotImplemented", f"{self.command} {self.path}")

    def answer(self, status, body, etag=None, kind="application/xml; charset=UTF-8"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", email.utils.formatdate(usegmt=True))
        self.send_header("x-goog-generation", "1")
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format, *args):
        print(format % args, flush=True)


def parts(body):
    """Number and ETag of each part that the client wants joined."""
    listed = []
    for part in ElementTree.fromstring(body):
        fields = {field.tag.rpartition("}")[2]: field.text for field in part}
        listed.append((int(fields["PartNumber"]), fields["ETag"]))
    return listed


def wrap(name, text):
    return f'<?xml version="1.0" encoding="UTF-8"?><{name}>{text}</{name}>'.encode()


def listing(objects):
    items = (
        f"<Contents><Key>{escape(item['key'])}</Key><Size>{item['bytes']}</Size><ETag>{escape(item['etag'])}</ETag></Contents>"
        for item in objects
    )
    return wrap("ListBucketResult", "<IsTruncated>false</IsTruncated>" + "".join(items))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--bucket", required=True)
    options = parser.parse_args()
    ThreadingHTTPServer.daemon_threads = True
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.bucket = Bucket(options.folder, options.bucket)
    print("READY", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
