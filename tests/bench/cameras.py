#!/usr/bin/env python3
"""What several cameras cost: runs the daemon on replayed cameras, once with and once without the motion gate,
one after the other, and prints CPU, memory and frame rates of both and their ratio.

usage: cameras.py PROGRAM [--cameras N] [--seconds S]
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def idle_clip(folder):
    """A camera at which nothing happens, with a sensor's noise."""
    clip = f"{folder}/idle.mp4"
    picture = ROOT / "tests/fixtures/pictures/giraffe.jpg"
    subprocess.run(["ffmpeg", "-v", "error", "-loop", "1", "-i", picture, "-t", "20", "-r", "10",
                    "-vf", "scale=640:480,noise=alls=6:allf=t", "-c:v", "libx264", "-preset", "veryfast",
                    "-bf", "0", "-g", "20", "-pix_fmt", "yuv420p", clip], check=True)
    return clip


def config(folder, port, cameras, gated):
    """Of four cameras one sees people all the time, one leaves in the wind, and two nothing."""
    idle = idle_clip(folder)
    clips = [ROOT / "tests/fixtures/people.mp4", idle, ROOT / "tests/fixtures/leaves.mp4", idle]
    text = (f'[device]\nid = "bench"\n[storage]\npath = "{folder}/box"\n[web]\nlisten = "127.0.0.1:{port}"\n'
            f'[archive]\ntime_hold = "0s"\n[infer]\nmodel_dir = "{ROOT}/models"\n[upload.cloud]\nurl = "file://{folder}/cloud"\n')
    for i in range(cameras):
        text += (f'[camera.c{i}.source]\nurl = "replay:{clips[i % 4]}"\nrepeat = true\n'
                 f'[camera.c{i}.motion]\nenabled = {"true" if gated else "false"}\n'
                 f'[camera.c{i}.detect]\nlabels = ["person"]\n')
    path = pathlib.Path(folder) / "outpost.toml"
    path.write_text(text)
    return path


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def status(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/status", timeout=5) as answer:
        return json.load(answer)


def metric_sum(port, name):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def wait_ready(port, process):
    for _ in range(600):
        try:
            status(port)
            return
        except OSError:
            if process.poll() is not None:
                raise SystemExit("the daemon ended: see its message above")
            time.sleep(0.1)
    raise SystemExit("the daemon did not become ready within 60 s")


def run(program, cameras, seconds, gated):
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        path = config(folder, port, cameras, gated)
        process = subprocess.Popen([program, "run", "--config", path, "--log-level", "error"])
        try:
            wait_ready(port, process)
            began, cpu = time.monotonic(), cpu_seconds(process.pid)
            peak = 0.0
            while time.monotonic() - began < seconds:
                time.sleep(1)
                peak = max(peak, rss_mib(process.pid))
            span = time.monotonic() - began
            box = status(port)
            return {
                "cpu_percent_of_a_core": round(100 * (cpu_seconds(process.pid) - cpu) / span, 1),
                "rss_peak_mib": round(peak, 1),
                "rss_end_mib": round(rss_mib(process.pid), 1),
                "fps": [round(c["fps"], 1) for c in box["cameras"]],
                "detected_fps_all": round(metric_sum(port, "outpost_frames_detected_total") / span, 2),
                "dropped": metric_sum(port, "outpost_dropped_total"),
                "events": box["events_total"],
            }
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=120)
    a = parser.parse_args()
    gated, ungated = (run(a.program, a.cameras, a.seconds, g) for g in (True, False))
    print(f"{a.cameras} cameras for {a.seconds} s each")
    print("gate on  ", json.dumps(gated))
    print("gate off ", json.dumps(ungated))
    ratio = gated["cpu_percent_of_a_core"] / max(ungated["cpu_percent_of_a_core"], 0.1)
    print(f"cpu on / off: {ratio:.2f}")


if __name__ == "__main__":
    main()
