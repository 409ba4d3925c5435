"""Starts the programs of this folder in processes of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

from mmzoo.training.launch.cluster import run_cluster

HERE = Path(__file__).parent
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
ENVIRONMENT.pop("TF_CONFIG", None)


def run(program, *arguments, limit=1200.0):
    """What a program prints last, read as JSON."""
    done = subprocess.run(
        [sys.executable, str(HERE / program), *map(str, arguments)],
        capture_output=True, text=True, timeout=limit, env=ENVIRONMENT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def run_workers(count, folder, program, *arguments, **options):
    """What each of several workers prints last, read as JSON, and how they ended."""
    command = [sys.executable, str(HERE / program), *map(str, arguments)]
    told: list[str] = []
    ended = run_cluster(
        command, workers=count, logs=folder, backoff=0.1, tell=told.append, **options
    )
    logs = [(folder / f"worker-{k}.log").read_text() for k in range(count)]
    said = [json.loads(log.splitlines()[-1]) for log in logs]
    return said, ended, told
