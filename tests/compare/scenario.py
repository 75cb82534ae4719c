"""The scripted run that two programs go through in a comparison, and what is written down of it."""

import http.client
import json
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import time

from facts import Facts
from receivers import PASSWORD, USER, Broker, end, free_port, strict_store, webhook

REPO = pathlib.Path(__file__).resolve().parents[2]
# The public half of a key pair that was thrown away.
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
NO_ID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

CONFIG = """
[device]
id = "box1"
site = "north"
[storage]
path = "@HOME@/box"
[web]
listen = "127.0.0.1:@WEB@"
[archive]
time_hold = "0s"
[load]
enabled = false
[infer]
model_dir = "@REPO@/tests/vm/models"
[mqtt]
url = "mqtt://127.0.0.1:@BROKER@"
username = "@USER@"
password_file = "@HOME@/broker.password"
commands = true
homeassistant_discovery = true
report_every = "10s"
[webhook.office]
url = "http://127.0.0.1:@HOOK@/alerts"
secret_file = "@HOME@/webhook.secret"
allow_http = true
[lake]
every = "10s"
health_every = "10s"
[upload.cloud]
url = "file://@HOME@/cloud"
[upload.away]
url = "http://127.0.0.1:9/away"
allow_http = true
[upload.strict]
url = "http://127.0.0.1:@STORE@/strict"
allow_http = true
[upload.sealed]
url = "file://@HOME@/sealed"
seal_to = ["@RECIPIENT@"]
[camera.dark.source]
url = "rtsp://127.0.0.1:9/none"
[camera.dark.detect]
model = "light"
""" + "".join(f"""
[camera.{name}.source]
url = "replay:@CLIP@"
repeat = true
[camera.{name}.motion]
enabled = false
[camera.{name}.detect]
model = "light"
[camera.{name}.track]
max_occlusion = "500ms"
[camera.{name}.record]
mode = "{mode}"
segment = "5s"
pre_roll = "1s"
post_roll = "1s"
""" for name, mode in (("yard", "events"), ("gate", "continuous")))


def make_clip(path):
    """A lamp that is on for two of four seconds."""
    if path.exists():
        return
    turns = "fps=5,scale=160:120,eq=eval=frame:brightness='if(lt(mod(t,4),2),-0.5,0.3)'"
    subprocess.run(["ffmpeg", "-v", "error", "-i", REPO / "tests/fixtures/people.mp4", "-t", "16", "-vf", turns, "-c:v",
                    "libx264", "-preset", "veryfast", "-crf", "38", "-g", "5", "-bf", "0", "-pix_fmt", "yuv420p", path],
                   check=True)


