"""The server that one writes in an afternoon: FastAPI takes a JPEG, Pillow decodes it, onnxruntime runs the model.

usage: uvicorn plain_server:app; PLAIN_THREADS: threads of onnxruntime, as it likes by default
"""

import io
import os
import pathlib
import sys

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/reference"))

from make_reference import MODEL, decode, letterbox

OPTIONS = onnxruntime.SessionOptions()
OPTIONS.log_severity_level = 3
OPTIONS.intra_op_num_threads = int(os.environ.get("PLAIN_THREADS", "0"))
SESSION = onnxruntime.InferenceSession(str(ROOT / "models" / f"{MODEL}.onnx"), OPTIONS)
INPUT = SESSION.get_inputs()[0].name
LABELS = (ROOT / "models" / "coco.labels").read_text().splitlines()
app = FastAPI()


def look(content):
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    canvas, (left, top, width, height) = letterbox(picture)
    tensor = canvas.astype(np.float32).transpose(2, 0, 1)[None] / 255
    (output,) = SESSION.run(None, {INPUT: tensor})
    found = []
    for label, score, corners in decode(output[0]):
        inside = np.clip((corners - [left, top, left, top]) / [width, height, width, height], 0, 1)
        found.append({"label": LABELS[label], "score": score, "box": [float(side) for side in inside]})
    return found


@app.post("/detect")
async def detect(request: Request):
    content = await request.body()
    return {"objects": await run_in_threadpool(look, content)}
