#!/usr/bin/env python3
"""What it costs to drain a backlog: the daemon and rclone send the same files to the same S3 server, one after the
other, each on a server that was started afresh; prints time and processor of both and their ratios.

usage: drain.py PROGRAM WEED [--small N] [--large N] [--large-mib M] [--parallel P]

rclone only copies. The daemon compares each file with its recorded hash, and what the server says of it with the file's
MD5, and takes each item out of its durable queue.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from cameras import ROOT, cpu_seconds, free_port, status, wait_ready  # noqa: E402

KEY, SECRET, BUCKET = "ak-bench", "s3cret-bench", "cams"
# What others have set for Amazon's own service is not for this one.
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RCLONE_"))}
CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Server:
    """SeaweedFS with an empty bucket."""

    def __init__(self, weed, folder, name):
        home = pathlib.Path(folder) / name
        home.mkdir()
        identities = home / "s3.json"
        identities.write_text(json.dumps({"identities": [{
            "name": "bench", "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}))
        names = ["s3", "s3.port.grpc", "master", "master.port.grpc", "volume", "volume.port.grpc", "filer",
                 "filer.port.grpc"]
        ports = {name: free_port() for name in names}
        flags = [f"-{name if 'port' in name else name + '.port'}={port}" for name, port in ports.items()]
        self.port = ports["s3"]
        self.log = (home / "log").open("wb")
        self.process = subprocess.Popen(
            [weed, "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={home}", "-s3", f"-s3.config={identities}",
             "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-master.volumeSizeLimitMB=256",
             "-volume.max=200", *flags], stdout=self.log, stderr=self.log)

    def rclone(self, *arguments):
        return ["rclone", "--config", "/dev/null", "--s3-provider", "Other", "--s3-access-key-id", KEY,
                "--s3-secret-access-key", SECRET, "--s3-endpoint", f"http://127.0.0.1:{self.port}",
                "--s3-force-path-style", *arguments]

    def make_bucket(self):
        for _ in range(120):
            if subprocess.run(self.rclone("mkdir", f":s3:{BUCKET}"), env=PLAIN, capture_output=True).returncode == 0:
                return
            time.sleep(0.5)
        raise SystemExit("the S3 server did not come up")

    def objects(self):
        listed = subprocess.run(self.rclone("size", "--json", f":s3:{BUCKET}"), env=PLAIN, check=True, capture_output=True)
        answer = json.loads(listed.stdout)
        return answer["count"], answer["bytes"]

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def ulid(number):
    """Ids of a morning, one second apart."""
    value = ((1_780_000_000_000 + 1000 * number) << 80) | number
    return "".join(CROCKFORD[(value >> (5 * i)) & 31] for i in reversed(range(26)))


def write(path, content):
    path.write_bytes(content)
    return {"file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def make_backlog(box, small, large, large_mib):
    """Events with three small files each; the first `large` have a clip besides."""
    dice = random.Random(7)
    for number in range(small // 3):
        folder = box / "archive/yard" / ulid(number)
        folder.mkdir(parents=True)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(1_780_000_000 + number))
        moment = {"wall": at, "mono_ns": 1 + number, "boot_id": "bench", "time_quality": "synchronised"}
        event = {"version": 1, "id": folder.name, "device": "bench", "camera": "yard", "rule": "person",
                 "kind": "object", "state": "ended", "label": "person", "score": 0.5, "count": 1, "track": number,
                 "zones": [], "start": moment, "end": moment, "filed": at[:10].replace("-", "/"),
                 "pictures": [write(folder / name, dice.randbytes(size))
                              for name, size in (("thumb.jpg", 8_000), ("snapshot.jpg", 40_000))]}
        if number < large:
            clip = write(folder / "clip.mp4", dice.randbytes(large_mib << 20))
            event["clip"] = clip | {"start": moment, "duration_s": 10.0, "codec": "H.264", "width": 640, "height": 480}
        (folder / "event.json").write_text(json.dumps(event))


def drain(program, server, folder, box, parallel):
    """The daemon, from the moment that its queue is full."""
    port = free_port()
    secret = pathlib.Path(folder) / "secret"
    secret.write_text(SECRET)
    config = pathlib.Path(folder) / "outpost.toml"
    config.write_text(
        f'[device]\nid = "bench"\n[storage]\npath = "{box}"\n[web]\nlisten = "127.0.0.1:{port}"\n'
        f'[infer]\nmodel_dir = "{ROOT}/models"\n[upload.cloud]\nurl = "s3://{BUCKET}"\nallow_http = true\n'
        f'endpoint = "http://127.0.0.1:{server.port}"\naccess_key_id = "{KEY}"\nparallel = {parallel}\n'
        f'secret_access_key_file = "{secret}"\n[camera.none]\n[camera.none.source]\n'
        f'url = "rtsp://127.0.0.1:9/none"\n[camera.none.detect]\nenabled = false\n')
    pathlib.Path(box, "switches.json").write_text('{"paused": ["upload/cloud"]}')
    process = subprocess.Popen([program, "run", "--config", config, "--log-level", "error"])

    def queued():
        return status(port)["outlets"][0]["queued_items"]

    def command(action):
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/api/v1/queue/{action}", b'{"outlet": "upload/cloud"}',
            {"content-type": "application/json"})
        urllib.request.urlopen(request, timeout=10).read()

    try:
        wait_ready(port, process)
        last = -1
        # The index is made from the archive first; nothing is sent meanwhile.
        while status(port)["store"]["state"] != "ok" or queued() != last or last <= 0:
            last = queued()
            time.sleep(2)
        began, cpu = time.monotonic(), cpu_seconds(process.pid)
        command("resume")
        while queued() > 0:
            time.sleep(0.2)
        return {"items": last, "seconds": round(time.monotonic() - began, 1),
                "cpu_seconds": round(cpu_seconds(process.pid) - cpu, 1)}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def copy(server, box, parallel):
    """rclone, with as many files at a time as the daemon has for small ones."""
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    copied = server.rclone("copy", "--transfers", str(2 * parallel), f"{box}/archive", f":s3:{BUCKET}")
    subprocess.run(copied, env=PLAIN, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(time.monotonic() - began, 1), "cpu_seconds": round(cpu, 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("weed")
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=20)
    parser.add_argument("--large-mib", type=int, default=20)
    parser.add_argument("--parallel", type=int, default=4)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        box = pathlib.Path(folder) / "box"
        make_backlog(box, a.small, a.large, a.large_mib)
        figures = {}
        for name in ("rclone", "outpost"):
            server = Server(a.weed, folder, name)
            try:
                server.make_bucket()
                figures[name] = (copy(server, box, a.parallel) if name == "rclone"
                                 else drain(a.program, server, folder, box, a.parallel))
                count, size = server.objects()
                print(f"{name:8}", json.dumps(figures[name]), f"{count} objects, {size / 1e6:.0f} MB", flush=True)
            finally:
                server.stop()
        for key in ("seconds", "cpu_seconds"):
            print(f"outpost / rclone, {key}: {figures['outpost'][key] / max(figures['rclone'][key], 0.1):.2f}")


if __name__ == "__main__":
    main()
