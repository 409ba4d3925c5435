"""Additive attention scores in the memory of their result.

`score(i, j) = sum_h v_h tanh(a_ih + b_jh)` has batch x T x S x H terms. Written with tensors,
each of them is stored; here XLA fuses a term with the sum that it goes into, in the gradient
too, which computes the terms again. And

    tanh(a + b) = 1 - 2 / (1 + x),   x = e^(2a) e^(2b),

so that the exponentials are taken once a token, and a term costs a product and a reciprocal.

What is exact where. Float32 holds e^(2a) e^(2b) where |a| and |b| are at most `REACH`, after what
a and b of one unit have in common was moved from one to the other; a product beyond `CAP` makes
tanh 1 in float32 and is cut off there. Tokens further apart than that, and those so near zero
that 1 - 2 / (1 + x) would lose digits, are computed with tanh itself, in the same memory.
"""

import tensorflow as tf

from mmzoo.ops.portable import portable

REACH = 40.0  # e^80 is a float32, and so is e^-80
NEAR_ZERO = 1.0  # below, 1 - 2 / (1 + x) is no longer good to 1e-6 of itself
CAP = 4e9  # four factors 1 + x still are a float32; 2 / (1 + CAP) is below its last digit
STRIDE = 16  # terms that one round of a loop takes at once
CHUNK = 256  # units whose terms are summed at once, 8 numbers a score
# Compiling takes half a second for each new size: worth it from so many terms on.
LEAST_FIXED = 2**16  # a sample, where T and S are fixed
LEAST_FREE = 2**24  # a batch, where any size may come next


def additive_scores(left, right, v):
    """`score(i, j) = sum_h v_h tanh(left_ih + right_jh)`.

    Takes memory of `batch * T * S`, in the gradient too, instead of `batch * T * S * H`; with
    few terms the formula itself is run, which needs no compiling. Equal to it for every finite
    input: in float32 within 1e-6 of the largest result, and for the gradient of `v` of the sum
    of its terms' sizes. Inside `portable_operators()` it is traced as the formula stands.

    Args:
        left: Float tensor `(batch, T, H)`: float32, float16, bfloat16 or float64.
        right: Float tensor `(batch, S, H)`, of the same dtype.
        v: Float tensor `(H,)`, of the same dtype.

    Returns:
        Tensor `(batch, T, S)` of that dtype. Half precision is computed in float32.

    Raises:
        ValueError: If the ranks or the widths don't fit.

    Reference:
        Bahdanau et al., 2015 (arXiv:1409.0473) for the score. The recomputation follows Chen
        et al., 2016 (arXiv:1604.06174).

    Example:

    >>> additive_scores(tf.zeros([1, 2, 4]), tf.ones([1, 3, 4]), tf.ones([4]))[0, 0].numpy()
    array([3.0463767, 3.0463767, 3.0463767], dtype=float32)
    """
    left, right, v = (tf.convert_to_tensor(each) for each in (left, right, v))
    shapes = (left.shape, right.shape, v.shape)
    if (left.shape.rank, right.shape.rank, v.shape.rank) != (3, 3, 1) or not (
        shapes[0][-1:].is_compatible_with(shapes[1][-1:])
        and shapes[0][-1:].is_compatible_with(shapes[2])
    ):
        raise ValueError(
            "Expected `left` (batch, T, H), `right` (batch, S, H) and `v` (H,). "
            f"Received: {shapes[0]}, {shapes[1]} and {shapes[2]}."
        )
    rows, columns, units = shapes[0][1], shapes[1][1], shapes[2][0]
    if portable():
        return _formula(left, right, v)
    if rows is not None and columns is not None:
        worth = rows * columns * units >= LEAST_FIXED
        return _kernel(left, right, v) if worth else _formula(left, right, v)
    terms = tf.size(left, tf.int64) * tf.shape(right, tf.int64)[1]
    return tf.cond(
        terms >= LEAST_FREE, lambda: _kernel(left, right, v), lambda: _formula(left, right, v)
    )


def _formula(left, right, v):
    hidden = tf.tanh(left[:, :, None] + right[:, None])  # (batch, T, S, H)
    return tf.squeeze(tf.matmul(hidden, v[:, None]), -1)


