"""A contract double of TensorFlow Serving: its messages and its words, not its server.

It answers Predict over gRPC and REST from a SavedModel that TensorFlow's C API runs.
"""

import base64
import contextlib
import json
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from mmzoo.export.runtimes.process import RuntimeFailure, run_artifact


class Double(prediction_service_pb2_grpc.PredictionServiceServicer):
    """One model, by its folder of versions and its name."""

    def __init__(self, folder, name):
        versions = [int(p.name) for p in folder.iterdir() if p.name.isdecimal()]
        self.path, self.name = folder / str(max(versions)), name

    def answer(self, name, signature, inputs):
        if name != self.name:
            raise LookupError(f"Servable not found for request: Latest({name})")
        count = len(next(iter(inputs.values())))
        run = run_artifact("saved_model", self.path, inputs, [(count, count)], signature=signature)
        return run.outputs[0]

    def Predict(self, request, context):
        inputs = {}
        for name, value in request.inputs.items():
            array = tf.make_ndarray(value)
            inputs[name] = array.astype("S") if array.dtype == object else array
        spec = request.model_spec
        try:
            outputs = self.answer(spec.name, spec.signature_name, inputs)
        except LookupError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
        except RuntimeFailure as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        response = predict_pb2.PredictResponse()
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


@contextlib.contextmanager
def serve_grpc(double):
    server = grpc.server(futures.ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(double, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)


@contextlib.contextmanager
def serve_rest(double, dtypes):
    """`dtypes`: of the inputs, which JSON does not carry and the server knows."""

    def decoded(value):
        if isinstance(value, dict):
            return base64.b64decode(value["b64"])
        return [decoded(each) for each in value] if isinstance(value, list) else value

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = self.path.removeprefix("/v1/models/").removesuffix(":predict")
            inputs = {n: np.array(decoded(v), dtypes[n]) for n, v in body["inputs"].items()}
            try:
                made = double.answer(name, body["signature_name"], inputs)
                outputs = {key: value.tolist() for key, value in made.items()}
                status, answer = 200, {"outputs": outputs}
                if len(outputs) == 1:
                    answer = {"outputs": next(iter(outputs.values()))}
            except (LookupError, RuntimeFailure) as error:
                status, answer = 404, {"error": str(error)}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *arguments):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
