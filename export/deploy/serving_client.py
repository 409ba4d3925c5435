"""A client of TensorFlow Serving, by name: gRPC or REST."""

import base64
import json
import urllib.error
import urllib.request

import numpy as np


class ServingError(RuntimeError):
    """The server refused a request; with its own words."""


def predict_by_grpc(address, model, inputs, *, signature="serving_default", timeout=10.0) -> dict:
    """Asks a server over gRPC.

    Args:
        address: `host:port`, the server's 8500.
        model: The model's name there.
        inputs: Dict of input name to array `(batch, ...)`; strings as bytes.
        signature: One of the SavedModel's.
        timeout: Seconds.

    Returns:
        Dict of output name to array.

    Raises:
        ServingError: If the server refuses, or does not answer in time.
    """
    import grpc
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    with grpc.insecure_channel(address) as channel:
        service = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        try:
            response = service.Predict(request, timeout=timeout)
        except grpc.RpcError as error:
            raise ServingError(f"{address}: {error.code().name}: {error.details()}") from error
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def predict_by_rest(address, model, inputs, *, signature="serving_default", timeout=10.0) -> dict:
    """Asks a server over REST; arguments and result as `predict_by_grpc`, port 8501.

    Bytes travel as base64, floats as decimal numbers, NaN not at all.
    """
    body = {
        "signature_name": signature,
        "inputs": {name: _encodable(np.asarray(value)) for name, value in inputs.items()},
    }
    request = urllib.request.Request(
        f"http://{address}/v1/models/{model}:predict",
        json.dumps(body, allow_nan=False).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            outputs = json.load(response)["outputs"]
    except urllib.error.HTTPError as error:
        raise ServingError(f"{address}: {error.code}: {error.read().decode()}") from error
    except OSError as error:
        raise ServingError(f"{address}: {error}") from error
    # A single output comes without its name.
    outputs = outputs if isinstance(outputs, dict) else {"": outputs}
    return {name: np.array(value) for name, value in outputs.items()}


def _encodable(value):
    if value.dtype.kind in "SO":
        return [{"b64": base64.b64encode(item).decode()} for item in value.tolist()]
    return value.tolist()
