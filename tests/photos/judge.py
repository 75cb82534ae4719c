#!/usr/bin/env python3
"""Compares what the inspector says of the files in a folder with what exiftool says of them, and its thumbnails with
what Pillow and LittleCMS make of the same files.

usage: judge.py PROGRAM FOLDER [--most-memory MIB]

Prints each difference that is not wanted, and ends with 1 where there is one. The folder is one that corpus.py made;
of another one (of a person, or of a package) dates, places, sizes and words are compared.
"""

import argparse
import datetime
import io
import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops, ImageCms, ImageOps, ImageStat

Image.MAX_IMAGE_PIXELS = None

# Differences from exiftool that are wanted, by the beginning of the name.
WANTED = {
    ("gps-null-island", "place"): "zeros are what cameras write that have no place",
    ("date-dashes", "taken"): "EXIF writes days with colons; what a text in another form means is a guess",
    ("orientation-0", "orientation"): "not one of the eight ways",
    ("orientation-9", "orientation"): "not one of the eight ways",
    ("words-twice", "keywords"): "none twice",
    ("words-rating-rejected", "rating"): "1 to 5 are ratings; -1 means that a picture was rejected",
    ("words-long", "description"): "longer than the longest note",
    ("turned.heic", "orientation"): "the container turns it; EXIF says the same once more",
    ("grid.heic", "orientation"): "the container turns it; EXIF says the same once more",
}
# What is known not to be shown, with a part of the reason.
UNREADABLE = {
    "bomb-50000x50000.png": "megapixels", "bomb-30000x30000.png": "megapixels", "raw-no-preview.dng": "no preview",
    "grid-without-tiles.heic": "damaged", "grid-huge.heic": "megapixels",
}
REFUSED = {"not-a-picture.jpg", "text.png", "empty.jpg", "zeros.jpg"}
MAY_BE_UNREADABLE = ("torn-", "only-a-head-", "broken-", "video-torn")


