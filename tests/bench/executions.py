#!/usr/bin/env python3
"""Pictures that programs send: how long until the result, how many a second, how many for each second of a core.

The same JPEGs go by turns to the daemon and to a plain server (FastAPI, Pillow, onnxruntime: plain_server.py) with the same model.
The daemon is asked in two ways: by the Open Inference Protocol, which keeps nothing, as the plain server does, and by executions,
whose picture and result are on the disk before they are answered.

Then cameras are measured without and with a batch beside them: the packets that they lost, and how often their pictures were
looked at.

usage: executions.py PROGRAM PYTHON [--pictures N] [--rounds N] [--clients N] [--cameras N] [--seconds S]
"""

import argparse
import http.client
import json
import os
import pathlib
import signal
import statistics
import struct
import subprocess
import tempfile
import threading
import time

from cameras import ROOT, cpu_seconds, free_port, metric_sum, wait_ready

HERE = pathlib.Path(__file__).resolve().parent
PICTURES = [path.read_bytes() for path in sorted((ROOT / "tests/fixtures/pictures").glob("*.jpg"))]
PIPELINE = """
name = "bench"
[[steps]]
id = "find"
type = "detect@1"
inputs.image = "$inputs.image"
parameters = { model = "nanodet-g-320", min_score = 0.3 }
[outputs]
objects = "$steps.find.objects"
"""


class Server:
    """A process that is asked over HTTP."""

    def __init__(self, command, port, **options):
        self.port = port
        self.process = subprocess.Popen(command, **options)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)


def daemon(program, folder, cameras=""):
    port = free_port()
    path = pathlib.Path(folder, "outpost.toml")
    path.write_text(f'[device]\nid = "bench"\n[storage]\npath = "{folder}/box"\n[web]\nlisten = "127.0.0.1:{port}"\n'
                    f'[load]\nenabled = false\n[infer]\nmodel_dir = "{ROOT}/models"\n{cameras}')
    server = Server([program, "run", "--config", path, "--log-level", "error"], port)
    wait_ready(port, server.process)
    connection = server.connect()
    connection.request("POST", "/api/v1/pipelines", PIPELINE, {"content-type": "application/toml"})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status in (200, 201), text
    return server


def plain(python):
    port = free_port()
    command = [python, "-m", "uvicorn", "plain_server:app", "--port", str(port), "--log-level", "error", "--no-access-log"]
    server = Server(command, port, cwd=HERE)
    for _ in range(600):
        try:
            ask_plain(server.connect(), PICTURES[0])
            return server
        except OSError:
            if server.process.poll() is not None:
                raise SystemExit("the plain server ended: see its message above")
            time.sleep(0.1)
    raise SystemExit("the plain server did not become ready within 60 s")


def answered(connection, path, body, headers):
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, (answer.status, text[:500])
    return text


def ask_plain(connection, picture):
    return json.loads(answered(connection, "/detect", picture, {"content-type": "image/jpeg"}))["objects"]


def ask_protocol(connection, picture):
    """By the binary extension: the length before the bytes."""
    body = struct.pack("<I", len(picture)) + picture
    tensor = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(body)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    text = answered(connection, "/v2/models/nanodet-g-320/infer", head + body,
                    {"Inference-Header-Content-Length": str(len(head)), "content-type": "application/octet-stream"})
    return json.loads(text)["outputs"]


def ask_execution(connection, picture):
    headers = {"content-type": "image/jpeg", "prefer": "wait=60"}
    execution = json.loads(answered(connection, "/api/v1/executions?pipeline=bench", picture, headers))["executions"][0]
    assert execution["state"] == "finished", execution
    return execution


def one_by_one(server, ask, count):
    connection, times = server.connect(), []
    for number in range(count):
        begun = time.perf_counter()
        ask(connection, PICTURES[number % len(PICTURES)])
        times.append(1000 * (time.perf_counter() - begun))
    return times


def at_once(server, ask, count, clients):
    """Pictures a second, and for each second of a core."""
    def work(numbers):
        connection = server.connect()
        for number in numbers:
            ask(connection, PICTURES[number % len(PICTURES)])

    threads = [threading.Thread(target=work, args=[range(client, count, clients)]) for client in range(clients)]
    begun, cpu = time.perf_counter(), cpu_seconds(server.process.pid)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took, used = time.perf_counter() - begun, cpu_seconds(server.process.pid) - cpu
    return count / took, count / used


