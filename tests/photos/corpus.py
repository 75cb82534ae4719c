#!/usr/bin/env python3
"""Makes photos of every kind that a library meets: coded, turned, dated, placed and damaged in all ways.

usage: corpus.py FOLDER

Pictures are made by Pillow, libheif's heif-enc and ffmpeg; metadata is written by exiftool. Nothing is fetched.
"""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

from PIL import Image, ImageCms, ImageDraw

import heif

FOLDER = Path(sys.argv[1])


def scene(width, height):
    """Gradients, a disc and a mark in the upper left corner, so that colours, edges and turns can be compared."""
    picture = Image.merge("RGB", [
        Image.linear_gradient("L").rotate(90).resize((width, height)),
        Image.linear_gradient("L").resize((width, height)),
        Image.radial_gradient("L").resize((width, height)),
    ])
    draw = ImageDraw.Draw(picture)
    draw.ellipse((width * 0.55, height * 0.5, width * 0.8, height * 0.9), fill=(220, 30, 40))
    draw.rectangle((0, 0, width // 5, height // 6), fill=(20, 180, 60))
    return picture


class Exiftool:
    """One process for all files: starting it takes longer than a file."""

    def __init__(self):
        self.process = subprocess.Popen(["exiftool", "-stay_open", "True", "-@", "-"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __call__(self, *arguments):
        lines = ["-m", "-overwrite_original", *arguments, "-execute", ""]
        self.process.stdin.write("\n".join(lines).encode())
        self.process.stdin.flush()
        said = b""
        while not (line := self.process.stdout.readline()).startswith(b"{ready"):
            said += line
            assert line, said
        assert b"1 image files updated" in said, (arguments, said)

    def end(self):
        self.process.communicate(b"-stay_open\nFalse\n")


exiftool = Exiftool()


def save(name, picture=None, tags=(), **options):
    path = FOLDER / name
    path.parent.mkdir(exist_ok=True)
    (picture or scene(320, 240)).save(path, **options)
    if tags:
        exiftool(*tags, str(path))
    return path


def orientations():
    upright = scene(320, 240)
    # What was done to the picture when it was stored, for each value that undoes it.
    stored = {
        1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }
    for value, way in stored.items():
        turned = upright if way is None else upright.transpose(way)
        save(f"orientation-{value}.jpg", turned, [f"-Orientation#={value}"], quality=92)
    for kind in ("png", "webp", "tif"):
        save(f"orientation-6.{kind}", upright.transpose(Image.Transpose.ROTATE_90), ["-Orientation#=6"])
    save("orientation-0.jpg", upright, ["-Orientation#=0"])
    save("orientation-9.jpg", upright, ["-Orientation#=9"])


def dates():
    original = "-DateTimeOriginal=2024:03:31 02:30:00"
    cases = {
        "none": [],
        "no-zone": [original],
        "zone": [original, "-OffsetTimeOriginal=+02:00"],
        "zone-half-hour": [original, "-OffsetTimeOriginal=-03:30"],
        "zone-utc": [original, "-OffsetTimeOriginal=Z"],
        "zone-of-edit": [original, "-ModifyDate=2024:04:02 10:00:00", "-OffsetTime=+09:00"],
        "zones-differ": [original, "-OffsetTimeOriginal=+01:00", "-ModifyDate=2024:04:02 10:00:00", "-OffsetTime=+09:00"],
        "zone-of-digitized": [original, "-CreateDate=2024:03:31 02:30:01", "-OffsetTimeDigitized=+05:45"],
        "dst-twice": ["-DateTimeOriginal=2024:10:27 02:30:00", "-OffsetTimeOriginal=+01:00"],
        "fraction": [original, "-SubSecTimeOriginal=057"],
        "fraction-long": [original, "-SubSecTimeOriginal=123456"],
        "fraction-of-edit": [original, "-SubSecTime=99", "-ModifyDate=2024:04:02 10:00:00"],
        "digitized": ["-CreateDate=2023:01:02 03:04:05", "-OffsetTimeDigitized=+01:00", "-SubSecTimeDigitized=5"],
        "changed": ["-ModifyDate=2022:01:02 03:04:05", "-OffsetTime=-08:00"],
        "satellites": ["-GPSDateStamp=2024:03:31", "-GPSTimeStamp=00:30:02.5"],
        "old": ["-DateTimeOriginal=1899:12:31 23:59:59"],
        "far": ["-DateTimeOriginal=2099:12:31 23:59:59"],
    }
    for name, tags in cases.items():
        save(f"date-{name}.jpg", tags=tags)
    for name, text in {"zeros": "0000:00:00 00:00:00", "spaces": "    :  :     :  :  ", "words": "yesterday at noon..",
                       "month-13": "2024:13:01 00:00:00", "dashes": "2024-03-31 02:30:00"}.items():
        # exiftool refuses to write such: put in the place of a good one.
        path = save(f"date-{name}.jpg", tags=[original])
        path.write_bytes(path.read_bytes().replace(b"2024:03:31 02:30:00", text.encode("latin-1")))
    save("date-little-endian.tif", tags=[original, "-SubSecTimeOriginal=25", "-OffsetTimeOriginal=+09:00"])
    save("date.png", tags=[original, "-OffsetTimeOriginal=+09:00"])
    save("date.webp", tags=[original, "-OffsetTimeOriginal=+09:00"])
    save("date-xmp.jpg", tags=["-XMP-photoshop:DateCreated=2021:02:03 04:05:06+09:00"])
    save("date-xmp-no-zone.jpg", tags=["-XMP-exif:DateTimeOriginal=2021:02:03 04:05:06"])
    save("date-xmp-day.jpg", tags=["-XMP-photoshop:DateCreated=2021:02:03"])
    save("date-xmp-and-exif.jpg", tags=[original, "-XMP-exif:DateTimeOriginal=2021:02:03 04:05:06+09:00"])
    save("date-iptc.jpg", tags=["-IPTC:DateCreated=2020:02:03", "-IPTC:TimeCreated=04:05:06-05:00"])


def places():
    def place(latitude, longitude, *more):
        return [f"-GPSLatitude={abs(latitude)}", f"-GPSLatitudeRef={'S' if latitude < 0 else 'N'}",
                f"-GPSLongitude={abs(longitude)}", f"-GPSLongitudeRef={'W' if longitude < 0 else 'E'}", *more]

    for name, latitude, longitude in [("ne", 35.658581, 139.745433), ("se", -33.856784, 151.215297),
                                      ("sw", -22.951916, -43.210487), ("nw", 40.689247, -74.044502)]:
        save(f"gps-{name}.jpg", tags=place(latitude, longitude))
    save("gps-high.jpg", tags=place(27.988, 86.925, "-GPSAltitude=8848.86", "-GPSAltitudeRef#=0"))
    save("gps-below-sea.jpg", tags=place(31.559, 35.473, "-GPSAltitude=430.5", "-GPSAltitudeRef#=1"))
    save("gps-no-refs.jpg", tags=["-GPSLatitude=10.5", "-GPSLongitude=20.25"])
    save("gps-latitude-only.jpg", tags=["-GPSLatitude=10.5", "-GPSLatitudeRef=N"])
    save("gps-null-island.jpg", tags=place(0, 0))
    save("gps-equator.jpg", tags=place(0, 12.5))
    save("gps.png", tags=place(-33.856784, 151.215297))
    save("gps.webp", tags=place(-33.856784, 151.215297, "-GPSAltitude=12", "-GPSAltitudeRef#=0"))
    save("gps.tif", tags=place(-33.856784, 151.215297))
    save("gps-xmp.jpg", tags=["-XMP-exif:GPSLatitude=-33.5", "-XMP-exif:GPSLongitude=-70.25"])
    # Minutes with fractions and no seconds, as some phones write; and a number divided by nothing.
    path = save("gps-minutes.jpg", tags=place(48.858, 2.2945))
    data = path.read_bytes()
    old = [struct.pack(">6I", 48, 1, 51, 1, 288, 10), struct.pack(">6I", 48, 1, 51, 1, 1440, 50)]
    for form in old:
        data = data.replace(form, struct.pack(">6I", 48, 1, 51480, 1000, 0, 1))
    path.write_bytes(data)
    path = save("gps-divided-by-nothing.jpg", tags=place(48.5, 2.25))
    path.write_bytes(path.read_bytes().replace(struct.pack(">2I", 48, 1), struct.pack(">2I", 48, 0)))


def words():
    def all_of(name, **options):
        save(name, tags=[
            "-codedcharacterset=utf8", "-IPTC:Keywords=from-iptc", "-IPTC:Keywords=犬", "-IPTC:ObjectName=IPTC title",
            "-IPTC:Caption-Abstract=IPTC caption", "-XMP-dc:Subject=plain", "-XMP-dc:Subject=犬",
            "-XMP-dc:Title=春の庭", "-XMP-dc:Description=Zwölf Boxkämpfer", "-XMP:Rating=4",
        ], **options)

    for kind in ("jpg", "tif"):
        all_of(f"words-all.{kind}")
    for kind in ("png", "webp"):
        save(f"words.{kind}", tags=["-XMP-dc:Subject=plain", "-XMP-dc:Subject=犬", "-XMP-dc:Title=春の庭",
                                    "-XMP-dc:Description=Zwölf", "-XMP:Rating=5"])
    save("words-hierarchy.jpg", tags=["-XMP-lr:HierarchicalSubject=Places|Japan|Kyoto", "-XMP-lr:HierarchicalSubject=Animals|Dog",
                                      "-XMP-dc:Subject=Kyoto", "-XMP-dc:Subject=Dog"])
    save("words-tags-list.jpg", tags=["-XMP-digiKam:TagsList=Places/Japan", "-XMP-lr:HierarchicalSubject=Other|One",
                                      "-XMP-dc:Subject=Japan", "-IPTC:Keywords=iptc"])
    save("words-iptc.jpg", tags=["-codedcharacterset=utf8", "-IPTC:Keywords=山", "-IPTC:Keywords=lake",
                                 "-IPTC:ObjectName=Titel", "-IPTC:Caption-Abstract=Über allen Gipfeln"])
    save("words-iptc-latin1.jpg", tags=["-charset", "iptc=latin1", "-IPTC:Keywords=Zürich", "-IPTC:Caption-Abstract=Käse"])
    save("words-exif.jpg", tags=["-ImageDescription=From EXIF", "-Make=Canon", "-Model=Canon EOS R5", "-LensModel=RF24-70mm F2.8"])
    save("words-twice.jpg", tags=["-XMP-dc:Subject=dog", "-XMP-dc:Subject=dog", "-XMP-dc:Subject= dog "])
    save("words-rating-rejected.jpg", tags=["-XMP:Rating=-1"])
    save("words-long.jpg", tags=["-XMP-dc:Description=" + "long " * 30_000])
    save("words-escaped.jpg", tags=["-XMP-dc:Title=<b>&amp; \"quoted\"</b>", "-XMP-dc:Subject=a & b"])


def codings():
    picture = scene(640, 480)
    save("kind.gif", picture.quantize(64))
    save("kind.png", picture)
    save("kind.webp", picture, lossless=True)
    save("kind.tif", picture, compression="tiff_lzw")
    save("kind-jpeg.tif", picture, compression="jpeg")
    save("kind-progressive.jpg", picture, progressive=True, quality=90)
    save("kind-444.jpg", picture, subsampling=0, quality=95)
    save("kind-grey.jpg", picture.convert("L"), quality=95)
    save("kind-grey.png", picture.convert("L"))
    save("kind-bilevel.png", picture.convert("1"))
    save("kind-bilevel.tif", picture.convert("1"), compression="group4")
    save("kind-palette.png", picture.quantize(64))
    glass = picture.convert("RGBA")
    glass.putalpha(Image.linear_gradient("L").resize(picture.size))
    save("kind-alpha.png", glass)
    save("kind-alpha.webp", glass, lossless=True)
    palette = picture.quantize(64)
    save("kind-transparent.gif", palette, transparency=palette.getpixel((500, 300)))
    save("kind-grey-alpha.png", glass.convert("LA"))
    frames = [scene(160, 120).rotate(30 * turn) for turn in range(5)]
    for kind in ("gif", "webp", "png"):
        save(f"animated.{kind}", frames[0], save_all=True, append_images=frames[1:], duration=100)
    save("pages.tif", frames[0], save_all=True, append_images=frames[1:])
    save("kind-cmyk.jpg", picture.convert("CMYK"), quality=95)
    save("kind-cmyk.tif", picture.convert("CMYK"))
    deep_png(FOLDER / "kind-16-bit.png", picture, "RGB")
    deep_png(FOLDER / "kind-16-bit-grey.png", picture, "L")
    deep_tiff(FOLDER / "kind-16-bit.tif", picture)
    save("one-pixel.png", scene(320, 240).crop((100, 100, 101, 101)))
    save("line.png", scene(3000, 240).crop((0, 100, 3000, 101)))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, depth, colour, rows, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pack = zlib.compressobj(9)
    packed = b"".join(pack.compress(row) for row in rows) + pack.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def deep_png(path, picture, mode):
    channels = len(mode)
    rows = (b"\0" + b"".join(struct.pack(">H", value * 257) for value in row)
            for row in rows_of(picture.convert(mode), channels))
    path.write_bytes(png(*picture.size, 16, 0 if channels == 1 else 2, rows))


def rows_of(picture, channels):
    data, stride = picture.tobytes(), picture.width * channels
    return (data[at:at + stride] for at in range(0, len(data), stride))


def deep_tiff(path, picture):
    """Little-endian, 16 bits a sample, one strip."""
    pixels = b"".join(struct.pack("<H", value * 257) for value in picture.tobytes())
    entries = [(256, 4, 1, picture.width), (257, 4, 1, picture.height), (258, 3, 3, 8 + len(pixels)), (259, 3, 1, 1),
               (262, 3, 1, 2), (273, 4, 1, 8), (277, 3, 1, 3), (278, 4, 1, picture.height), (279, 4, 1, len(pixels))]
    directory = struct.pack("<H", len(entries))
    directory += b"".join(struct.pack("<HHII", *entry) for entry in entries) + struct.pack("<I", 0)
    at = 8 + len(pixels) + 6
    path.write_bytes(b"II*\0" + struct.pack("<I", at) + pixels + struct.pack("<3H", 16, 16, 16) + directory)


def profiles():
    """Pictures in other colour spaces; the profiles are made here, from primaries and gamma."""
    picture = scene(640, 480)
    wide = {
        # Primaries adapted to D50, as profiles hold them, and gamma.
        "p3": ([(0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)], None),
        "adobe": ([(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)], 563 / 256),
        "prophoto": ([(0.79767, 0.28804, 0.0), (0.13519, 0.71188, 0.0), (0.03134, 0.00008, 0.82491)], 1.8),
    }
    for name, (primaries, gamma) in wide.items():
        profile = rgb_profile(name, primaries, gamma)
        save(f"profile-{name}.jpg", picture, icc_profile=profile, quality=95, subsampling=0)
        save(f"profile-{name}.png", picture, icc_profile=profile)
        save(f"profile-{name}.tif", picture, icc_profile=profile)
        save(f"profile-{name}.webp", picture, icc_profile=profile, lossless=True)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save("profile-srgb.jpg", picture, icc_profile=srgb, quality=95)
    save("profile-grey.jpg", picture.convert("L"), icc_profile=grey_profile(1.0), quality=95)
    save("profile-grey.png", picture.convert("L"), icc_profile=grey_profile(1.8))
    save("profile-broken.jpg", picture, icc_profile=b"no profile at all" * 20)
    save("profile-cmyk.jpg", picture.convert("CMYK"), icc_profile=cmyk_profile(), quality=95)


def rgb_profile(name, primaries, gamma):
    if gamma is None:
        curve = b"para" + bytes(4) + struct.pack(">HH5i", 3, 0, *map(fixed, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)))
    else:
        curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))
    tags = {kind: xyz(*primary) for kind, primary in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries)}
    tags |= {kind: curve for kind in (b"rTRC", b"gTRC", b"bTRC")}
    return profile(b"mntr", b"RGB ", b"XYZ ", name, tags)


