"""Small TF-Hub modules with the real ones' interfaces, written with plain TensorFlow.

Each builder takes the folder to write and returns it. None uses `mmzoo.hub.publish`: what
others publish is not made by it.
"""

import functools

import numpy as np
import tensorflow as tf

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "green", "apple", "tree", "how", "are", "you")
BERT = ("input_word_ids", "input_mask", "input_type_ids")
LENGTH = 8  # tokens of the BERT-style pair
WINDOW, HOP = 400, 160  # samples
PATCH = 96  # frames of log-mel an embedding
YAMNET_SAMPLES = 15_600  # one patch: 0.975 s at 16 kHz


class _Rng:
    """Seeded weights, so that two builds are equal and no weight is zero."""

    def __init__(self, seed=0):
        self.rng = np.random.default_rng(seed)

    def __call__(self, name, *shape, trainable=True, scale=0.3):
        values = (scale * self.rng.standard_normal(shape)).astype("float32")
        return tf.Variable(values, trainable=trainable, name=name)


def image(folder, dropout=0.3, l2=0.01, seed=0):
    """Feature vector: float `(N, H, W, 3)` in [0, 1] to `(N, 6)`.

    As google/imagenet/*/feature_vector: convolution, batch normalisation, ReLU, pooling,
    dropout, dense; `__call__(inputs, training)`, `variables`, `trainable_variables`,
    `regularization_losses`.
    """
    weight = _Rng(seed)
    kernel = weight("stem/conv/kernel", 3, 3, 3, 4)
    gamma, beta = weight("stem/norm/gamma", 4), weight("stem/norm/beta", 4)
    mean = weight("stem/norm/moving_mean", 4, trainable=False)
    variance = tf.Variable(tf.fill([4], 0.7), trainable=False, name="stem/norm/moving_variance")
    head, bias = weight("head/kernel", 4, 6), weight("head/bias", 6)

    def call(inputs, training=False):
        x = tf.nn.conv2d(inputs, kernel, 2, "SAME")
        if training:
            center, spread = tf.nn.moments(x, [0, 1, 2])
            mean.assign_sub((mean - center) * 0.1)
            variance.assign_sub((variance - spread) * 0.1)
        else:
            center, spread = tf.identity(mean), tf.identity(variance)
        x = tf.nn.relu((x - center) * tf.math.rsqrt(spread + 1e-3) * gamma + beta)
        x = tf.reduce_mean(x, [1, 2])
        x = tf.nn.dropout(x, dropout) if training and dropout else x
        return x @ head + bias

    root = tf.train.Checkpoint()
    root.__call__ = _traced(call, tf.TensorSpec([None, None, None, 3]), training=True)
    root.variables = [kernel, gamma, beta, mean, variance, head, bias]
    root.trainable_variables = [kernel, gamma, beta, head, bias]
    root.regularization_losses = [_l2(each, l2) for each in (kernel, head)]
    return _save(root, folder)


def bert_preprocessor(folder):
    """str `(N,)` to `input_word_ids`, `input_mask`, `input_type_ids`, int32 `(N, 8)`."""
    table = _vocabulary(folder, WORDS)

    def call(sentences):
        ids = table.lookup(tf.strings.split(tf.strings.lower(sentences)))
        ids = ids.to_tensor(0, shape=[None, LENGTH - 1])
        ids = tf.cast(tf.pad(ids, [[0, 0], [1, 0]], constant_values=2), "int32")
        return {
            "input_word_ids": ids,
            "input_mask": tf.cast(ids > 0, "int32"),
            "input_type_ids": tf.zeros_like(ids),
        }

    root = tf.train.Checkpoint()
    root.__call__ = _traced(call, tf.TensorSpec([None], tf.string))
    root.table = table
    return _save(root, folder)


def bert_batch(ids):
    """The encoder's inputs for rows of token ids; the second half of a row is its second text."""
    ids = np.array(ids, "int32")
    kinds = np.broadcast_to(np.arange(ids.shape[1]) * 2 >= ids.shape[1], ids.shape)
    return {
        "input_word_ids": ids,
        "input_mask": (ids > 0).astype("int32"),
        "input_type_ids": kinds.astype("int32"),
    }