def percentile(times, share):
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def compare(program, python, pictures, rounds, clients):
    with tempfile.TemporaryDirectory() as folder:
        box, other = daemon(program, folder), plain(python)
        try:
            ways = {"plain server": (other, ask_plain), "outpost, protocol": (box, ask_protocol), "outpost, execution": (box, ask_execution)}
            for server, ask in ways.values():
                one_by_one(server, ask, len(PICTURES))
            times, rates, cores = ({way: [] for way in ways} for _ in range(3))
            for _ in range(rounds):
                for way, (server, ask) in ways.items():
                    times[way] += one_by_one(server, ask, pictures)
                    rate, core = at_once(server, ask, pictures, clients)
                    rates[way].append(rate)
                    cores[way].append(core)
            bare = [1000 * step for step in steps_of(box, pictures)]
        finally:
            box.stop()
            other.stop()
    for way in ways:
        print(f"{way}: p50 {percentile(times[way], 0.5):.1f} ms, p99 {percentile(times[way], 0.99):.1f} ms; with {clients} at once "
              f"{statistics.median(rates[way]):.1f} pictures a second, {statistics.median(cores[way]):.1f} for each second of a core")
    print(f"the model alone, in an execution: p50 {percentile(bare, 0.5):.1f} ms; so what is around it takes "
          f"{percentile(times['outpost, execution'], 0.5) - percentile(bare, 0.5):.1f} ms")
    for way in list(ways)[1:]:
        core = statistics.median(cores[way]) / statistics.median(cores["plain server"])
        rate = statistics.median(rates[way]) / statistics.median(rates["plain server"])
        print(f"{way} beside the plain server: {core:.2f} times the pictures per core, {rate:.2f} times the pictures a second")


def steps_of(box, pictures):
    connection = box.connect()
    for number in range(pictures):
        execution = ask_execution(connection, PICTURES[number % len(PICTURES)])
        yield next(step["took_ms"] for step in execution["steps"] if step["step"] == "find") / 1000


def beside_cameras(program, cameras, seconds):
    """What cameras lose while a batch runs beside them."""
    clip = ROOT / "tests/fixtures/people.mp4"
    text = "".join(f'[camera.c{n}.source]\nurl = "replay:{clip}"\nrepeat = true\n[camera.c{n}.detect]\nlabels = ["person"]\n'
                   f'[camera.c{n}.record]\nmode = "continuous"\n' for n in range(cameras))
    with tempfile.TemporaryDirectory() as folder:
        box = daemon(program, folder, text)
        try:
            time.sleep(10)
            over, done = threading.Event(), []

            def batch():
                connection = box.connect()
                while not over.is_set():
                    ask_execution(connection, PICTURES[len(done) % len(PICTURES)])
                    done.append(1)

            def measure():
                counters = ["outpost_packets_total", "outpost_frames_detected_total", "outpost_dropped_total"]
                before = [metric_sum(box.port, counter) for counter in counters]
                time.sleep(seconds)
                return [metric_sum(box.port, counter) - was for counter, was in zip(counters, before)]

            alone = measure()
            clients = [threading.Thread(target=batch) for _ in range(4)]
            for client in clients:
                client.start()
            beside = measure()
            over.set()
            for client in clients:
                client.join()
        finally:
            box.stop()
    print(f"{cameras} cameras for {seconds} s alone: {alone[0]:.0f} packets, {alone[1]:.0f} pictures looked at, {alone[2]:.0f} dropped")
    print(f"beside a batch of {len(done)} pictures: {beside[0]:.0f} packets, {beside[1]:.0f} pictures looked at "
          f"({100 * beside[1] / max(alone[1], 1):.0f} %), {beside[2]:.0f} dropped")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("python")
    parser.add_argument("--pictures", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--seconds", type=int, default=60)
    arguments = parser.parse_args()
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    compare(arguments.program, arguments.python, arguments.pictures, arguments.rounds, arguments.clients)
    beside_cameras(arguments.program, arguments.cameras, arguments.seconds)


if __name__ == "__main__":
    main()
