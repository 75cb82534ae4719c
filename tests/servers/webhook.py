"""A receiver of webhooks that checks each signature by the function that docs/webhooks.md gives.

    webhook.py PORT DOC SECRET_FILE LOG

Appends one JSON object a request to LOG: seq, type, camera, genuine, forged, body. `forged` says whether the function
also believes a body with one byte changed, a time moved by a second, or another secret.
"""

import http.server
import json
import re
import sys


def documented(path):
    """The function as a reader of the documentation would copy it."""
    with open(path, encoding="utf-8") as text:
        [code] = re.findall(r"```python\n(.*?)```", text.read(), re.DOTALL)
    names = {}
    exec(compile(code, path, "exec"), names)
    return names["is_genuine"]


def main(port, doc, secret_file, log):
    is_genuine = documented(doc)
    with open(secret_file, "rb") as file:
        secret = file.read().rstrip(b"\r\n")

    class Receiver(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            header = self.headers.get("Outpost-Signature", "")
            stamp = int(re.match(r"t=(\d+),", header).group(1))
            later = header.replace(f"t={stamp}", f"t={stamp + 1}")
            forged = [
                is_genuine(secret, header, body.replace(b"version", b"Version", 1)),
                is_genuine(secret, later, body),
                is_genuine(b"another-secret-of-16", header, body),
                is_genuine(secret, header.replace(f"t={stamp}", f"t={stamp - 301}"), body),
            ]
            message = json.loads(body)
            seen = {
                "seq": int(self.headers["Outpost-Seq"]),
                "type": self.headers["Outpost-Type"],
                "camera": message.get("camera") or message.get("event", {}).get("camera"),
                "genuine": is_genuine(secret, header, body),
                "forged": any(forged),
                "body": message,
            }
            with open(log, "a", encoding="utf-8") as out:
                out.write(json.dumps(seen) + "\n")
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Receiver)
    print("READY", flush=True)
    server.serve_forever()


main(*sys.argv[1:])