def _kernel(left, right, v):
    shape = [left.shape[0], left.shape[1], right.shape[1]]
    dtype = left.dtype
    exact = tf.float64 if dtype == tf.float64 else tf.float32
    left, right, v = (tf.cast(each, exact) for each in (left, right, v))
    rows, columns = tf.shape(left)[1], tf.shape(right)[1]
    # A zero at the end of each axis is neither seen nor felt, and a few sizes compile once.
    units = 2 * STRIDE if v.shape[0] <= CHUNK else CHUNK
    left, right = _pad(_pad(left, 1), 2, units), _pad(_pad(right, 1), 2, units)
    scores = _scores(left, right, _pad(v, 0, units))[:, :rows, :columns]
    return tf.cast(tf.ensure_shape(scores, shape), dtype)


def _pad(x, axis, multiple=None):
    """Zeros behind an axis, up to the next of a coarser grid of sizes."""
    size = tf.shape(x)[axis] if x.shape[axis] is None else x.shape[axis]
    if multiple is None and isinstance(size, int):
        multiple = STRIDE if size <= 64 else 32 if size <= 512 else 128
    elif multiple is None:
        multiple = tf.where(size <= 64, STRIDE, tf.where(size <= 512, 32, 128))
    more = -size % multiple
    if isinstance(more, int) and more == 0:
        return x
    return tf.pad(x, [[0, more if k == axis else 0] for k in range(x.shape.rank)])


@tf.custom_gradient
def _scores(left, right, v):
    def gradient(upstream):
        return _derivatives(left, right, v, upstream)

    # No tape looks inside: it would store what the kernel is there not to store.
    return _compiled_scores(*(tf.stop_gradient(each) for each in (left, right, v))), gradient


@tf.custom_gradient
def _derivatives(left, right, v, upstream):
    """Of the scores, by left, right and v. Their own gradient is the plain formula's."""
    inputs = [left, right, v, upstream]

    def gradient(*further):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            found = _derivatives_as_written(*inputs)
        return tape.gradient(found, inputs, further)

    return _compiled_derivatives(*(tf.stop_gradient(each) for each in inputs)), gradient


# XLA fuses the terms below into their sums, and runs on all cores. On processors it stores what
# a `reduce_sum` reads: so each first adds what it can in place, and is given little to read.


@tf.function(jit_compile=True, autograph=False)
def _compiled_scores(left, right, v):
    return _choose(_fast_scores, _plain_scores, left, right, v)


@tf.function(jit_compile=True, autograph=False)
def _compiled_derivatives(left, right, v, upstream):
    return _choose(_fast_derivatives, _plain_derivatives, left, right, v, upstream)


def _choose(fast, plain, left, right, *others):
    """Runs `fast` where it is exact, else `plain`."""
    close, across = _centred(left, right)
    return tf.cond(
        _usual(close, across),
        lambda: fast(close, across, *others),
        lambda: plain(left, right, *others),
    )


def _centred(left, right):
    """Moves what all tokens of one side have in common to the other. The sums stay."""

    def middle(x):
        return (tf.reduce_max(x, 1, keepdims=True) + tf.reduce_min(x, 1, keepdims=True)) / 2

    # A whole number, which is subtracted without rounding from what then is in reach.
    shift = tf.round((middle(left) - middle(right)) / 2)
    return left - shift, right + shift


def _usual(left, right):
    """Whether the exponentials of both sides are in reach, and not all of them near 1."""
    largest = [tf.reduce_max(tf.abs(each)) for each in (left, right)]
    return (tf.maximum(*largest) <= REACH) & (tf.add(*largest) >= NEAR_ZERO)