class Box:
    """The program with its receivers."""

    def __init__(self, program, home, clip):
        self.program, self.home, self.web = str(program), home, free_port()
        self.broker, self.hook, self.store = Broker(home), webhook(), strict_store()
        for name, secret in (("broker.password", PASSWORD), ("webhook.secret", "s3cret")):
            (home / name).write_text(secret)
            (home / name).chmod(0o600)
        (home / "box").mkdir()
        names = {"@HOME@": home, "@WEB@": self.web, "@BROKER@": self.broker.port, "@USER@": USER, "@HOOK@": self.hook.port,
                 "@STORE@": self.store.port, "@RECIPIENT@": RECIPIENT, "@REPO@": REPO, "@CLIP@": clip}
        text = CONFIG
        for name, value in names.items():
            text = text.replace(name, str(value))
        self.config = home / "outpost.toml"
        self.config.write_text(text)
        ports = {f":{names[name]}": f":<{name.strip('@').lower()}>" for name in ("@WEB@", "@BROKER@", "@HOOK@", "@STORE@")}
        known = {str(home): "<home>", str(REPO): "<repo>", str(clip): "<clip>", self.program: "outpost",
                 f"Usage: {program.name}": "Usage: outpost"}
        self.facts = Facts({**known, **ports})
        self.log, self.process = home / "daemon.log", None

    def start(self):
        log = open(self.log, "ab")
        self.process = subprocess.Popen([self.program, "run", "--config", self.config, "--log", "json"], stdout=log, stderr=log)
        self.wait_for("the page", lambda: self.ask("GET", "/readyz")[0] == 200)

    def ask(self, method, path, headers=(), body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.web, timeout=30)
        try:
            connection.putrequest(method, path, skip_host=any(name == "host" for name, _ in headers), skip_accept_encoding=True)
            for name, value in headers:
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("content-length", str(len(body)))
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def json(self, path):
        return json.loads(self.ask("GET", path)[2])

    def events(self, state, camera="yard"):
        found = self.json(f"/api/v1/events?limit=100&camera={camera}")["events"]
        return [record["event"] for record in found if record["event"]["state"] == state]

    def outlet(self, name):
        return next(outlet for outlet in self.json("/api/v1/status")["outlets"] if outlet["name"] == name)

    def wait_for(self, what, condition, limit=300):
        begun = time.monotonic()
        while time.monotonic() - begun < limit:
            try:
                seen = condition()
                if seen:
                    return seen
            except (OSError, http.client.HTTPException, ValueError, KeyError):
                pass
            if self.process and self.process.poll() is not None:
                sys.exit(f"{self.program} ended with {self.process.returncode}: see {self.log}")
            time.sleep(0.1)
        sys.exit(f"waited in vain for {what}: see {self.log}")

    def observe_api(self, name, method, path, headers=(), body=None):
        status, answered, content = self.ask(method, path, headers, body)
        section = "API"
        name = f"{method} {name}"
        self.facts.add(section, f"{name}: status {status}")
        kind = ""
        for header, value in answered:
            if header.lower() == "content-type":
                kind = value
            shown = "..." if header.lower() in ("etag", "date", "content-length") else value
            self.facts.add(section, f"{name} {header}: {shown}")
        if "prometheus" in kind or path == "/metrics":
            return self.observe_metrics(content.decode())
        if "html" in kind or "javascript" in kind or "css" in kind:
            return self.facts.add(section, f"{name}: a page")
        return self.facts.body(section, name, kind, content)

    def observe_metrics(self, text):
        for line in text.splitlines():
            series = line if line.startswith("#") else line.rsplit(" ", 1)[0]
            self.facts.add("metrics", re.sub(r'le="[^"]*"', 'le="..."', series))

    def command(self, *arguments, name=None):
        """A command of the program, with the configuration unless it is offline."""
        done = subprocess.run([self.program, *map(str, arguments)], capture_output=True, stdin=subprocess.DEVNULL, timeout=300,
                              cwd=self.home)
        name = f"outpost {name or ' '.join(map(str, arguments))}".replace(f" --config {self.config}", "")
        self.facts.add("command line", f"{name}: exit code {done.returncode}")
        for stream, text in (("out", done.stdout), ("err", done.stderr)):
            text = text.decode(errors="replace")
            lines = text.splitlines()
            if lines and all(line.startswith("{") for line in lines):
                for line in lines:
                    self.facts.body("command line", f"{name} {stream}", "json", line.encode())
            else:
                kind = "json" if text[:2] in ("{\n", "[\n") else "text/"
                self.facts.body("command line", f"{name} {stream}", kind, text.encode())
        return done.stdout.decode(errors="replace")

    def ours(self, *arguments):
        return self.command(*arguments, "--config", self.config)

    def observe_log(self):
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                self.facts.add("log", f"not JSON: {line}")
                continue
            fields = dict(entry["fields"])
            message = fields.pop("message", "")
            # What is logged below INFO is for developers.
            self.facts.add("log", f"{entry['level']} {message} [{', '.join(sorted(fields))}]")