def grey_profile(gamma):
    return profile(b"mntr", b"GRAY", b"XYZ ", "grey", {b"kTRC": b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256))})


def cmyk_profile():
    """An 8-bit table of 5 points a side to Lab of inks that are not quite what a screen would make of them."""
    side = 5
    table = bytearray()
    for index in range(side ** 4):
        c, m, y, k = ((index // side ** power % side) / (side - 1) for power in (3, 2, 1, 0))
        # A little of the paper and of the other inks in each.
        r, g, b = (1 - 0.9 * c) * (1 - k), (1 - 0.85 * m - 0.05 * c) * (1 - k), (1 - 0.8 * y - 0.1 * m) * (1 - k)
        lightness, a, b = lab(*(max(0.02, value) for value in (r, g, b)))
        table += bytes([round(lightness * 2.55), round(min(max(a + 128, 0), 255)), round(min(max(b + 128, 0), 255))])
    linear = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, side, 0]) + struct.pack(">9i", *(fixed(v) for v in (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    lut += linear * 4 + bytes(table) + linear * 3
    return profile(b"prtr", b"CMYK", b"Lab ", "cmyk", {b"A2B0": lut})


def lab(red, green, blue):
    def linear(value):
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    def root(value):
        return value ** (1 / 3) if value > 0.008856 else 7.787 * value + 16 / 116

    r, g, b = linear(red), linear(green), linear(blue)
    x = root((0.4360 * r + 0.3851 * g + 0.1431 * b) / 0.9642)
    y = root(0.2225 * r + 0.7169 * g + 0.0606 * b)
    z = root((0.0139 * r + 0.0971 * g + 0.7142 * b) / 0.8249)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def fixed(value):
    return round(value * 65536)


def xyz(x, y, z):
    return b"XYZ " + bytes(4) + struct.pack(">3i", fixed(x), fixed(y), fixed(z))


def profile(kind, space, connection, name, tags):
    text = name.encode()
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text) + 1) + text + bytes(79),
            b"wtpt": xyz(0.9642, 1.0, 0.8249), **tags}
    table, data = struct.pack(">I", len(tags)), b""
    at = 128 + 4 + 12 * len(tags)
    for tag, value in tags.items():
        table += tag + struct.pack(">II", at + len(data), len(value))
        data += value + bytes(-len(value) % 4)
    size = at + len(data)
    header = struct.pack(">I4xI", size, 0x02400000) + kind + space + connection + bytes(12) + b"acsp" + bytes(28)
    header += struct.pack(">3i", fixed(0.9642), fixed(1.0), fixed(0.8249))
    return header + bytes(128 - len(header)) + table + data


