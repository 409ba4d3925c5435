"""How fast the input pipeline is beside its decoders alone, on real files of Concept-128.

python benchmarks/input_pipeline.py [--rounds 5] [--out build/benchmarks]

- Rate: records a second through reader and `decode`, beside the same decoder called on the same
  content by as many threads and nothing else. Rounds take turns; medians.
- Memory: resident size after 10,000 and after 100,000 records.
- Starvation: time of a training step with the pipeline, beside one batch again and again.
"""

import argparse
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import soundfile
import tensorflow as tf
import tensorflow_text
from PIL import Image

from mmzoo import encoders
from mmzoo.data import concept128, decode_text, read_audio, readers
from mmzoo.data.prepare import prepare_dataset
from mmzoo.io.files import atomic_write, write_json

THREADS = 2
SIZE = 256  # pixels: what models of photographs are trained on
COUNT = 512  # files of a kind
NAMES = {"jpg": "JPEG", "png": "PNG", "wav": "WAV", "ogg": "Ogg Vorbis", "flac": "FLAC"}
PICTURES, SOUNDS = ("jpg", "png"), ("wav", "ogg", "flac")


def make_files(folder):
    """Pictures of 256 pixels and sounds of 0.8 s, a folder a kind; and the texts."""
    inputs, _ = concept128.draw_samples("validation")
    for kind in (*PICTURES, *SOUNDS):
        (folder / kind / "all").mkdir(parents=True)
    for k in range(COUNT):
        image = Image.fromarray(inputs["image"][k % len(inputs["image"])])
        for kind in PICTURES:
            image.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(
                folder / kind / "all" / f"{k}.{kind}", quality=90
            )
        for kind in SOUNDS:
            waveform = inputs["audio"][k % len(inputs["audio"])]
            soundfile.write(folder / kind / "all" / f"{k}.{kind}", waveform, 16_000)
    return decode_text(inputs["text"][np.arange(COUNT) % len(inputs["text"])])


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def raw(decoder, contents):
    """The decoder on every content, by some threads."""

    def one(part):
        for content in part:
            decoder(content)

    def work():
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, [contents[k::THREADS] for k in range(THREADS)]))

    return work


def through(dataset):
    def work():
        for _ in dataset:
            pass

    return work


def races(folder, texts):
    """Dict of kind to (the decoder alone, the pipeline)."""
    image = tf.function(
        lambda content: tf.io.decode_image(content, channels=3, expand_animations=False),
        input_signature=[tf.TensorSpec((), tf.string)],
    )
    found = {}
    for kind in (*PICTURES, *SOUNDS):
        files = sorted((folder / kind / "all").iterdir())
        contents = [path.read_bytes() for path in files]
        if kind in PICTURES:
            contents, decoder = [tf.constant(content) for content in contents], image
        else:
            decoder = read_audio
        sources = {NAMES[kind]: readers.read_folder(folder / kind)}
        if kind == "flac":
            sources["FLAC in record files"] = read_flac_records(folder)
        for name, source in sources.items():
            data = readers.decode(
                source, threads=THREADS, image_size=(SIZE, SIZE),
                modalities=["image" if kind in PICTURES else "audio"],
            )  # fmt: skip
            found[name] = raw(decoder, contents), through(data.batch(64).prefetch(2))
    words = sorted({word for text in texts for word in text.lower().split()})
    vocabulary = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(["[UNK]", *words], np.arange(len(words) + 1)), 1
    )
    tokenizer = tensorflow_text.BertTokenizer(vocabulary, lower_case=True)
    ids = tf.function(lambda batch: tokenizer.tokenize(batch).merge_dims(-2, -1).to_tensor())
    batches = [tf.constant(texts[k : k + 64]) for k in range(0, COUNT, 64)] * 20
    lines = tf.data.Dataset.from_tensor_slices(texts).repeat(20).batch(64)
    mapped = lines.map(ids, num_parallel_calls=THREADS, deterministic=True).prefetch(2)
    found["texts to word pieces"] = raw(ids, batches), through(mapped)
    return found