def read_api(box):
    """Every route, and what is refused."""
    event = next(event for event in box.events("ended") if event.get("clip"))
    gate = box.json("/api/v1/cameras/gate/timeline")
    segment = (gate.get("segments") or [{"id": NO_ID}])[0]["id"]
    of_event = f"/api/v1/events/{event['id']}"
    json_kind = [("content-type", "application/json")]
    reads = [(path, path) for path in (
        "/", "/healthz", "/readyz", "/metrics", "/nothing", "/assets/nothing.js", "/api/v1/status", "/api/v1/events",
        "/api/v1/events?limit=1", "/api/v1/events?camera=gate&label=light", "/api/v1/events?limit=0", "/api/v1/events?before=x",
        "/api/v1/events?colour=red", f"/api/v1/events/{NO_ID}", "/api/v1/events/x", "/api/v1/cameras/yard/frame.jpg",
        "/api/v1/cameras/yard/last.jpg", "/api/v1/cameras/dark/frame.jpg", "/api/v1/cameras/dark/last.jpg",
        "/api/v1/cameras/none/frame.jpg", "/api/v1/cameras/yard/timeline", "/api/v1/cameras/gate/timeline",
        "/api/v1/cameras/none/timeline", "/api/v1/cameras/gate/timeline?day=x", f"/api/v1/cameras/gate/segments/{NO_ID}.mp4",
        "/api/v1/queue/items", "/api/v1/queue/items?outlet=none", "/api/v1/queue/items?outlet=upload%2Faway",
        "/api/v1/queue/items?outlet=upload%2Fstrict&state=dead", "/api/v1/queue/items?outlet=mqtt&state=x")]
    of_gate = "/api/v1/cameras/gate/segments"
    reads += [("/api/v1/events/ID", of_event), (f"{of_gate}/ID.mp4", f"{of_gate}/{segment}.mp4")]
    files = ("clip.mp4", "event.json", "snapshot.jpg", "snapshot-boxes.jpg", "thumb.jpg", "clip-2.mp4", "..%2Fevent.json")
    reads += [(f"/api/v1/events/ID/{name}", f"{of_event}/{name}") for name in files]
    for name, path in reads:
        box.observe_api(name, "GET", path)
    for name in ("clip.mp4", "thumb.jpg"):
        path = f"{of_event}/{name}"
        box.observe_api(f"ID/{name}", "HEAD", path)
        for ranges in ("bytes=0-9", "bytes=-5", "bytes=7-", "bytes=99999999-", "bytes=0-1,3-4", "lines=1-2"):
            box.observe_api(f"ID/{name} {ranges}", "GET", path, [("range", ranges)])
        tags = [value for header, value in box.ask("GET", path)[1] if header.lower() == "etag"]
        for tag in tags:
            box.observe_api(f"ID/{name} if-none-match", "GET", path, [("if-none-match", tag)])
    box.observe_api("/api/v1/status of another host", "GET", "/api/v1/status", [("host", "evil.example")])
    box.observe_api("/api/v1/status", "POST", "/api/v1/status", json_kind, b"{}")
    box.observe_api("/api/v1/queue/retry as text", "POST", "/api/v1/queue/retry", [("content-type", "text/plain")], b"{}")
    for action in ("retry", "drop", "pause", "resume", "nothing"):
        path = f"/api/v1/queue/{action}"
        for what, body in (("no JSON", b"{"), ("nothing", b"{}"), ("no queue", b'{"outlet": "none", "seq": 1}'),
                           ("no item", b'{"outlet": "upload/away", "seq": 999999}'), ("too large", b" " * 70000)):
            box.observe_api(f"{path}, {what}", "POST", path, json_kind, body)
        foreign = [*json_kind, ("origin", "http://evil.example")]
        box.observe_api(f"{path} of another page", "POST", path, foreign, b'{"outlet": "upload/away", "seq": 1}')


