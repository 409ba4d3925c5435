"""Writes a corpus of augmented samples of Concept-128: pictures, sounds and a manifest.

python tools/sample_corpus.py --records 100000 --out build/corpus
"""

import argparse
import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from mmzoo.data import concept128, decode_text
from mmzoo.data.concept128 import stream
from mmzoo.training.launch.arguments import positive_int

BATCH = 100
PICTURES, SOUNDS = ("png", "jpg"), ("wav", "ogg", "flac")


def write(out, number, inputs, row):
    """One sample's files; returns its row of the manifest."""
    place = f"{number // 1000:04d}"
    picture = f"pictures/{place}/{number:07d}.{PICTURES[number % len(PICTURES)]}"
    sound = f"sounds/{place}/{number:07d}.{SOUNDS[number % len(SOUNDS)]}"
    Image.fromarray(inputs["image"][row]).save(out / picture, quality=90)
    soundfile.write(out / sound, inputs["audio"][row], concept128.SAMPLE_RATE)
    text = decode_text(inputs["text"][row : row + 1])[0]
    return picture, text, sound


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=positive_int, default=100_000)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    names = concept128.class_names()
    for k in range((args.records - 1) // 1000 + 1):
        for kind in ("pictures", "sounds"):
            (args.out / kind / f"{k:04d}").mkdir(parents=True, exist_ok=True)
    batches = stream.training_stream(concept128.load_sources("train"), BATCH, args.seed)
    with (
        (args.out / "manifest.csv").open("w", encoding="utf-8", newline="") as file,
        ThreadPoolExecutor(2) as pool,
    ):
        table = csv.writer(file)
        table.writerow(["id", "image", "text", "audio", "label"])
        number = 0
        for inputs, labels in batches.as_numpy_iterator():
            count = min(BATCH, args.records - number)
            rows = pool.map(
                lambda row, at=number, of=inputs: write(args.out, at + row, of, row), range(count)
            )
            for row, (picture, text, sound) in enumerate(rows):
                label = names[int(np.asarray(labels)[row])]
                table.writerow([f"s{number + row:07d}", picture, text, sound, label])
            number += count
            if number == args.records:
                break
    print(f"{number:,} samples: {args.out / 'manifest.csv'}")


if __name__ == "__main__":
    main()
