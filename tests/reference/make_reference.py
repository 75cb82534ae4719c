#!/usr/bin/env python3
"""Makes the reference values that tests/detections.rs compares with.

An implementation of its own, on purpose: Pillow scales, numpy places and decodes, onnxruntime runs the
model. Nothing is shared with the product but the model, its labels and the sample pictures.

    python3 -m venv venv && venv/bin/pip install onnxruntime numpy pillow
    venv/bin/python tests/reference/make_reference.py

Writes beside itself:
    <picture>.png      the model's input as 8-bit RGB, before scaling to 0..1
    detections.json    what onnxruntime sees in it: label, score, and the box as [left, top, right, bottom]
                       in shares of the model's input, and of the picture
"""

import json
import pathlib

import numpy as np
import onnxruntime
from PIL import Image

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PICTURES = ["dog", "person", "giraffe", "eagle"]
MODEL = "nanodet-g-320"
SIDE = 320
MIN_SCORE = 0.3
NMS_IOU = 0.6


def letterbox(picture):
    """As large as it goes, centred, black bars; triangle filter. Returns the input and the picture's place."""
    scale = SIDE / max(picture.size)
    width, height = (round(side * scale) for side in picture.size)
    left, top = (SIDE - width) // 2, (SIDE - height) // 2
    canvas = np.zeros((SIDE, SIDE, 3), np.uint8)
    canvas[top : top + height, left : left + width] = picture.resize((width, height), Image.BILINEAR)
    return canvas, (left, top, width, height)


def area(boxes):
    return np.prod(boxes[..., 2:] - boxes[..., :2], axis=-1)


def overlap(one, others):
    lower = np.maximum(one[:2], others[:, :2])
    upper = np.minimum(one[2:], others[:, 2:])
    common = np.prod(np.clip(upper - lower, 0, None), axis=1)
    return common / (area(one) + area(others) - common)


def decode(output):
    """[84, N] -> list of (class, score, corners in input pixels), best first."""
    centre, size, scores = output[:2].T, output[2:4].T, output[4:].T
    corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
    classes, best = scores.argmax(axis=1), scores.max(axis=1)
    found = []
    for label in np.unique(classes[best >= MIN_SCORE]):
        left = np.flatnonzero((classes == label) & (best >= MIN_SCORE))
        left = left[np.argsort(-best[left])]
        while left.size:
            first, rest = left[0], left[1:]
            found.append((int(label), float(best[first]), corners[first]))
            left = rest[overlap(corners[first], corners[rest]) <= NMS_IOU]
    return sorted(found, key=lambda item: -item[1])


def rounded(values):
    return [round(float(value), 5) for value in values]


def main():
    labels = (ROOT / "models" / "coco.labels").read_text().splitlines()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(ROOT / "models" / f"{MODEL}.onnx"), options)
    result = {"model": MODEL, "made_with": f"onnxruntime {onnxruntime.__version__}", "pictures": {}}
    for name in PICTURES:
        picture = Image.open(ROOT / "tests" / "fixtures" / "pictures" / f"{name}.jpg").convert("RGB")
        canvas, (left, top, width, height) = letterbox(picture)
        Image.fromarray(canvas).save(HERE / f"{name}.png", optimize=True)
        tensor = canvas.astype(np.float32).transpose(2, 0, 1)[None] / 255
        (output,) = session.run(None, {session.get_inputs()[0].name: tensor})
        detections = []
        for label, score, corners in decode(output[0]):
            inside = (corners - [left, top, left, top]) / [width, height, width, height]
            detections.append(
                {
                    "label": labels[label],
                    "score": round(score, 5),
                    "in_input": rounded(np.clip(corners / SIDE, 0, 1)),
                    "in_picture": rounded(np.clip(inside, 0, 1)),
                }
            )
        result["pictures"][name] = {"place": [left, top, width, height], "detections": detections}
    (HERE / "detections.json").write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