def use_queues(box):
    """What an operator does to the queues."""
    box.ours("status")
    box.ours("status", "--json")
    for queue in ("upload/away", "upload/strict", "mqtt", "none"):
        box.ours("queue", "list", "--queue", queue)
        box.ours("queue", "list", "--queue", queue, "--json", "--limit", "3")
        box.ours("queue", "list", "--queue", queue, "--dead")
    for queue, state in (("upload/away", "waiting"), ("upload/strict", "dead")):
        items = box.json(f"/api/v1/queue/items?outlet={queue.replace('/', '%2F')}&state={state}")["items"]
        box.command("queue", "show", "--queue", queue, items[0]["seq"], "--config", box.config, name=f"queue show {queue}")
    box.ours("queue", "list")
    box.ours("queue", "retry", "--queue", "upload/strict", "--all-dead", "--dry-run")
    box.ours("queue", "retry", "--queue", "upload/strict", "--all-dead")
    box.ours("queue", "drop", "--queue", "upload/away", "--waiting")
    box.ours("queue", "drop", "--queue", "upload/away", "--waiting", "--camera", "yard", "--kind", "clip", "--dry-run")
    box.ours("queue", "drop", "--queue", "upload/away", "--waiting", "--camera", "yard", "--kind", "clip", "--yes")
    box.ours("queue", "drop", "--queue", "upload/away", "--yes")
    box.ours("queue", "pause", "--queue", "upload/away")
    box.ours("queue", "pause", "--queue", "mqtt")
    box.ours("status")
    box.ours("queue", "resume", "--queue", "upload/away")


def send_commands(box):
    """By MQTT; each is answered."""
    commands = [("camera/yard/detect/set", "OFF"), ("camera/yard/detect/set", "ON"), ("camera/yard/record/set", "OFF"),
                ("camera/yard/record/set", "ON"), ("camera/yard/override/set", '{"detect":"off","for":"1s"}'),
                ("camera/yard/override/set", "AUTO"), ("camera/yard/override/set", '{"detect":"maybe"}'),
                ("camera/yard/snapshot/set", "NOW"), ("camera/dark/snapshot/set", "NOW"), ("camera/none/detect/set", "ON"),
                ("camera/yard/detect/set", "maybe"), ("upload/away/paused/set", "ON"), ("upload/away/paused/set", "OFF"),
                ("upload/none/paused/set", "ON"), ("nothing/set", "ON")]
    for topic, payload in commands:
        before = sum("/answer" in topic for topic in box.broker.topics())
        box.broker.publish(f"outpost/box1/{topic}", payload)
        if topic != "nothing/set":
            box.wait_for(f"an answer to {topic}", lambda: sum("/answer" in topic for topic in box.broker.topics()) > before)


def kill_in_an_event(box):
    box.wait_for("an open event", lambda: box.events("open"))
    box.process.kill()
    box.process.wait()


def observe_files(box):
    """Names, JSON, and what video is."""
    for place in ("box", "cloud", "sealed"):
        top = box.home / place
        for path in sorted(top.rglob("*")):
            name = f"{place}/{path.relative_to(top)}"
            if "index" in path.relative_to(top).parts[:1] and len(path.relative_to(top).parts) > 1:
                continue
            # The names of files of tables are times and numbers.
            shown = re.sub(r"[^/]*\.parquet", "N.parquet", name)
            about = path.lstat()
            box.facts.add("files", f"{shown}: {stat.filemode(about.st_mode)}")
            if path.suffix in (".json", ".jsonl"):
                for line in path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]:
                    box.facts.body("files", shown, "json", line.encode())
            elif path.suffix == ".mp4" and about.st_size:
                probe = ["ffprobe", "-v", "error", "-show_entries", "format=format_name:stream=codec_name,codec_tag_string,"
                         "profile,width,height,pix_fmt,time_base", "-of", "csv", path]
                done = subprocess.run(probe, capture_output=True, text=True)
                box.facts.add("files", f"{shown}: {done.stdout.strip()!r} {done.stderr.strip()!r}")
            elif path.suffix == ".jpg":
                done = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height,pix_fmt",
                                       "-of", "csv", path], capture_output=True, text=True)
                box.facts.add("files", f"{shown}: {done.stdout.strip()!r}")
            elif path.suffix == ".age":
                box.facts.add("files", f"{shown}: {path.read_bytes()[:21]}")
            elif path.suffix == ".parquet":
                observe_table(box, shown, path)


