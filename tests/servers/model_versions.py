"""Asks a box for the versions of a model and their statistics, over HTTP and gRPC, and prints what each way gave as JSON.

usage: model_versions.py HOST:PORT PICTURE MODEL
"""

import json
import sys

import numpy
import tritonclient.grpc
import tritonclient.http

ADDRESS, PICTURE, MODEL = sys.argv[1:]
CONTENT = open(PICTURE, "rb").read()


def picture(client):
    tensor = client.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(numpy.array([CONTENT], dtype=object))
    return [tensor]


def refused(ask):
    try:
        ask()
    except Exception as refusal:
        return str(refusal)
    return None


def asked(client, box, version=""):
    answer = box.infer(MODEL, picture(client), model_version=version)
    response = answer.get_response()
    used = response["model_version"] if isinstance(response, dict) else response.model_version
    label = answer.as_numpy("labels")[0]
    return [used, label.decode() if isinstance(label, bytes) else label]


def raw(client, box, side=320):
    tensor = client.InferInput("tensor", [1, 3, side, side], "FP32")
    tensor.set_data_from_numpy(numpy.full((1, 3, side, side), 0.5, dtype=numpy.float32))
    answer = box.infer(MODEL, [tensor])
    response = answer.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else response.outputs
    name = outputs[0]["name"] if isinstance(outputs[0], dict) else outputs[0].name
    found = answer.as_numpy(name)
    return [len(outputs), list(found.shape), bool(numpy.isfinite(found).all()), float(found.sum())]


def number(duration):
    return [int(duration["count"]), int(duration["ns"])] if isinstance(duration, dict) else [duration.count, duration.ns]


def over_http():
    client = tritonclient.http
    box = client.InferenceServerClient(ADDRESS, network_timeout=300.0, connection_timeout=300.0)
    versions = box.get_model_metadata(MODEL)["versions"]
    seen = {
        "versions": versions,
        "newest": asked(client, box),
        "first": asked(client, box, "1"),
        "ready": [box.is_model_ready(MODEL, version) for version in versions],
        "broken": refused(lambda: asked(client, box, versions[-1])),
        "unknown": refused(lambda: asked(client, box, "9")),
        "index": [[m["name"], m["version"], m["state"], m["reason"]] for m in box.get_model_repository_index()],
        "raw": raw(client, box),
        "raw_wrong": refused(lambda: raw(client, box, 32)),
        "tensors": box.get_model_metadata(MODEL).get("tensors"),
        "extensions": box.get_server_metadata()["extensions"],
    }
    stats = box.get_inference_statistics(MODEL)["model_stats"]
    seen["stats"] = {s["version"]: {k: number(v) for k, v in s["inference_stats"].items()} for s in stats}
    seen["counts"] = {s["version"]: [s["inference_count"], s["last_inference"] > 0, s["failed_by_reason"]] for s in stats}
    one = box.get_inference_statistics(MODEL, "1")["model_stats"]
    seen["one"] = [[s["name"], s["version"]] for s in one]
    seen["all"] = [[s["name"], s["version"]] for s in box.get_inference_statistics()["model_stats"]]
    return seen


def over_grpc():
    client = tritonclient.grpc
    box = client.InferenceServerClient(ADDRESS)
    versions = list(box.get_model_metadata(MODEL).versions)
    seen = {
        "versions": versions,
        "newest": asked(client, box),
        "first": asked(client, box, "1"),
        "ready": [box.is_model_ready(MODEL, version) for version in versions],
        "broken": refused(lambda: asked(client, box, versions[-1])),
        "unknown": refused(lambda: asked(client, box, "9")),
        "raw": raw(client, box),
        "raw_wrong": refused(lambda: raw(client, box, 32)),
        "index": [[m.name, m.version, m.state, m.reason] for m in box.get_model_repository_index().models],
    }
    stats = box.get_inference_statistics(MODEL).model_stats
    names = ("success", "fail", "queue", "compute_infer")
    seen["stats"] = {s.version: {name: number(getattr(s.inference_stats, name)) for name in names} for s in stats}
    seen["one"] = [[s.name, s.version] for s in box.get_inference_statistics(MODEL, "1").model_stats]
    return seen


print(json.dumps({"http": over_http(), "grpc": over_grpc()}))
