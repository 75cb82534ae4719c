#!/usr/bin/env python3
"""Compares the public behaviour of two programs: both go through the same scripted run, and what differs is printed.

usage: behaviour.py OLD NEW [--runs N] [--keep FOLDER] [--accept FILE]

What is compared: answers of the API with their headers, topics and payloads by MQTT, requests to a webhook, files on the
disk, in the cloud and sealed, output and exit codes of the command line, names of metrics, and messages of the log. Ids,
times, ports, sizes and measured numbers are left out of the comparison. Some facts come in one run and not in the next one
(a field that is there for a second): --runs puts those of several together, and OLD compared with itself shows what is left.
A file of --accept has differences, one to a line as they are printed, that are known.

Needs ffmpeg, ffprobe, mosquitto and mosquitto_sub. Ends with 1 when there are differences.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile

import scenario
from facts import Facts, differences


def observe(program, folder, runs, side):
    whole = Facts({})
    for run in range(runs):
        home = folder / f"{side}-{run}"
        home.mkdir(parents=True)
        whole.merge(scenario.run(program, home, folder / "lamp.mp4"))
        print(f"{side}: run {run + 1} of {runs}, {sum(map(len, whole.sections.values()))} facts", file=sys.stderr)
    return whole


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=pathlib.Path)
    parser.add_argument("new", type=pathlib.Path)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--keep", type=pathlib.Path, help="folder in which everything stays")
    parser.add_argument("--accept", type=pathlib.Path)
    given = parser.parse_args()
    known = set(given.accept.read_text().splitlines()) if given.accept else set()
    folder = given.keep.resolve() if given.keep else pathlib.Path(tempfile.mkdtemp(prefix="outpost-compare-"))
    folder.mkdir(parents=True, exist_ok=True)
    scenario.make_clip(folder / "lamp.mp4")
    old = observe(given.old.resolve(), folder, given.runs, "old")
    new = observe(given.new.resolve(), folder, given.runs, "new")
    number = 0
    for section, only_old, only_new in differences(old, new):
        lines = [f"- {fact}" for fact in only_old] + [f"+ {fact}" for fact in only_new]
        lines = [line for line in lines if line not in known]
        if lines:
            print(f"\n{section}", *lines, sep="\n")
        number += len(lines)
    same = sum(len(facts & new.sections[section]) for section, facts in old.sections.items())
    print(f"\n{same} facts are the same, {number} differ")
    if not given.keep:
        shutil.rmtree(folder)
    sys.exit(1 if number else 0)


if __name__ == "__main__":
    main()