def observe_table(box, name, path):
    try:
        import duckdb
    except ImportError:
        return
    for column, kind, *_ in duckdb.sql(f"DESCRIBE SELECT * FROM read_parquet('{path}', hive_partitioning = false)").fetchall():
        box.facts.add("files", f"{name}: {column} {kind}")
    for row in duckdb.sql(f"SELECT key, value FROM parquet_kv_metadata('{path}')").fetchall():
        box.facts.add("files", f"{name}: {row}")


def look_offline(box):
    """Commands that need no daemon."""
    commands = ("run", "check", "demo", "probe", "replay", "detect", "status", "queue", "unseal", "store")
    of_queues = [("queue", name) for name in ("list", "show", "retry", "drop", "pause", "resume")]
    of_store = [("store", name) for name in ("check", "rebuild", "adopt", "stats")]
    for name in [(), *((name,) for name in commands), *of_queues, *of_store]:
        box.command(*name, "--help")
    box.command("--version")
    box.command("nothing")
    box.ours("check")
    box.ours("check", "--json")
    wrong = box.home / "wrong.toml"
    wrong.write_text(box.config.read_text().replace('segment = "5s"', 'segmnt = "5s"').replace("[web]", "[wep]"))
    box.command("check", "--config", wrong)
    box.command("check", "--json", "--config", wrong)
    box.command("run", "--config", wrong)
    box.command("check", "--config", box.home / "none.toml")
    pictures = sorted((REPO / "tests/fixtures/pictures").glob("*.jpg"))
    box.command("detect", "--model-dir", REPO / "models", *pictures[:2])
    box.command("probe", f"replay:{box.home.parent / 'lamp.mp4'}")
    box.ours("store", "check", "--deep")
    box.ours("store", "stats")
    box.ours("status")


def run(program, home, clip):
    """Gives the facts of one run."""
    box = Box(program, home, clip)
    try:
        box.start()
        box.wait_for("events that are over", lambda: len(box.events("ended")) >= 2 and len(box.events("ended", "gate")) >= 2)
        box.wait_for("files that were given up", lambda: box.outlet("upload/strict").get("dead_letters"))
        box.wait_for("tables in the cloud", lambda: list((home / "cloud").rglob("*.parquet")))
        read_api(box)
        use_queues(box)
        send_commands(box)
        kill_in_an_event(box)
        box.start()
        box.wait_for("an interrupted event", lambda: box.events("interrupted"))
        over = len(box.events("ended"))
        box.wait_for("an event of this run", lambda: len(box.events("ended")) > over)
        read_api(box)
        box.facts.add("command line", f"a stop: exit code {end(box.process)}")
        box.process = None
        look_offline(box)
        observe_files(box)
        # The sidecars are all that is left.
        shutil.rmtree(home / "box/index")
        box.start()
        box.wait_for("an index that is filled", lambda: box.json("/api/v1/status")["events_total"] >= over)
        box.wait_for("an event of this run", lambda: len(box.events("ended")) > over)
        box.facts.add("command line", f"another stop: exit code {end(box.process)}")
        box.process = None
        box.observe_log()
    finally:
        if box.process and box.process.poll() is None:
            box.process.kill()
            box.process.wait()
        box.broker.stop()
        box.hook.stop()
        box.store.stop()
    box.broker.observe(box.facts)
    box.hook.observe("webhook", box.facts)
    box.store.observe("WebDAV", box.facts)
    return box.facts
