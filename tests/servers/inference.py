"""Asks a box as a program of Triton does, over HTTP and gRPC, and prints what each way gave as JSON.

usage: inference.py HOST:PORT PICTURE MODEL PIPELINE
"""

import base64
import json
import queue
import sys

import numpy
import tritonclient.grpc
import tritonclient.http

ADDRESS, PICTURE, MODEL, PIPELINE = sys.argv[1:]
CONTENT = open(PICTURE, "rb").read()
NAMES = ("boxes", "scores", "classes", "labels")


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def things(result):
    arrays = {name: result.as_numpy(name) for name in NAMES}
    return [
        {"label": text(label), "score": float(score), "class": int(number), "box": [float(side) for side in box]}
        for box, score, number, label in zip(*(arrays[name] for name in NAMES), strict=True)
    ]


def picture(client, content=CONTENT, **options):
    tensor = client.InferInput("image", [1], "BYTES")
    tensor.set_data_from_numpy(numpy.array([content], dtype=object), **options)
    return tensor


def refused(ask):
    try:
        ask()
    except Exception as refusal:
        return str(refusal)
    return None


def over_http(seen):
    client = tritonclient.http
    box = client.InferenceServerClient(ADDRESS)
    seen["http_ready"] = [box.is_server_live(), box.is_server_ready(), box.is_model_ready(MODEL), box.is_model_ready(PIPELINE)]
    seen["metadata"] = box.get_model_metadata(MODEL)
    seen["config"] = box.get_model_config(MODEL)["name"]
    seen["pipeline_config"] = [[output["name"], output["data_type"]] for output in box.get_model_config(PIPELINE)["output"]]
    seen["http_binary"] = things(box.infer(MODEL, [picture(client)]))
    outputs = [client.InferRequestedOutput(name, binary_data=False) for name in NAMES]
    plain = picture(client, base64.b64encode(CONTENT), binary_data=False)
    answer = box.infer(MODEL, [plain], outputs=outputs, request_id="42")
    seen["http_json"], seen["id"] = things(answer), answer.get_response()["id"]
    only = [client.InferRequestedOutput("labels")]
    seen["only_labels"] = [output["name"] for output in box.infer(MODEL, [picture(client)], outputs=only).get_response()["outputs"]]
    answer = box.infer(PIPELINE, [picture(client)])
    seen["pipeline"] = {"number": float(answer.as_numpy("number")[0]), "picture": answer.as_numpy("picture")[0][:2].hex()}
    seen["pipeline_types"] = [
        {output["name"]: output["datatype"] for output in box.get_model_metadata(PIPELINE)["outputs"]},
        {output["name"]: output["datatype"] for output in answer.get_response()["outputs"]},
    ]
    counts = box.get_inference_statistics(PIPELINE)["model_stats"]
    seen["pipeline_counts"] = [[of["name"], of["inference_count"], of["inference_stats"]["success"]["count"]] for of in counts]
    seen["objects"] = json.loads(answer.as_numpy("objects")[0])
    seen["index"] = [model["name"] for model in box.get_model_repository_index()]
    box.unload_model(MODEL)
    box.load_model(MODEL)
    seen["http_unknown"] = refused(lambda: box.infer("nothing", [picture(client)]))
    seen["http_text"] = refused(lambda: box.infer(MODEL, [picture(client, b"no picture")]))


def over_grpc(seen):
    client = tritonclient.grpc
    box = client.InferenceServerClient(ADDRESS)
    seen["grpc_ready"] = [box.is_server_live(), box.is_server_ready(), box.is_model_ready(MODEL), box.is_model_ready(PIPELINE)]
    seen["grpc_inputs"] = [tensor.name for tensor in box.get_model_metadata(PIPELINE).inputs]
    config = box.get_model_config(MODEL).config
    # Numbers of types: 11 is TYPE_FP32, 13 is TYPE_STRING.
    seen["grpc_config"] = [
        config.name,
        [[tensor.name, tensor.data_type, list(tensor.dims), tensor.optional] for tensor in config.input],
        [[tensor.name, tensor.data_type] for tensor in config.output[:2]],
    ]
    counts = box.get_inference_statistics(PIPELINE).model_stats
    seen["grpc_pipeline_counts"] = [[of.name, of.inference_count, of.inference_stats.success.count] for of in counts]
    seen["grpc"] = things(box.infer(MODEL, [picture(client)]))
    seen["grpc_index"] = [model.name for model in box.get_model_repository_index().models]
    seen["grpc_unknown"] = refused(lambda: box.infer("nothing", [picture(client)]))
    answers = queue.Queue()
    box.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(5):
        content = b"no picture" if number == 2 else CONTENT
        box.async_stream_infer(MODEL, [picture(client, content)], request_id=str(number))
    seen["stream"] = []
    for _ in range(5):
        result, error = answers.get(timeout=120)
        seen["stream"].append("refused" if error else result.get_response().id)
    box.stop_stream()


def main():
    seen = {}
    over_http(seen)
    over_grpc(seen)
    print(json.dumps(seen))


main()