def bert_encoder(folder, units=6):
    """The preprocessor's dict to `pooled_output`, `sequence_output` and `encoder_outputs`.

    `encoder_outputs` is a list, one a layer, as in tensorflow/bert_en_uncased/4.
    """
    weight = _Rng()
    embedding = weight("bert/word_embeddings", len(WORDS), units)
    kinds = weight("bert/type_embeddings", 2, units)
    kernels = [weight(f"bert/layer_{k}/kernel", units, units) for k in range(2)]
    pooler = weight("bert/pooler/kernel", units, units)

    def call(inputs, training=False):
        x = tf.gather(embedding, inputs["input_word_ids"])
        x = x + tf.gather(kinds, inputs["input_type_ids"])
        kept = tf.cast(inputs["input_mask"], "float32")[..., None]
        layers = []
        for kernel in kernels:
            context = tf.reduce_sum(x * kept, 1, True) / tf.reduce_sum(kept, 1, True)
            x = x + tf.tanh((x + context) @ kernel)
            x = tf.nn.dropout(x, 0.1) if training else x
            layers.append(x)
        return {
            "pooled_output": tf.tanh(x[:, 0] @ pooler),
            "sequence_output": x,
            "encoder_outputs": layers,
        }

    root = tf.train.Checkpoint()
    root.__call__ = _traced(
        call, {name: tf.TensorSpec([None, None], tf.int32) for name in BERT}, training=True
    )
    root.variables = [embedding, kinds, *kernels, pooler]
    root.trainable_variables = list(root.variables)
    root.regularization_losses = []
    return _save(root, folder)


def sentence_encoder(folder, words=WORDS):
    """str `(N,)` to `(N, 512)`, as google/universal-sentence-encoder/4: no `training`."""
    table = _vocabulary(folder, words)
    embedding = _Rng()("encoder/embeddings", len(WORDS), 512)

    def call(inputs):
        ids = table.lookup(tf.strings.split(tf.strings.lower(inputs)))
        rows = tf.gather(embedding, ids.to_tensor(0))
        return tf.reduce_mean(rows, 1)

    root = tf.train.Checkpoint()
    root.__call__ = _traced(call, tf.TensorSpec([None], tf.string))
    root.table = table
    root.variables = root.trainable_variables = [embedding]
    return _save(root, folder)


def yamnet(folder):
    """One waveform `(T,)` at 16 kHz to scores `(M, 521)`, embeddings `(M, 1024)`, log-mel."""
    weight = _Rng()
    filters = tf.constant(_filters(), name="filters")
    hidden = weight("yamnet/hidden", 64, 1024)
    output = weight("yamnet/logits", 1024, 521, scale=0.02)

    def call(waveform):
        frames = tf.signal.frame(waveform, WINDOW, HOP)  # (frames, 400)
        log_mel = tf.math.log(tf.square(frames @ filters) + 1e-3)  # (frames, 64)
        patches = tf.signal.frame(log_mel, PATCH, PATCH // 2, axis=0)  # (M, 96, 64)
        embeddings = tf.nn.relu(tf.reduce_mean(patches, 1) @ hidden)
        return tf.sigmoid(embeddings @ output), embeddings, log_mel

    root = tf.Module()
    root.__call__ = _traced(call, tf.TensorSpec([None]))
    root.kernels = [hidden, output]
    return _save(root, folder)


class _VGGish(tf.Module):
    """A class of its own with a decorated `__call__`: the bare `tf.Module` of many authors."""

    def __init__(self):
        super().__init__(name="vggish")
        self.filters = tf.Variable(_filters(), trainable=False, name="vggish/filters")
        self.dense = _Rng()("vggish/dense", 64, 128)

    @tf.function(input_signature=[tf.TensorSpec([None])])
    def __call__(self, waveform):
        frames = tf.signal.frame(waveform, WINDOW, HOP)
        log_mel = tf.math.log(tf.square(frames @ self.filters) + 1e-3)
        patches = tf.signal.frame(log_mel, PATCH, PATCH, axis=0)
        return tf.reduce_mean(patches, 1) @ self.dense  # (M, 128)


def vggish(folder):
    """One waveform `(T,)` at 16 kHz to `(M, 128)`; saved without lists of variables."""
    return _save(_VGGish(), folder)


class _Bare(tf.Module):
    def __init__(self):
        super().__init__(name="bare")
        self.w = _Rng()("w", 3, 2)
        self.offset = tf.Variable([1.0, 2.0], trainable=False, name="offset")

    @tf.function(input_signature=[tf.TensorSpec([None, 3])])
    def __call__(self, x):
        return tf.matmul(x, self.w) + self.offset


def bare(folder):
    """float `(N, 3)` to `(N, 2)`: a `tf.Module` and nothing of the reusable interface."""
    return _save(_Bare(), folder)


class _Signatures(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = _Rng()("w", 3, 2)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="x")])
    def serve(self, x):
        return {"features": x @ self.w, "norm": tf.norm(x, axis=1)}

    @tf.function(input_signature=[tf.TensorSpec([None, 3], name="a"), tf.TensorSpec([3], name="b")])
    def add(self, a, b):
        return {"sum": a + b}


