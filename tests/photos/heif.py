"""Pictures of HEIF as phones write them: heif-enc makes the coded parts, this puts them together again."""

import struct


def boxes(data, at=0, end=None):
    """Kind, begin of the content and end of each box."""
    end = len(data) if end is None else end
    while at + 8 <= end:
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        yield kind, at + 8, at + size
        at += size


def items(path):
    """The coded pictures of a file: their kind, configuration and bytes."""
    data = path.read_bytes()
    top = {kind: (begin, end) for kind, begin, end in boxes(data)}
    begin, end = top[b"meta"]
    meta = {kind: (begin, end) for kind, begin, end in boxes(data, begin + 4, end)}
    begin, end = meta[b"iprp"]
    properties = next((begin, end) for kind, begin, end in boxes(data, begin, end) if kind == b"ipco")
    configurations = [data[begin - 8:end] for kind, begin, end in boxes(data, *properties) if kind in (b"hvcC", b"av1C")]
    begin, end = meta[b"iloc"]
    version, sizes = data[begin], data[begin + 4:begin + 6]
    base_size = sizes[1] >> 4
    assert version in (0, 1) and sizes[0] == 0x44, (version, sizes)
    at, found = begin + 8, []
    for _ in range(struct.unpack(">H", data[begin + 6:begin + 8])[0]):
        at += 2 + (2 if version == 1 else 0) + 2
        base = int.from_bytes(data[at:at + base_size], "big")
        at += base_size
        extents = struct.unpack(">H", data[at:at + 2])[0]
        assert extents == 1
        offset, length = struct.unpack(">II", data[at + 2:at + 10])
        at += 10
        found.append(data[base + offset:base + offset + length])
    return list(zip(configurations, found))


def box(kind, *parts):
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def full(kind, version, *parts, flags=0):
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def write(path, coded, width, height, grid=None, rotation=0, mirror=None, exif=None):
    """One picture, or a grid of `grid` rows and columns; `rotation` counts quarters against the clock."""
    tile = (256, 256) if grid else (width, height)
    properties = [coded[0][0], full(b"ispe", 0, struct.pack(">II", *tile)), full(b"ispe", 0, struct.pack(">II", width, height))]
    turns = []
    if rotation:
        properties.append(box(b"irot", bytes([rotation])))
        turns.append(len(properties))
    if mirror is not None:
        properties.append(box(b"imir", bytes([mirror])))
        turns.append(len(properties))
    entries, places, links, references = [], [], [], []
    contents = [data for _, data in coded]
    for number in range(1, len(coded) + 1):
        entries.append((number, b"hvc1", 1 if grid else 0))
        links.append((number, [0x81, 2] + ([] if grid else [0x80 | turn for turn in turns])))
    primary = 1
    if grid:
        primary = len(coded) + 1
        entries.append((primary, b"grid", 0))
        contents.append(struct.pack(">BBBBII", 0, 1, grid[0] - 1, grid[1] - 1, width, height))
        links.append((primary, [3] + [0x80 | turn for turn in turns]))
        references.append(box(b"dimg", struct.pack(">HH", primary, len(coded)),
                              b"".join(struct.pack(">H", number) for number in range(1, len(coded) + 1))))
    if exif:
        number = len(contents) + 1
        entries.append((number, b"Exif", 1))
        contents.append(struct.pack(">I", 6) + b"Exif\0\0" + exif)
        references.append(box(b"cdsc", struct.pack(">HHH", number, 1, primary)))

    def meta(first):
        at = first
        places.clear()
        for number, content in enumerate(contents, 1):
            places.append(struct.pack(">HHHII", number, 0, 1, at, len(content)))
            at += len(content)
        infos = [full(b"infe", 2, struct.pack(">HH4s", number, 0, kind), b"\0", flags=hidden) for number, kind, hidden in entries]
        ipma = struct.pack(">I", len(links)) + b"".join(
            struct.pack(">HB", number, len(indices)) + bytes(indices) for number, indices in links)
        return full(
            b"meta", 0,
            full(b"hdlr", 0, bytes(4), b"pict", bytes(12), b"\0"),
            full(b"pitm", 0, struct.pack(">H", primary)),
            full(b"iloc", 0, bytes([0x44, 0]), struct.pack(">H", len(places)), *places),
            full(b"iinf", 0, struct.pack(">H", len(infos)), *infos),
            *([full(b"iref", 0, *references)] if references else []),
            box(b"iprp", box(b"ipco", *properties), full(b"ipma", 0, ipma)),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    first = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(first) + box(b"mdat", *contents))
