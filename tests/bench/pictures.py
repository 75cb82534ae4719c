#!/usr/bin/env python3
"""Photos per second on one core: hash, metadata and both thumbnails, beside sharp and libvips.

usage: pictures.py PROGRAM [--sharp MODULES] [--photos N] [--rounds N]

All work on the same files in turn, on the same core. sharp hashes, and scales in numbers instead of light. libvips (vipsthumbnail) makes the same two sizes, in linear
light and without; it reads no metadata and hashes nothing, and starts once for all files as the inspector does.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

SIZES = {"a phone's (4000x3000)": (4000, 3000), "a camera's (6000x4000)": (6000, 4000), "small (1600x1200)": (1600, 1200)}


def make(folder, size, count):
    """Photos with detail, as cameras give: noise over gradients."""
    from PIL import Image, ImageChops

    width, height = size
    base = Image.merge("RGB", [Image.linear_gradient("L").resize(size), Image.radial_gradient("L").resize(size),
                               Image.linear_gradient("L").rotate(90).resize(size)])
    noise = Image.effect_noise((width // 2, height // 2), 40).resize(size).convert("RGB")
    picture = ImageChops.overlay(base, noise)
    paths = []
    for number in range(count):
        path = folder / f"{width}-{number}.jpg"
        ImageChops.offset(picture, number * 37, number * 53).save(path, quality=90, subsampling=2)
        paths.append(path)
    return paths


def ours(program, paths, folder):
    process = subprocess.Popen([program, "inspect-pictures"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    begun = time.perf_counter()
    for path in paths:
        hashlib.sha256(path.read_bytes()).hexdigest()
        question = {"path": str(path), "name": path.name, "folder": str(folder)}
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        answer = json.loads(process.stdout.readline())
        assert "unreadable" not in answer["inspected"]["facts"], answer
    took = time.perf_counter() - begun
    process.communicate()
    return len(paths) / took


def vips(paths, folder, linear):
    begun = time.perf_counter()
    for size in (1440, 256):
        command = ["vipsthumbnail", *map(str, paths), "--size", f"{size}x{size}", "-o", f"{folder}/%s-{size}.jpg[Q=80]"]
        subprocess.run(command + (["--linear"] if linear else []), check=True)
    return len(paths) / (time.perf_counter() - begun)


def sharp(modules, paths, folder):
    script = Path(__file__).with_name("sharp") / "thumbnails.mjs"
    command = ["node", str(script), modules, str(folder), *map(str, paths)]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--sharp", metavar="MODULES", help="folder of node modules with sharp")
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["VIPS_CONCURRENCY"] = "1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as scratch:
        for name, size in SIZES.items():
            paths = make(Path(scratch), size, arguments.photos)
            out = Path(scratch, "out")
            out.mkdir(exist_ok=True)
            rates = {"outpost": [], "vips": [], "vips --linear": []}
            if arguments.sharp:
                rates["sharp"] = []
            for _ in range(arguments.rounds):
                rates["outpost"].append(ours(arguments.program, paths, out))
                if arguments.sharp:
                    rates["sharp"].append(sharp(arguments.sharp, paths, out))
                rates["vips"].append(vips(paths, out, linear=False))
                rates["vips --linear"].append(vips(paths, out, linear=True))
            middle = {who: statistics.median(rate) for who, rate in rates.items()}
            said = ", ".join(f"{who} {rate:.1f}" for who, rate in middle.items())
            ratios = ", ".join(f"{middle['outpost'] / middle[who]:.2f} of {who}" for who in list(middle)[1:])
            print(f"{name}: photos a second: {said}; outpost has {ratios}", flush=True)


main()