def signatures(folder):
    """No `__call__`: `serving_default` takes `x`, `add` takes `a` and `b`."""
    root = _Signatures()
    return _save(root, folder, {"serving_default": root.serve, "add": root.add})


def tf1(folder):
    """TF-Hub's first format, as google/nnlm: str `(N,)` to `default` `(N, 4)`, with a table."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        numbers = tf.lookup.KeyValueTensorInitializer(
            WORDS, range(len(WORDS)), value_dtype=tf.int64
        )
        table = tf.lookup.StaticHashTable(numbers, 1)
        values = (0.3 * np.random.default_rng(0).standard_normal((len(WORDS), 4))).astype("f")
        embedding = v1.get_variable("embeddings", initializer=values, use_resource=True)
        words = v1.placeholder(tf.string, [None])
        outputs = {"default": tf.gather(embedding, table.lookup(words))}
        signature = v1.saved_model.predict_signature_def({"text": words}, outputs)
        session.run([v1.global_variables_initializer(), v1.tables_initializer()])
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session, [], {"default": signature}, main_op=v1.tables_initializer()
        )
        builder.add_meta_graph(["train"], {"default": signature})  # as those one could fine-tune
        builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")  # format version 3
    return folder


def function_module(folder, function, *specs, training=False, **children):
    """A module of one function, traced for each of `specs`; `children` are tracked."""
    root = tf.train.Checkpoint(**children)
    root.__call__ = _traced(function, *specs, training=training)
    return _save(root, folder)


BUILDERS = {
    builder.__name__: builder
    for builder in (
        image, bert_preprocessor, bert_encoder, sentence_encoder, yamnet, vggish, bare,
        signatures, tf1,
    )
}  # fmt: skip


def _traced(call, *specs, training=False):
    function = tf.function(call, autograph=False)
    for spec in specs:
        for flag in (True, False) if training else (None,):
            function.get_concrete_function(spec, **({} if flag is None else {"training": flag}))
    return function


def _save(root, folder, signatures=None):
    tf.saved_model.save(root, str(folder), signatures)
    return folder


def _vocabulary(folder, words):
    """A table over a file, which becomes an asset of the module; unknown words are 1."""
    path = folder.parent / f"{folder.name}_words.txt"
    path.write_text("\n".join(words) + "\n")
    initializer = tf.lookup.TextFileInitializer(
        str(path), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64,
        tf.lookup.TextFileIndex.LINE_NUMBER,
    )  # fmt: skip
    return tf.lookup.StaticHashTable(initializer, 1)


def _l2(variable, factor):
    return tf.function(lambda: factor * tf.reduce_sum(tf.square(variable)), input_signature=[])


@functools.cache
def _filters():
    """Cosines at 64 frequencies, `(400, 64)`: a front end that every format can carry."""
    time, frequency = np.arange(WINDOW)[:, None], np.arange(1, 65)[None]
    return (np.cos(np.pi * time * frequency / 130) / 20).astype("float32")