def heifs():
    picture = scene(640, 480)
    (FOLDER / "parts").mkdir(exist_ok=True)
    source = save("parts/source.png", picture)
    original = ["-DateTimeOriginal=2024:03:31 02:30:00", "-OffsetTimeOriginal=+09:00",
                "-GPSLatitude=35.5", "-GPSLatitudeRef=N", "-GPSLongitude=139.5", "-GPSLongitudeRef=E"]
    for kind in ("heic", "avif"):
        path = FOLDER / f"kind.{kind}"
        encode(path, source)
        exiftool(*original, "-XMP-dc:Subject=犬", "-XMP-dc:Title=春", str(path))
        encode(FOLDER / f"odd.{kind}", save("parts/odd.png", scene(333, 217)))
        glass = picture.convert("RGBA")
        glass.putalpha(Image.linear_gradient("L").resize(picture.size))
        encode(FOLDER / f"alpha.{kind}", save("parts/glass.png", glass))
    encode(FOLDER / "kind-10-bit.heic", FOLDER / "kind-16-bit.png", "-b", "10")
    encode(FOLDER / "kind-grey.heic", save("parts/grey.png", picture.convert("L")))
    encode(FOLDER / "profile-p3.heic", FOLDER / "profile-p3.png")

    # Stored a quarter turned, with its own rotation, and with the same once more in its EXIF, as phones write it.
    stored = picture.transpose(Image.Transpose.ROTATE_90)
    turned = save("parts/turned.png", stored)
    encode(FOLDER / "parts/turned.heic", turned)
    item = heif.items(FOLDER / "parts/turned.heic")[0]
    exif = exif_block(FOLDER / "parts/exif.jpg", ["-Orientation#=6", *original])
    heif.write(FOLDER / "turned.heic", [item], 480, 640, rotation=3, exif=exif)
    heif.write(FOLDER / "mirrored.heic", heif.items(FOLDER / "kind.heic")[:1], 640, 480, mirror=1)
    # A grid of tiles with a rest that is cut off, as phones write it.
    tiles = []
    wide = scene(900, 700)
    save("grid-source.png", wide)
    for row in range(3):
        for column in range(4):
            tile = wide.crop((column * 256, row * 256, column * 256 + 256, row * 256 + 256))
            encode(FOLDER / "parts/tile.heic", save("parts/tile.png", tile))
            tiles += heif.items(FOLDER / "parts/tile.heic")[:1]
    heif.write(FOLDER / "grid.heic", tiles, 900, 700, grid=(3, 4), rotation=1, exif=exif)
    heif.write(FOLDER / "grid-without-tiles.heic", tiles[:2], 900, 700, grid=(3, 4))
    heif.write(FOLDER / "grid-huge.heic", tiles, 60_000, 60_000, grid=(3, 4))


