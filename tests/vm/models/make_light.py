#!/usr/bin/env python3
"""Writes light.onnx: a "detector" that believes in a lamp while the picture is light, and costs nothing.

Real detectors take ten seconds a picture on an emulated processor. This one takes the mean of the picture and gives
one row as YOLOv8 does: a box in the middle, and a score that is 0 below and 1 above a mean of THRESHOLD.
"""

import hashlib
import pathlib
import struct

SIDE = 16
THRESHOLD = 0.35
STEEPNESS = 40.0


def varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number, value):
    """A field of a protobuf message: a number, or the bytes of a text or a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def node(operator, inputs, output, attributes=b""):
    names = b"".join(field(1, name) for name in inputs)
    return field(1, names + field(2, output) + field(3, output) + field(4, operator) + attributes)


def ints(name, values):
    return field(5, field(1, name) + b"".join(field(8, value) for value in values) + field(20, 7))


def tensor(name, shape, values):
    raw = struct.pack(f"<{len(values)}f", *values)
    return field(5, b"".join(field(1, side) for side in shape) + field(2, 1) + field(8, name) + field(9, raw))


def value(number, name, shape):
    sides = b"".join(field(1, field(1, side)) for side in shape)
    return field(number, field(1, name) + field(2, field(1, field(1, 1) + field(2, sides))))


middle = SIDE / 2
graph = b"".join([
    node("GlobalAveragePool", ["picture"], "mean"),
    # Five rows of three weights: the box knows nothing of the picture, the score takes all colours alike.
    node("Conv", ["mean", "weights", "offsets"], "column"),
    node("Squeeze", ["column"], "found", ints("axes", [3])),
    field(2, "light"),
    tensor("weights", [5, 3, 1, 1], [0.0] * 12 + [STEEPNESS / 3] * 3),
    tensor("offsets", [5], [middle, middle, middle, middle, -STEEPNESS * THRESHOLD]),
    value(11, "picture", [1, 3, SIDE, SIDE]),
    value(12, "found", [1, 5, 1]),
])
model = field(1, 6) + field(7, graph) + field(8, field(2, 11))

path = pathlib.Path(__file__).with_name("light.onnx")
path.write_bytes(model)
print(f"{path.name}: {len(model)} bytes, SHA-256 {hashlib.sha256(model).hexdigest()}")
