"""The dtypes of tensors, as TensorFlow and ONNX name them. Needs neither."""

# Numbers of TensorFlow's `DataType`.
TENSORFLOW = {
    1: "float32", 2: "float64", 3: "int32", 4: "uint8", 5: "int16", 6: "int8", 7: "string",
    8: "complex64", 9: "int64", 10: "bool", 14: "bfloat16", 17: "uint16", 18: "complex128",
    19: "float16", 20: "resource", 21: "variant", 22: "uint32", 23: "uint64",
}  # fmt: skip
TENSORFLOW_CODES = {name: code for code, name in TENSORFLOW.items()}
_IN_ONNX = {"float32": "float", "float64": "double"}  # the others have the same name
ONNX = {f"tensor({_IN_ONNX.get(name, name)})": name for name in TENSORFLOW.values()}
