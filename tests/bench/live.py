#!/usr/bin/env python3
"""What viewers of live video cost: runs the daemon on one replayed camera of 4 Mbit/s, with 0, 1 and 2 viewers in turns,
and prints how the processor time with viewers compares with that without.

usage: live.py PROGRAM [--rounds N] [--seconds S]
"""

import argparse
import pathlib
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time

from cameras import cpu_seconds, free_port, metric_sum, wait_ready

CAMERA = "yard"


def clip(folder):
    path = f"{folder}/yard.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=1280x720:rate=25", "-t", "16",
                    "-c:v", "libx264", "-preset", "veryfast", "-bf", "0", "-g", "50", "-pix_fmt", "yuv420p",
                    "-b:v", "4M", "-minrate", "4M", "-maxrate", "4M", "-bufsize", "4M",
                    "-x264-params", "nal-hrd=cbr", path], check=True)
    return path


def config(folder, port):
    path = pathlib.Path(folder) / "outpost.toml"
    path.write_text(f'[device]\nid = "bench"\n[storage]\npath = "{folder}/box"\n[web]\nlisten = "127.0.0.1:{port}"\n'
                    f'[camera.{CAMERA}.source]\nurl = "replay:{clip(folder)}"\nrepeat = true\n'
                    f'[camera.{CAMERA}.detect]\nenabled = false\n[camera.{CAMERA}.motion]\nenabled = false\n')
    return path


class Viewer(threading.Thread):
    """A WebSocket that takes everything and looks at nothing."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.bytes = 0
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.sendall((f"GET /api/v1/cameras/{CAMERA}/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
                             "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                             "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode())
        head = self.socket.recv(12)
        if not head.startswith(b"HTTP/1.1 101"):
            raise SystemExit(f"no live view: {head + self.socket.recv(2000)}")
        self.start()

    def run(self):
        try:
            while data := self.socket.recv(1 << 20):
                self.bytes += len(data)
        except OSError:
            pass

    def close(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


def measure(process, port, viewers, seconds):
    """Processor seconds a second with so many viewers, and bytes that each took."""
    looking = [Viewer(port) for _ in range(viewers)]
    time.sleep(1)
    began, cpu = time.monotonic(), cpu_seconds(process.pid)
    time.sleep(seconds)
    spent = (cpu_seconds(process.pid) - cpu) / (time.monotonic() - began)
    for viewer in looking:
        viewer.close()
    return spent, [viewer.bytes for viewer in looking]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=10)
    a = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        process = subprocess.Popen([a.program, "run", "--config", config(folder, port), "--log-level", "error"])
        try:
            wait_ready(port, process)
            while metric_sum(port, "outpost_packets_total") < 60:
                time.sleep(0.1)
            spent = {viewers: [] for viewers in (0, 1, 2)}
            taken = []
            for _ in range(a.rounds):
                for viewers in spent:
                    cpu, read = measure(process, port, viewers, a.seconds)
                    spent[viewers].append(cpu)
                    taken += read
            dropped = metric_sum(port, "outpost_dropped_total")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    none, one, two = (sorted(spent[viewers])[len(spent[viewers]) // 2] for viewers in (0, 1, 2))
    print(f"one camera, {a.rounds} rounds of {a.seconds} s, medians; each viewer took {min(taken) / 1e6:.1f} MB or more")
    print(f"cpu with 1 viewer / without: {one / none:.2f}")
    print(f"cpu with 2 viewers / without: {two / none:.2f}")
    print(f"dropped {dropped:.0f}")


if __name__ == "__main__":
    main()