def _fast_scores(left, right, v):
    chunks = max(1, v.shape[0] // CHUNK)
    rows, columns, v = (
        tf.stack(tf.split(each, chunks, -1)) for each in (tf.exp(2 * left), tf.exp(2 * right), v)
    )

    def add_chunk(k, total):
        factors = rows[k][:, :, None], columns[k][:, None], v[k]
        parts = zip(*(tf.split(each, 2 * STRIDE, -1) for each in factors), strict=True)
        terms = [(weight, 1 + _product(a, b)) for a, b, weight in parts]
        # Four fractions weight / (1 + x) have a common denominator, and so one division.
        fours = [_joined(_joined(*terms[k : k + 2]), _joined(*terms[k + 2 : k + 4]))
                 for k in range(0, len(terms), 4)]  # fmt: skip
        return k + 1, total + tf.reduce_sum(tf.add_n([top / down for top, down in fours]), -1)

    start = (0, _no_scores(left, right))
    return tf.reduce_sum(v) - 2 * tf.while_loop(lambda k, _: k < chunks, add_chunk, start)[1]


def _no_scores(left, right):
    return tf.zeros([*tf.unstack(tf.shape(left)[:2]), tf.shape(right)[1]], left.dtype)


def _joined(a, b):
    """The sum of two fractions, each a pair."""
    return a[0] * b[1] + b[0] * a[1], a[1] * b[1]


def _fast_derivatives(left, right, v, upstream):
    rows, columns = tf.exp(2 * left), tf.exp(2 * right)
    turned = tf.transpose(upstream, [0, 2, 1])
    d_v = tf.reduce_sum(_sum_over(rows, columns, upstream, _tanh, _product), [0, 1])
    d_left = v * _sum_over(rows, columns, upstream, _slope, _product)
    return d_left, v * _sum_over(columns, rows, turned, _slope, _product), d_v


def _product(a, b):
    return tf.minimum(a * b, CAP)


def _tanh(x):
    return 1 - 2 / (1 + x)


def _slope(x):
    """1 - tanh². Squared last, so that the quotient has one reader and is never stored."""
    return 4 * x * tf.square(1 / (1 + x))


def _sum_over(rows, columns, weight, term, join):
    """`sum_j weight_ij term(join(rows_ih, columns_jh))`, in the memory of `rows`."""
    batch, width, units = tf.unstack(tf.shape(columns))
    count = width // STRIDE
    columns = tf.transpose(tf.reshape(columns, [batch, count, STRIDE, units]), [1, 2, 0, 3])
    weight = tf.reshape(weight, [batch, tf.shape(rows)[1], count, STRIDE])
    weight = tf.transpose(weight, [2, 3, 0, 1])

    def add_stride(k, total):
        column, scale = columns[k][:, :, None], weight[k][..., None]
        terms = [scale[j] * term(join(rows, column[j])) for j in range(STRIDE)]
        return k + 1, total + tf.add_n(terms)

    return tf.while_loop(lambda k, _: k < count, add_stride, (0, tf.zeros_like(rows)))[1]


def _plain_scores(left, right, v):
    rows, columns = (tf.transpose(each, [2, 0, 1]) for each in (left, right))

    def add_stride(k, total):
        units = k * STRIDE + tf.range(STRIDE)
        a, b, weight = (tf.gather(each, units) for each in (rows, columns, v))
        terms = [weight[h] * tf.tanh(a[h][..., None] + b[h][:, None]) for h in range(STRIDE)]
        return k + 1, total + tf.add_n(terms)

    count = v.shape[0] // STRIDE
    return tf.while_loop(lambda k, _: k < count, add_stride, (0, _no_scores(left, right)))[1]


def _plain_derivatives(left, right, v, upstream):
    turned = tf.transpose(upstream, [0, 2, 1])
    d_v = tf.reduce_sum(_sum_over(left, right, upstream, tf.tanh, tf.add), [0, 1])
    d_left = v * _sum_over(left, right, upstream, _slope_of_sum, tf.add)
    return d_left, v * _sum_over(right, left, turned, _slope_of_sum, tf.add), d_v


def _slope_of_sum(x):
    """1 - tanh², which would lose digits where it is small."""
    small = tf.exp(-2 * tf.abs(x))
    return 4 * small * tf.square(1 / (1 + small))


def _derivatives_as_written(left, right, v, upstream):
    """As tensors `(batch, T, S, H)`, for a gradient of the gradient."""
    hidden = left[:, :, None] + right[:, None]
    slope = upstream[..., None] * _slope_of_sum(hidden)
    d_v = tf.reduce_sum(upstream[..., None] * tf.tanh(hidden), [0, 1, 2])
    return v * tf.reduce_sum(slope, 2), v * tf.reduce_sum(slope, 1), d_v
