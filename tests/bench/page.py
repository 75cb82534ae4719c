#!/usr/bin/env python3
"""What the page and the API cost on a box with a large index: runs each program on a copy of the index, and asks both the
same by turns. Prints requests a second, p50 and p99, and how NEW compares with OLD.

usage: page.py INDEX NEW [OLD] [--rounds N] [--requests N] [--idle SECONDS]

INDEX is a folder with the index of a month of sixteen cameras (store::tests::month). The first paint is measured by
Chromium where OUTPOST_NODE_MODULES names its driver.
"""

import argparse
import gzip
import http.client
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.parse
from datetime import datetime, timedelta

from cameras import free_port, wait_ready

CAMERAS = 16
MONTH = timedelta(days=31)
HERE = pathlib.Path(__file__).parent


def config(folder, port):
    cameras = "".join(f'[camera.cam{n:02}.source]\nurl = "rtsp://127.0.0.1:9/{n}"\n[camera.cam{n:02}.detect]\nenabled = false\n'
                      for n in range(1, CAMERAS + 1))
    path = folder / "outpost.toml"
    # Nothing of what the index names lies on the disk: it is neither to be evicted nor to be kept small.
    path.write_text(f'[device]\nid = "box"\n[storage]\npath = "{folder}/box"\n[retention]\nmax_bytes = "1000 TiB"\nmin_free = 1\n'
                    f'[load]\nenabled = false\n[web]\nlisten = "127.0.0.1:{port}"\n{cameras}')
    return path


class Box:
    """A program on a copy of the index."""

    def __init__(self, name, program, index, folder):
        self.name, self.folder, self.port = name, folder, free_port()
        (folder / "box").mkdir(parents=True)
        subprocess.run(["cp", "-r", "--reflink=auto", str(index), str(folder / "box/index")], check=True)
        command = [program, "run", "--config", config(folder, self.port), "--log-level", "error"]
        # Sixteen cameras that are away say so in the log, which is not what is looked for here.
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        began = time.monotonic()
        wait_ready(self.port, self.process)
        self.ready_s = time.monotonic() - began
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        self.times, self.sizes = {}, {}

    def get(self, path):
        self.connection.request("GET", path, headers={"Accept-Encoding": "identity"})
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise SystemExit(f"{self.name}: GET {path}: {answer.status} {body[:300]}")
        return body

    def prepare(self):
        """What is asked for depends on what there is: the newest event and its time."""
        page = json.loads(self.get("/api/v1/events?limit=50"))
        newest = page["events"][0]["event"]
        self.until = datetime.fromisoformat(newest["start"]["wall"][:19] + "+00:00")
        # An event of a fortnight ago: the list goes on behind it for a reader who scrolled that far.
        before = (self.until - MONTH / 2).isoformat().replace("+00:00", "Z")
        asked, self.pages = {"limit": 1, "until": before}, 0
        old = {"events": [], "next": None}
        # One answer looks at some thousand events; it says where the next one goes on.
        while not old["events"]:
            old = json.loads(self.get("/api/v1/events?" + urllib.parse.urlencode(asked)))
            self.pages += 1
            if not old["events"] and not old.get("next"):
                raise SystemExit(f"{self.name}: there is no event before {before}")
            asked["before"] = old.get("next")
        self.old = old["events"][0]["event"]["id"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(120)


def month(box, shift):
    """A month that no request asked for before, by whole days."""
    until = box.until - timedelta(days=shift)
    time_of = {"since": (until - MONTH).isoformat(), "until": until.isoformat()}
    return "/api/v1/timeline?" + urllib.parse.urlencode({name: text.replace("+00:00", "Z") for name, text in time_of.items()})


REQUESTS = {
    "status": lambda box, n: "/api/v1/status",
    "overview page": lambda box, n: "/",
    "events": lambda box, n: "/api/v1/events?limit=50",
    "events of camera, label": lambda box, n: f"/api/v1/events?limit=50&camera=cam{n % CAMERAS + 1:02}&label=dog",
    "events, deep": lambda box, n: f"/api/v1/events?limit=50&before={box.old}",
    "events, text": lambda box, n: "/api/v1/events?limit=50&text=courier",
    "timeline, month": lambda box, n: month(box, 0),
}
# Each is another month, so that nothing is kept of it.
COLD = "timeline, month, first"


def ask(box, name, path):
    began = time.monotonic()
    body = box.get(path)
    box.times.setdefault(name, []).append(time.monotonic() - began)
    box.sizes[name] = (len(body), len(gzip.compress(body, 6)))
    return body


def figures(times):
    times = sorted(times)
    at = lambda share: times[min(len(times) - 1, int(len(times) * share))] * 1000
    return len(times) / sum(times), at(0.5), at(0.99)


def report(boxes):
    print(f"{'':26}{'':6}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'bytes':>10}{'gzip':>9}")
    for name in [*REQUESTS, COLD]:
        of = {box.name: figures(box.times[name]) for box in boxes}
        for box in boxes:
            rate, p50, p99 = of[box.name]
            size, packed = box.sizes[name]
            print(f"{name:26}{box.name:6}{rate:9.1f}{p50:9.2f}{p99:9.2f}{size:10}{packed:9}")
        if len(boxes) == 2:
            ratio = [new / old for new, old in zip(of["new"], of["old"])]
            print(f"{name:26}{'ratio':6}" + "".join(f"{value:9.2f}" for value in ratio))


def paint(boxes, idle):
    if "OUTPOST_NODE_MODULES" not in os.environ:
        return
    command = ["node", str(HERE / "paint.mjs"), str(idle), *(f"{box.name}=http://127.0.0.1:{box.port}" for box in boxes)]
    subprocess.run(command, check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("index", type=pathlib.Path)
    parser.add_argument("new")
    parser.add_argument("old", nargs="?")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--idle", type=int, default=60)
    a = parser.parse_args()
    programs = {"new": a.new, **({"old": a.old} if a.old else {})}
    with tempfile.TemporaryDirectory(dir=a.index.parent) as scratch:
        boxes = []
        try:
            for name, program in programs.items():
                boxes.append(Box(name, program, a.index, pathlib.Path(scratch) / name))
                boxes[-1].prepare()
            for turn in range(a.rounds):
                for name, path in REQUESTS.items():
                    for box in boxes if turn % 2 == 0 else reversed(boxes):
                        # The first answer of a kind fills what is kept; how long that takes is measured for the timeline alone.
                        box.get(path(box, 0))
                        for n in range(a.requests):
                            ask(box, name, path(box, n))
                for box in boxes:
                    body = json.loads(ask(box, COLD, month(box, turn + 1)))
                    if body["left"] or len(body["cameras"]) != CAMERAS:
                        print(f"{box.name}: no time for {len(body['left'])} of the cameras within one request")
            load = " ".join(f"{value:.1f}" for value in os.getloadavg())
            events = json.loads(boxes[0].get("/api/v1/status"))["events_total"]
            print(f"{events} events, {a.rounds} rounds of {a.requests} requests, by turns; load of the machine {load}")
            print("ready after " + ", ".join(f"{box.name} {box.ready_s:.1f} s" for box in boxes))
            report(boxes)
            paint(boxes, a.idle)
        finally:
            for box in boxes:
                box.stop()


if __name__ == "__main__":
    main()
