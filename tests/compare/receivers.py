"""What a box delivers to in a comparison: a broker with a subscriber, a webhook, and a WebDAV store that refuses clips."""

import http.server
import os
import pathlib
import signal
import socket
import subprocess
import threading
import time

USER, PASSWORD = "edge", "s3cret-broker"
# Topic, QoS, retained, content type, expiry, payload format, user properties, payload as hexadecimal digits.
FORMAT = "%t\t%q\t%r\t%C\t%E\t%F\t%P\t%x"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def end(process, by=signal.SIGTERM):
    process.send_signal(by)
    return process.wait(60)


class Broker:
    """Mosquitto, and everything that was published."""

    def __init__(self, folder):
        self.port, self.folder = free_port(), pathlib.Path(folder)
        (self.folder / "mosquitto").mkdir()
        passwords, config = self.folder / "mosquitto.passwd", self.folder / "mosquitto.conf"
        subprocess.run(["mosquitto_passwd", "-b", "-c", passwords, USER, PASSWORD], check=True, capture_output=True)
        user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
        config.write_text(f"user {user}\nper_listener_settings false\nallow_anonymous false\npassword_file {passwords}\n"
                          f"listener {self.port} 127.0.0.1\n")
        self.messages = self.folder / "messages"
        self.log = open(self.folder / "mosquitto.log", "wb")
        path = "/usr/sbin/mosquitto" if os.path.exists("/usr/sbin/mosquitto") else "mosquitto"
        self.broker = subprocess.Popen([path, "-c", config], stdout=self.log, stderr=self.log)
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                time.sleep(0.05)
        self.subscriber = subprocess.Popen(["mosquitto_sub", *self.client(), "-q", "1", "-t", "#", "-F", FORMAT],
                                           stdout=open(self.messages, "wb"), stderr=self.log)

    def client(self):
        return ["-V", "5", "-h", "127.0.0.1", "-p", str(self.port), "-u", USER, "-P", PASSWORD]

    def publish(self, topic, payload):
        subprocess.run(["mosquitto_pub", *self.client(), "-q", "1", "-t", topic, "-m", payload], check=True)

    def topics(self):
        return [line.split("\t")[0] for line in self.messages.read_text(errors="replace").splitlines()]

    def stop(self):
        end(self.subscriber)
        end(self.broker)

    def observe(self, facts):
        for line in self.messages.read_text(errors="replace").splitlines():
            fields = line.split("\t")
            if len(fields) != 8:
                facts.add("MQTT", f"not understood: {line[:100]}")
                continue
            topic, qos, retained, kind, expiry, form, properties, payload = fields
            payload = bytes.fromhex(payload)
            name = facts.plain(topic)
            names = " ".join(sorted(pair.split(":")[0] for pair in properties.split()))
            expires = "expires" if expiry.strip("0") else "stays"
            facts.add("MQTT", f"{name}: QoS {qos}, retained {retained}, {kind}, {expires}, format {form}, properties {names}")
            if payload[:1] in (b"{", b"["):
                facts.body("MQTT", name, "json", payload)
            elif payload[:2] == b"\xff\xd8":
                facts.add("MQTT", f"{name}: a JPEG")
            else:
                facts.add("MQTT", f"{name} = {payload.decode(errors='replace')}")


class Server:
    """An HTTP server that keeps what it got."""

    def __init__(self, answer):
        self.requests, lock = [], threading.Lock()
        requests = self.requests

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with lock:
                    requests.append((self.command, self.path, list(self.headers.items()), body))
                    status, headers, content = answer(len(requests), self.command, self.path, body)
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_MKCOL = do_PROPFIND = do_MOVE = handle_any

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def observe(self, section, facts):
        for method, path, headers, body in list(self.requests):
            name = f"{method} {facts.plain(path)}"
            kind = ""
            for header, value in headers:
                if header.lower() == "content-type":
                    kind = value
                shown = "..." if header.lower() in ("x-outpost-signature", "content-md5", "etag", "if-match") else value
                facts.add(section, f"{name} {header.lower()}: {shown}")
            if "json" in kind:
                facts.body(section, name, kind, body)


def webhook():
    """Fails at the first request."""
    return Server(lambda number, *_: (500 if number == 1 else 204, [], b""))


def strict_store():
    """A WebDAV store that refuses video for good."""
    objects = {}

    def answer(_, method, path, body):
        if method == "PUT":
            if path.endswith(".mp4"):
                return 415, [], b""
            objects[path] = body
            return 201, [("ETag", f'"{len(body)}"')], b""
        if method in ("HEAD", "GET"):
            if path not in objects:
                return 404, [], b""
            return 200, [("ETag", f'"{len(objects[path])}"'), ("Last-Modified", "Sat, 28 Nov 2026 00:00:00 GMT")], objects[path]
        return {"MKCOL": 201, "DELETE": 204}.get(method, 404), [], b""

    return Server(answer)