def rates(folder, texts, rounds):
    rows = []
    for kind, (alone, pipeline) in races(folder, texts).items():
        alone(), pipeline()  # traced and warm
        pairs = [(seconds(alone), seconds(pipeline)) for _ in range(rounds)]
        count = COUNT * (20 if kind == "texts to word pieces" else 1)
        ratio = statistics.median(a / b for a, b in pairs)
        rows.append({
            "what": kind,
            "alone": count / statistics.median(a for a, _ in pairs),
            "pipeline": count / statistics.median(b for _, b in pairs),
            "ratio": ratio,
        })  # fmt: skip
    return rows


def resident():
    """Mebibytes that this process holds."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("Expected VmRSS in /proc/self/status. Run this on Linux.")


def read_flac_records(folder):
    """The FLAC files again, in the record files that `mmzoo data prepare` makes of them."""
    rows = [{"audio": f"flac/all/{k}.flac", "label": 0} for k in range(COUNT)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "flac.jsonl").write_text(lines, encoding="utf-8")
    prepare_dataset(folder / "flac.jsonl", folder / "flac-records", rows_per_shard=64)
    return readers.read_records(folder / "flac-records")


def make_records(folder, texts):
    rows = [
        {"image": f"jpg/all/{k}.jpg", "audio": f"ogg/all/{k}.ogg", "text": texts[k], "label": k % 9}
        for k in range(COUNT)
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "manifest.jsonl").write_text(lines, encoding="utf-8")
    prepare_dataset(folder / "manifest.jsonl", folder / "records", rows_per_shard=64)
    return readers.read_records(folder / "records")


def memory(records):
    data = readers.decode(records.repeat(), threads=THREADS).batch(50)
    found = {}
    for step, _ in enumerate(data, 1):
        if step * 50 in (10_000, 100_000):
            found[str(step * 50)] = resident()
        if step * 50 >= 100_000:
            return found
    raise RuntimeError("Expected an endless data set. Received: one that ended.")


def starvation(records, rounds):
    image = keras.Input((64, 64, 3), dtype="uint8", name="image")
    audio = keras.Input((12_800,), name="audio")
    joined = keras.layers.Concatenate()(
        [encoders.image(name="image_encoder")(image)["pooled"],
         encoders.audio(name="audio_encoder")(audio)["pooled"]]
    )  # fmt: skip
    model = keras.Model({"image": image, "audio": audio}, keras.layers.Dense(9)(joined))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss)

    def taken(inputs, label):
        return {"image": inputs["image"], "audio": inputs["audio"]}, label

    data = readers.decode(records.repeat(), modalities=["image", "audio"])
    data = data.map(taken).batch(64).prefetch(2)
    same = data.take(1).cache().repeat()
    times: dict[str, list] = {"with": [], "without": []}
    for kind in ["with", "without"] * (rounds + 1):
        source = data if kind == "with" else same
        model.fit(source, steps_per_epoch=2, verbose=0)
        times[kind].append(
            seconds(lambda of=source: model.fit(of, steps_per_epoch=20, verbose=0)) / 20
        )
    return {kind: statistics.median(each[1:]) for kind, each in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    args = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        texts = make_files(folder)
        found = {"rates": rates(folder, texts, args.rounds)}
        records = make_records(folder, texts)
        found["memory"] = memory(records)
        found["step"] = starvation(records, args.rounds)
    print("| | decoder alone, records/s | pipeline, records/s | ratio |\n| --- | --- | --- | --- |")
    for row in found["rates"]:
        print(
            f"| {row['what']} | {row['alone']:.0f} | {row['pipeline']:.0f} | {row['ratio']:.2f} |"
        )
    few, many = found["memory"].values()
    print(f"\nResident: {few:.0f} MiB after 10,000 records, {many:.0f} MiB after 100,000.")
    step = found["step"]
    print(f"Training step: {1000 * step['with']:.1f} ms with the pipeline, "
          f"{1000 * step['without']:.1f} ms with one batch again and again.")  # fmt: skip
    with atomic_write(args.out / "input_pipeline.json") as path:
        write_json(path, found)


if __name__ == "__main__":
    main()