class Inspector:
    """The process that reads pictures, as the daemon asks it."""

    def __init__(self, program):
        self.program, self.process, self.most_memory = program, None, {}

    def ask(self, path, folder):
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen([self.program, "inspect-pictures"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        question = {"path": str(path), "name": path.name, "folder": str(folder)}
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        # Of this file alone.
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait()
            self.process = None
            return None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        self.most_memory[path.name] = int(status.split("VmHWM:")[1].split()[0]) // 1024
        return json.loads(answer)

    def end(self):
        if self.process:
            self.process.communicate()


def exiftool(folder):
    tags = ["-SubSecDateTimeOriginal", "-DateTimeOriginal", "-OffsetTimeOriginal", "-SubSecTimeOriginal", "-CreateDate",
            "-SubSecTimeDigitized", "-OffsetTimeDigitized", "-ModifyDate", "-OffsetTime", "-GPSDateStamp", "-GPSTimeStamp",
            "-GPS:all", "-XMP:all", "-IPTC:all", "-ImageWidth", "-ImageHeight", "-Orientation", "-ImageDescription", "-EXIF:all",
            "-Duration", "-Rotation", "-QuickTime:CreateDate", "-Make", "-Model", "-MIMEType"]
    command = ["exiftool", "-json", "-n", "-G1", "-m", "-q", "-q", "-c", "%.8f", *tags, "-r", str(folder)]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout
    return {Path(entry["SourceFile"]).relative_to(folder): entry for entry in json.loads(said)}


def first(entry, *names):
    return next((entry[name] for name in names if entry.get(name) not in (None, "")), None)


def many(value):
    return [] if value is None else [str(one) for one in (value if isinstance(value, list) else [value])]


def time_of(text, fraction=None, zone=None):
    """Wall time as ISO, and seconds ahead of UTC, of exiftool's text."""
    text = str(text).strip()
    for sign in "+-":
        at = text.find(sign, 11)
        if at > 0:
            text, zone = text[:at], text[at:]
    if text.endswith("Z"):
        text, zone = text[:-1], "Z"
    text, _, more = text.partition(".")
    wall = None
    for form in ("%Y:%m:%d %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y:%m:%d %H:%M", "%Y:%m:%d"):
        try:
            wall = datetime.datetime.strptime(text, form)
            break
        except ValueError:
            continue
    if wall is None:
        return None
    digits = str(fraction).strip() if fraction is not None else more
    digits = digits if digits.isdigit() else ""
    micros = int(digits[:6].ljust(6, "0")) if digits else 0
    return wall.replace(microsecond=micros), ahead(zone)


def ahead(zone):
    if not zone:
        return None
    zone = str(zone).strip()
    if zone == "Z":
        return 0
    hours, _, minutes = zone[1:].partition(":")
    return (-1 if zone[0] == "-" else 1) * (int(hours) * 3600 + int(minutes or 0) * 60) if hours.isdigit() else None


def taken(entry):
    """When it was taken by what exiftool shows, in the order of docs/library.md."""
    exif = "ExifIFD:"
    candidates = [
        (first(entry, exif + "DateTimeOriginal"), entry.get(exif + "SubSecTimeOriginal"), entry.get(exif + "OffsetTimeOriginal")),
        (first(entry, "XMP-exif:DateTimeOriginal"), None, None),
        (first(entry, "XMP-photoshop:DateCreated"), None, None),
    ]
    if day := entry.get("IPTC:DateCreated"):
        candidates.append((f"{day} {entry.get('IPTC:TimeCreated', '00:00:00')}", None, None))
    candidates += [
        (first(entry, exif + "CreateDate"), entry.get(exif + "SubSecTimeDigitized"), entry.get(exif + "OffsetTimeDigitized")),
        (first(entry, "XMP-xmp:CreateDate"), None, None),
        (first(entry, "IFD0:ModifyDate"), entry.get(exif + "SubSecTime"), entry.get(exif + "OffsetTime")),
    ]
    if day := entry.get("GPS:GPSDateStamp"):
        candidates.append((f"{day} {entry.get('GPS:GPSTimeStamp', '')}", None, "Z"))
    for text, fraction, zone in candidates:
        if text and (found := time_of(text, fraction, zone)):
            return found
    return None


def place(entry):
    """Signed by the hemisphere; none where that is not said."""
    for space in ("GPS", "XMP-exif"):
        latitude, longitude = entry.get(f"{space}:GPSLatitude"), entry.get(f"{space}:GPSLongitude")
        if not isinstance(latitude, (int, float)) or not isinstance(longitude, (int, float)):
            continue
        if space == "GPS":
            latitude *= -1 if entry.get("GPS:GPSLatitudeRef") == "S" else 1
            longitude *= -1 if entry.get("GPS:GPSLongitudeRef") == "W" else 1
        altitude = entry.get(f"{space}:GPSAltitude")
        altitude = altitude if isinstance(altitude, (int, float)) else None
        if altitude is not None and str(entry.get(f"{space}:GPSAltitudeRef", 0)) == "1":
            altitude = -altitude
        return latitude, longitude, altitude
    return None


def keywords(entry):
    lists = [many(entry.get("XMP-digiKam:TagsList")),
             [path.replace("|", "/") for path in many(entry.get("XMP-lr:HierarchicalSubject"))],
             many(entry.get("XMP-dc:Subject")), many(entry.get("IPTC:Keywords"))]
    return next((words for words in lists if words), [])


def compare(name, facts, entry):
    """What differs: field, ours, theirs."""
    ours = facts.get("taken")
    ours = ours and (datetime.datetime.fromisoformat(cut(ours["local"])), ours.get("offset_s"))
    theirs = taken(entry)
    is_video = facts["format"] in ("mp4", "mov", "matroska")
    if not is_video and ours != theirs:
        yield "taken", ours, theirs
    ours, theirs = facts.get("place"), place(entry)
    if (ours is None) != (theirs is None):
        yield "place", ours, theirs
    elif ours and (abs(ours["latitude"] - theirs[0]) > 1e-6 or abs(ours["longitude"] - theirs[1]) > 1e-6
                   or (ours.get("altitude_m") is None) != (theirs[2] is None)
                   or theirs[2] is not None and abs(ours["altitude_m"] - theirs[2]) > 0.01):
        yield "place", ours, theirs
    if (ours := facts.get("keywords", [])) != (theirs := [word.strip() for word in keywords(entry)]):
        yield "keywords", ours, theirs
    for field, names in {
        "title": ("XMP-dc:Title", "IPTC:ObjectName"),
        "description": ("XMP-dc:Description", "IPTC:Caption-Abstract", "IFD0:ImageDescription"),
    }.items():
        theirs = first(entry, *names)
        theirs = str(theirs).strip() if theirs is not None else None
        if (facts.get(field) or None) != (theirs or None):
            yield field, facts.get(field), theirs
    if facts.get("rating") != (theirs := entry.get("XMP-xmp:Rating")):
        yield "rating", facts.get("rating"), theirs
    for field, tag in {"make": "IFD0:Make", "model": "IFD0:Model"}.items():
        theirs = entry.get(tag)
        theirs = str(theirs).strip() if theirs is not None else None
        if facts.get("device", {}).get(field) != (theirs or None):
            yield field, facts.get("device", {}).get(field), theirs
    if "unreadable" in facts or is_video or facts["format"] == "raw":
        return
    orientation = entry.get("IFD0:Orientation", 1)
    if facts["orientation"] != orientation:
        yield "orientation", facts["orientation"], orientation
    width, height = (first(entry, *(f"{space}:{side}" for space in ("File", "PNG", "RIFF", "IFD0", "GIF", "Meta")))
                     for side in ("ImageWidth", "ImageHeight"))
    if {facts["width"], facts["height"]} != {width, height} and facts["format"] not in ("heic", "avif"):
        yield "size", (facts["width"], facts["height"]), (width, height)


def cut(text):
    """Python knows microseconds."""
    whole, _, fraction = text.partition(".")
    return f"{whole}.{fraction[:6].ljust(6, '0')}" if fraction else whole


def reference(path):
    """The picture as Pillow and LittleCMS show it, upright and on white."""
    picture = Image.open(path)
    profile = picture.info.get("icc_profile")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in ("I;16", "I;16B", "I"):
        picture = picture.point(lambda value: value / 257).convert("L")
    if picture.mode in ("P", "LA", "PA", "1"):
        picture = picture.convert("RGBA" if "transparency" in picture.info or "A" in picture.mode else "RGB")
    if picture.mode == "RGBA":
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture).convert("RGB")
    if profile and picture.mode in ("RGB", "L", "CMYK"):
        try:
            opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            return ImageCms.profileToProfile(picture, opened, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass
    return picture.convert("RGB")


def colour_distance(path, thumbnail):
    """Mean and 99th percentile of the differences of red, green and blue, of 255."""
    wanted, found = reference(path), Image.open(thumbnail).convert("RGB")
    if wanted.size != found.size:
        wanted = wanted.resize(found.size, Image.Resampling.LANCZOS)
    difference = ImageChops.difference(wanted, found)
    histogram = [sum(three) for three in zip(*(band.histogram() for band in difference.split()))]
    total, seen = sum(histogram), 0
    for value, count in enumerate(histogram):
        seen += count
        if seen >= total * 0.99:
            break
    return sum(ImageStat.Stat(difference).mean) / 3, value


def perceptual(thumbnail):
    """The usual perceptual hash by its definition: signs of the lowest 8 by 8 frequencies of 32 by 32 pixels against their median."""
    grey = Image.open(thumbnail).convert("L").resize((32, 32), Image.Resampling.LANCZOS)
    values = list(grey.getdata())
    wave = [[math.cos(math.pi * f * (2 * x + 1) / 64) for x in range(32)] for f in range(8)]
    rows = [[sum(values[y * 32 + x] * wave[f][x] for x in range(32)) for f in range(8)] for y in range(32)]
    low = [sum(rows[y][f] * wave[g][y] for y in range(32)) for g in range(8) for f in range(8)]
    middle = statistics.median(low)
    return sum(1 << (63 - number) for number, value in enumerate(low) if value > middle)


def alike(thumbnail, other):
    """Mean difference of two pictures of one size, of 255; 255 where they differ in size."""
    one, two = Image.open(thumbnail).convert("RGB"), other.convert("RGB")
    return sum(ImageStat.Stat(ImageChops.difference(one, two)).mean) / 3 if one.size == two.size else 255


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--most-memory", type=int, default=1024, help="MiB of the process for any file")
    parser.add_argument("--others", action="store_true", help="files of others: differences are printed, and no failure")
    arguments = parser.parse_args()
    files = sorted(path for path in arguments.folder.rglob("*") if path.is_file())
    said = exiftool(arguments.folder)
    inspector, wrong, compared, excused = Inspector(arguments.program), [], 0, set()
    with tempfile.TemporaryDirectory() as made:
        for number, path in enumerate(files):
            name = str(path.relative_to(arguments.folder))
            folder = Path(made, str(number))
            folder.mkdir()
            answer = inspector.ask(path, folder)
            if answer is None:
                wrong.append(f"{name}: the process died")
                continue
            if answer == "not_a_picture" or "disk" in answer:
                if name not in REFUSED and not arguments.others:
                    wrong.append(f"{name}: refused: {answer}")
                continue
            facts = answer["inspected"]["facts"]
            if name in REFUSED:
                wrong.append(f"{name}: not refused: {facts}")
            reason = facts.get("unreadable")
            expected = UNREADABLE.get(name)
            if expected and expected not in (reason or "") or reason and not expected and not name.startswith(MAY_BE_UNREADABLE):
                wrong.append(f"{name}: unreadable: {reason}")
            if not reason:
                for field in ("placeholder", "perceptual"):
                    if not facts.get(field):
                        wrong.append(f"{name}: no {field}")
            entry = said.get(path.relative_to(arguments.folder))
            if entry and not name.startswith(MAY_BE_UNREADABLE):
                compared += 1
                for field, ours, theirs in compare(name, facts, entry):
                    excuse = next((key for key in WANTED if name.startswith(key[0]) and field == key[1]), None)
                    if excuse:
                        excused.add(excuse)
                    else:
                        wrong.append(f"{name}: {field}: {ours} instead of {theirs}")
            # A picture of one colour has no frequencies but those of its noise.
            if not reason and not name.startswith(("large-15000", "one-pixel", "line", "wide", "bomb", "torn", "broken")):
                bits = (int(facts["perceptual"], 16) ^ perceptual(folder / "large.jpg")).bit_count()
                if bits > 6:
                    wrong.append(f"{name}: perceptual hash: {bits} of 64 bits differ from its definition")
            if not arguments.others:
                wrong += looks(path, name, folder / "large.jpg", reason)
    inspector.end()
    if not arguments.others:
        wrong += [f"{key}: differs no longer" for key in set(WANTED) - excused]
    memory = sorted(inspector.most_memory.items(), key=lambda item: -item[1])
    wrong += [f"{name}: {mib} MiB of memory" for name, mib in memory if mib > arguments.most_memory]
    print(f"{len(files)} files, {compared} compared with exiftool, most memory {memory[:5]} MiB")
    print("\n".join(wrong))
    sys.exit(1 if wrong and not arguments.others else 0)


def looks(path, name, thumbnail, reason):
    """What is wrong with the thumbnail of a file of the corpus."""
    if reason or name.startswith(MAY_BE_UNREADABLE) or name.startswith(("raw", "video", "bomb", "large", "wide", "heic-called")):
        return
    if path.suffix in (".heic", ".avif"):
        scene = Image.open(path.with_name("kind.png"))
        wanted = {
            "kind.heic": scene, "kind.avif": scene, "kind-10-bit.heic": scene, "kind-grey.heic": scene.convert("L"),
            "turned.heic": scene, "grid.heic": Image.open(path.with_name("grid-source.png")).transpose(Image.Transpose.ROTATE_90), "mirrored.heic": scene.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            "profile-p3.heic": reference(path.with_name("profile-p3.png")),
            "alpha.heic": reference(path.with_name("kind-alpha.png")), "alpha.avif": reference(path.with_name("kind-alpha.png")),
        }.get(name)
        if wanted and (distance := alike(thumbnail, wanted)) > 4:
            yield f"{name}: looks different: {distance:.1f}"
        return
    if name.startswith("orientation-"):
        if (distance := alike(thumbnail, Image.open(path.with_name("orientation-1.jpg")))) > 4:
            yield f"{name}: not upright: {distance:.1f}"
        return
    mean, most = colour_distance(path, thumbnail)
    # JPEG blurs what is made of dots.
    of_dots = name.startswith(("kind-bilevel", "animated.gif"))
    if mean > (4 if of_dots else 2.5) or most > (24 if of_dots else 16):
        yield f"{name}: colours differ by {mean:.1f} in the mean, {most} at the 99th percentile"


main()