def encode(path, source, *options):
    subprocess.run(["heif-enc", "-q", "90", *options, str(source), "-o", str(path)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def exif_block(path, tags):
    """The TIFF inside of EXIF, from a JPEG that has nothing else."""
    scene(32, 32).save(path)
    exiftool(*tags, str(path))
    data = path.read_bytes()
    at = data.index(b"Exif\0\0")
    return data[at + 6:at - 2 + struct.unpack(">H", data[at - 2:at])[0]]


def raws():
    """Raw data has no encoder here: the container of each maker, with a preview and nothing else."""
    preview = io.BytesIO()
    scene(1600, 1200).save(preview, "JPEG", quality=90)
    small = io.BytesIO()
    scene(160, 120).save(small, "JPEG")
    for name, order, magic in [("raw.nef", ">", 42), ("raw.cr2", "<", 42), ("raw.dng", "<", 42), ("raw.orf", "<", 0x4f52)]:
        (FOLDER / name).write_bytes(raw_tiff(order, magic, preview.getvalue(), small.getvalue(), 6))
    (FOLDER / "raw-no-preview.dng").write_bytes(raw_tiff("<", 42, b"no preview", b"none", 1))
    jpeg = preview.getvalue()
    head = b"FUJIFILMCCD-RAW 0201FF383501" + b"X-T3".ljust(32, b"\0") + b"0100".ljust(24, b"\0")
    head += struct.pack(">II", 148, len(jpeg))
    (FOLDER / "raw.raf").write_bytes(head.ljust(148, b"\0") + jpeg)


def raw_tiff(order, magic, preview, small, orientation):
    """First directory: the small preview and what the camera says; a directory below it: the large one."""
    def directory(at, entries, after=0):
        data = struct.pack(order + "H", len(entries))
        for tag, kind, count, value in entries:
            packed = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
            data += struct.pack(order + "HHI", tag, kind, count) + packed
        return data + struct.pack(order + "I", after)

    made = b"Maker\0"
    first, below = 8, 8 + 2 + 5 * 12 + 4
    texts = below + 2 + 3 * 12 + 4
    small_at = texts + len(made)
    large_at = small_at + len(small)
    entries = [(0x10f, 2, len(made), texts), (0x112, 3, 1, orientation), (0x14a, 4, 1, below),
               (0x201, 4, 1, small_at), (0x202, 4, 1, len(small))]
    lower = [(0x103, 3, 1, 6), (0x201, 4, 1, large_at), (0x202, 4, 1, len(preview))]
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", magic, first)
    return head + directory(first, entries) + directory(below, lower) + made + small + preview


def videos():
    common = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i",
              "testsrc2=size=320x240:rate=10:duration=3", "-metadata", "creation_time=2024-03-31T00:30:00Z"]
    for name, options in {
        "video.mp4": ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
        "video.mov": ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
        "video.mkv": ["-c:v", "libx264", "-pix_fmt", "yuv420p"],
        "video.webm": ["-c:v", "libvpx-vp9", "-b:v", "200k"],
        "video-hevc.mp4": ["-c:v", "libx265", "-x265-params", "log-level=none"],
    }.items():
        subprocess.run([*common, *options, str(FOLDER / name)], check=True)
    # It begins in the dark, as many do.
    subprocess.run([*common, "-vf", "fade=in:0:15", "-c:v", "libx264", "-pix_fmt", "yuv420p", str(FOLDER / "video-dark.mp4")], check=True)
    turned = FOLDER / "video-turned.mp4"
    data = (FOLDER / "video.mp4").read_bytes()
    at = data.index(b"tkhd") + 44
    one = 1 << 16
    matrix = struct.pack(">9i", 0, one, 0, -one, 0, 0, 240 * one, 0, 1 << 30)
    turned.write_bytes(data[:at] + matrix + data[at + 36:])
    (FOLDER / "video-torn.mp4").write_bytes(data[:len(data) // 3])


def damage():
    whole = {path.name: path.read_bytes() for path in map(FOLDER.joinpath, (
        "kind-444.jpg", "kind.png", "kind.webp", "kind.gif", "kind.tif", "kind.heic", "kind.avif", "grid.heic", "raw.nef"))}
    for name, data in whole.items():
        stem, kind = name.rsplit(".", 1)
        for part in (10, 50, 95):
            (FOLDER / f"torn-{part}-{stem}.{kind}").write_bytes(data[:len(data) * part // 100])
        (FOLDER / f"only-a-head-{stem}.{kind}").write_bytes(data[:24])
        broken = bytearray(data)
        for at in range(len(data) // 2, len(data), max(1, len(data) // 50)):
            broken[at] ^= 0x5a
        (FOLDER / f"broken-{stem}.{kind}").write_bytes(broken)
    (FOLDER / "jpeg-called.png").write_bytes(whole["kind-444.jpg"])
    (FOLDER / "png-called.jpg").write_bytes(whole["kind.png"])
    (FOLDER / "heic-called.jpg").write_bytes(whole["kind.heic"])
    (FOLDER / "春の庭 🌸 'quoted' \"double\".jpg").write_bytes(whole["kind-444.jpg"])
    (FOLDER / "no extension").write_bytes(whole["kind.png"])
    (FOLDER / "not-a-picture.jpg").write_bytes(b"%PDF-1.7\n" + bytes(500))
    (FOLDER / "text.png").write_text("no picture\n")
    (FOLDER / "empty.jpg").write_bytes(b"")
    (FOLDER / "zeros.jpg").write_bytes(bytes(4096))


def huge():
    rows = (b"\0" + bytes(6250) for _ in range(50_000))
    (FOLDER / "bomb-50000x50000.png").write_bytes(png(50_000, 50_000, 1, 0, rows))
    rows = (b"\0" + bytes(90_000) for _ in range(30_000))
    (FOLDER / "bomb-30000x30000.png").write_bytes(png(30_000, 30_000, 8, 2, rows))
    rows = (b"\0" + bytes(range(256)) * 195 + bytes(80) for _ in range(10))
    (FOLDER / "wide-50000x10.png").write_bytes(png(50_000, 10, 8, 0, rows))
    rows = (b"\0" + bytes(15_000 * 3) for _ in range(15_000))
    (FOLDER / "large-15000x15000.png").write_bytes(png(15_000, 15_000, 8, 2, rows))
    scene(8000, 6000).save(FOLDER / "large-8000x6000.jpg", quality=85)
    # A compressed text that unpacks to 200 MB, where a packet of XMP would be.
    bomb = zlib.compress(bytes(200_000_000), 9)
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + bomb)
    rows = (b"\0" + bytes(30) for _ in range(10))
    (FOLDER / "bomb-text.png").write_bytes(png(10, 10, 8, 2, rows, text))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    for part in (orientations, dates, places, words, codings, profiles, heifs, raws, videos, damage, huge):
        part()
    for path in (FOLDER / "parts").iterdir():
        path.unlink()
    (FOLDER / "parts").rmdir()
    exiftool.end()


main()
