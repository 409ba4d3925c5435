"""What is printed of a certificate."""

import copy

from mmzoo.evaluation.report.summary import print_certificate

CHECK = {
    "signature": "portable", "batch": 3, "output": "p", "sizes": "samples", "holds": True,
    "max_abs": 2e-6, "scale_relative": 2e-6, "agreement": None, "breaches": [],
}  # fmt: skip
CERTIFICATE = {
    "tolerance": 1e-5,
    "not_run": {"image 1x1": "kernel [3, 3] is larger"},
    "formats": {
        "tflite": {
            "checks": [CHECK, {**CHECK, "max_abs": 4e-6}], "holds": True, "metric": None,
            "bytes": 2_500_000, "latency_ms": {"1": 1.25, "3": 2.0},
        },
        "onnx": {"checks": [], "holds": False, "breaches": []},
    },
}  # fmt: skip


def test_a_line_an_artifact(capsys):
    print_certificate(CERTIFICATE)
    said = capsys.readouterr().out
    [tflite] = [line for line in said.splitlines() if "tflite" in line]
    assert tflite.split() == ["tflite", "2", "4.0e-06", "2.5", "1.2", "yes"]
    [onnx] = [line for line in said.splitlines() if "onnx" in line]
    assert onnx.split() == ["onnx", "0", "NO"]
    assert "image 1x1 (kernel [3, 3] is larger)" in said.replace("\n", " ")


def test_a_check_that_does_not_hold_is_printed_whole(capsys):
    broken = copy.deepcopy(CERTIFICATE)
    broken["formats"]["tflite"]["checks"][0] |= {"holds": False, "breaches": ["it is [off]"]}
    print_certificate(broken)
    said = " ".join(capsys.readouterr().out.split())
    assert "tflite, portable, batch 3, samples, output 'p': it is [off]" in said
