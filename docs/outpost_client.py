#!/usr/bin/env python3
"""A small client of Outpost's API: lists events, fetches a clip, follows what happens. Python's own library alone.

    outpost_client.py list --camera gate --label person
    outpost_client.py clip EVENT_ID clip.mp4
    outpost_client.py follow --count 10
"""

import argparse
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request


class Problem(Exception):
    """What the box says against a request (RFC 9457). Programs branch on `code`."""

    def __init__(self, body):
        super().__init__(body["detail"])
        self.code = body["code"]


class Outpost:
    def __init__(self, url):
        self.url = url.rstrip("/")

    def open(self, path, query=None, headers=None, timeout=30):
        address = f"{self.url}/api/v1/{path}"
        if query:
            address += "?" + urllib.parse.urlencode(query, doseq=True)
        request = urllib.request.Request(address, headers=headers or {})
        try:
            return urllib.request.urlopen(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            if error.headers.get_content_type() == "application/problem+json":
                raise Problem(json.load(error)) from None
            raise

    def events(self, **filters):
        """All events that match, newest first, page by page. Lists give several values: `camera=["a", "b"]`."""
        while True:
            with self.open("events", filters) as answer:
                page = json.load(answer)
            yield from page["events"]
            if "next" not in page:
                return
            # Also where the box had no time to search to the end: the next request goes on.
            filters["before"] = page["next"]

    def save(self, event_id, file, path):
        """A file of an event."""
        place = f"events/{urllib.parse.quote(event_id)}/{urllib.parse.quote(file)}"
        with self.open(place) as answer, open(path, "wb") as saved:
            while chunk := answer.read(1 << 16):
                saved.write(chunk)

    def follow(self):
        """What happens, as (name, data), for ever: after a loss of the connection it goes on where it was."""
        last = None
        while True:
            try:
                # The box sends something every 15 s.
                with self.open("stream", headers={"Last-Event-ID": last} if last else {}, timeout=45) as answer:
                    name, data = "message", []
                    for line in answer:
                        field, _, value = line.decode().rstrip("\n").partition(":")
                        value = value.removeprefix(" ")
                        if field == "event":
                            name = value
                        elif field == "id":
                            last = value
                        elif field == "data":
                            data.append(value)
                        elif field == "" and not value and data:
                            yield name, json.loads("\n".join(data))
                            name, data = "message", []
            except OSError as error:
                print(f"the box does not answer ({error}); trying again", file=sys.stderr)
            time.sleep(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8080", help="the box")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="events, newest first")
    for name in ["camera", "label", "zone", "rule"]:
        listing.add_argument(f"--{name}", action="append", default=[])
    listing.add_argument("--count", type=int, default=20)
    clip = commands.add_parser("clip", help="the clip of an event")
    clip.add_argument("event")
    clip.add_argument("file")
    following = commands.add_parser("follow", help="what happens from now on")
    following.add_argument("--count", type=int, default=0, help="end after so many changes of events")
    arguments = parser.parse_args()
    box = Outpost(arguments.url)
    try:
        if arguments.command == "list":
            filters = {name: getattr(arguments, name) for name in ["camera", "label", "zone", "rule"]}
            for record, _ in zip(box.events(**filters), range(arguments.count)):
                event = record["event"]
                print(event["id"], event["start"]["wall"], event["camera"], event["label"], event["state"])
        elif arguments.command == "clip":
            box.save(arguments.event, "clip.mp4", arguments.file)
        else:
            seen = 0
            for name, data in box.follow():
                if name in ["start", "update", "end"]:
                    print(name, data["event"]["id"], data["event"]["camera"], data["event"]["label"], flush=True)
                    seen += 1
                if arguments.count and seen >= arguments.count:
                    return
    except Problem as problem:
        sys.exit(f"{problem.code}: {problem}")


if __name__ == "__main__":
    main()
