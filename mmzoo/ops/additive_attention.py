"""Additive attention scores in the memory of their result.

`score(i, j) = sum_h v_h tanh(a_ih + b_jh)` has batch x T x S x H terms. Written with tensors,
each of them is stored; here XLA fuses a term with the sum that it goes into, in the gradient
too, which computes the terms again. And

    tanh(a + b) = 1 - 2 c / (c + d),   1 - tanh(a + b)^2 = 4 / ((c + d)(1 / c + 1 / d)),

with c = e^(-2a) and d = e^(2b), so that the exponentials are taken once a token, and a term costs
a few sums and products and, as fractions are joined, a part of a division.

What is exact where. A number added to -a and b of one unit leaves the sums. Where all tokens can
so be moved to within `CLOSE` of 0, a product of four c + d is a float32, and not so small that
what it divides, a part of it, is lost: for weights of size 1, so those given are scaled to it.
Within `FAR` of 0 as they come, each exponential is a float32. The terms of the scores then are
1 - 2 / (1 + e^(2a) d), where e^(2a) d beyond `CAP` makes tanh 1 in float32 and is cut off; those
of the gradient are neither cut off nor joined. Tokens further apart, and those so near 0 that
1 - 2 c / (c + d) would lose digits, are computed with tanh itself, in the same memory.
"""

import tensorflow as tf

from mmzoo.ops.portable import portable

CLOSE = 8.0  # c + d is 2e^-16 to 2e^16, four are 3e-27 to 1e29, and float32 begins at 1e-38
FAR = 36.0  # e^72 is a float32, and so are e^-72 and the sum of e^72 over many tokens
NEAR_ZERO = 0.7  # a + b at most: below, 1 - 2 c / (c + d) is no longer good to 1e-6 of itself
CAP = 4e9  # four factors 1 + x still are a float32; 2 / (1 + CAP) is below its last digit
TINY = 1.2e-38  # the least float32 that has all its digits
STRIDE = 16  # terms that one round of a loop takes at once
LANES = 8  # scores whose terms are computed at once
FEW = 64  # tokens: up to here a round is so short that fewer and longer ones are faster
# Compiling takes a second for each new size: worth it from so many terms on.
LEAST_FIXED = 2**16  # a sample, where T and S are fixed
LEAST_FREE = 2**24  # a batch, where any size may come next


def additive_scores(left, right, v):
    """`score(i, j) = sum_h v_h tanh(left_ih + right_jh)`.

    Takes memory of `batch * T * S`, in the gradient too, instead of `batch * T * S * H`; with
    few terms the formula itself is run, which needs no compiling. Equal to it for every finite
    input: in float32 within 1e-6 of the largest result, and for the gradient of `v` of the sum
    of the upstream gradient's sizes. Inside `portable_operators()` it is traced as it stands.

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
    worth = tf.size(left, tf.int64) * tf.shape(right, tf.int64)[1] >= LEAST_FREE
    return tf.cond(worth, lambda: _kernel(left, right, v), lambda: _formula(left, right, v))


def _formula(left, right, v):
    hidden = tf.tanh(left[:, :, None] + right[:, None])  # (batch, T, S, H)
    # As a matrix: `matmul` of 4D writes past its memory with oneDNN (tensorflow issue 117700).
    sums = tf.matmul(tf.reshape(hidden, [-1, tf.shape(v)[0]]), v[:, None])
    return tf.reshape(sums, tf.shape(hidden)[:-1])


def _kernel(left, right, v):
    shape = [left.shape[0], left.shape[1], right.shape[1]]
    dtype = left.dtype
    exact = tf.float64 if dtype == tf.float64 else tf.float32
    left, right, v = (tf.cast(each, exact) for each in (left, right, v))
    rows, columns = tf.shape(left)[1], tf.shape(right)[1]
    # A zero at the end of each axis is neither seen nor felt, and a few sizes compile once.
    left, right = _pad(_pad(left, 1), 2, STRIDE), _pad(_pad(right, 1), 2, STRIDE)
    scores = _scores(left, right, _pad(v, 0, STRIDE))[:, :rows, :columns]
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
# a `reduce_sum` reads: so each round of a loop adds some terms in place.


@tf.function(jit_compile=True, autograph=False)
def _compiled_scores(left, right, v):
    return _choose(_close_scores, _far_scores, _plain_scores, left, right, v)


@tf.function(jit_compile=True, autograph=False)
def _compiled_derivatives(left, right, v, upstream):
    def fast(*joined):
        return lambda *inputs: _fast_derivatives(*inputs, *joined)

    return _choose(fast(4, 2), fast(1, 1), _plain_derivatives, left, right, v, upstream)


def _choose(close, far, plain, left, right, v, *others):
    """Runs the first of the three that is exact for these tokens."""
    left_low, right_low = (tf.reduce_min(x, 1, keepdims=True) for x in (left, right))
    left_high, right_high = (tf.reduce_max(x, 1, keepdims=True) for x in (left, right))
    low, high = tf.minimum(-left_high, right_low), tf.maximum(-left_low, right_high)
    # As little as need be, and a whole number, so that of what is large no digit is lost.
    shift = tf.clip_by_value(tf.zeros_like(low), tf.math.ceil(high - CLOSE), tf.floor(low + CLOSE))
    is_close = tf.reduce_max(tf.maximum(high - shift, shift - low)) <= CLOSE
    is_far = tf.reduce_max(tf.maximum(high, -low)) <= FAR
    # The largest sum of each unit counts, up to 1, by the weight of the unit.
    sums = tf.maximum(tf.abs(left_high + right_high), tf.abs(left_low + right_low))
    usual = tf.reduce_sum(tf.abs(v) * (tf.minimum(sums, 1) - NEAR_ZERO)) >= 0

    # One condition inside another: XLA takes ten times as long to compile a `switch_case`.
    def fast():
        return tf.cond(
            is_close,
            lambda: close(left + shift, right - shift, v, *others),
            lambda: far(left, right, v, *others),
        )

    return tf.cond(usual & (is_close | is_far), fast, lambda: plain(left, right, v, *others))


def _close_scores(left, right, v):
    few = right.shape[1] is not None and right.shape[1] <= FEW and v.shape[0] % (4 * STRIDE) == 0
    v, size = _scaled(v)
    rows, columns = tf.exp(-2 * left), tf.exp(2 * right)
    return size * _sum_over_units(rows, columns, v, _tanh, 4, 4 * STRIDE if few else STRIDE)


def _far_scores(left, right, v):
    v, size = _scaled(v)
    return size * _sum_over_units(tf.exp(2 * left), tf.exp(2 * right), v, _capped_tanh, 4)


def _plain_scores(left, right, v):
    return _sum_over_units(left, right, v, _plain_tanh, 1)


def _fast_derivatives(left, right, v, upstream, joined, joined_slopes):
    upstream, size = _scaled(upstream)
    turned = tf.transpose(upstream, [0, 2, 1])
    rows, columns = [tf.exp(-2 * left), tf.exp(2 * left)], [tf.exp(2 * right), tf.exp(-2 * right)]
    d_v = tf.reduce_sum(_sum_over_tokens(rows[:1], columns[:1], upstream, _tanh, joined), [0, 1])
    d_left = _sum_over_tokens(rows, columns, upstream, _slope, joined_slopes)
    d_right = _sum_over_tokens(columns, rows, turned, _slope, joined_slopes)
    return v * (size * d_left), v * (size * d_right), size * d_v


def _plain_derivatives(left, right, v, upstream):
    turned = tf.transpose(upstream, [0, 2, 1])
    d_v = tf.reduce_sum(_sum_over_tokens([left], [right], upstream, _plain_tanh, 1), [0, 1])
    d_left = _sum_over_tokens([left], [right], upstream, _plain_slope, 1)
    return v * d_left, v * _sum_over_tokens([right], [left], turned, _plain_slope, 1), d_v


def _scaled(x):
    """`x` by its largest size, and that size."""
    size = tf.maximum(tf.reduce_max(tf.abs(x)), TINY)
    return x / size, size


# A term is a number and a fraction that is added to it.
def _tanh(weight, c, d):
    return weight, -2 * weight * c, c + d


def _capped_tanh(weight, a, d):
    return weight, -2 * weight, 1 + tf.minimum(a * d, CAP)


def _plain_tanh(weight, a, b):
    return 0.0, weight * tf.tanh(a + b), 1.0


def _slope(weight, c, one_by_c, d, one_by_d):
    return 0.0, 4 * weight, (c + d) * (one_by_c + one_by_d)


def _plain_slope(weight, a, b):
    return 0.0, weight * _slope_of_sum(a + b), 1.0


def _sum_over_units(rows, columns, v, term, joined, stride=STRIDE):
    """`sum_h term(v_h, rows_ih, columns_jh)`, in the memory of the scores."""
    batch, width = tf.unstack(tf.shape(columns)[:2])
    count = v.shape[0] // stride
    rows = tf.reshape(rows, [batch, -1, count, stride])
    columns = tf.reshape(columns, [batch, width // LANES, LANES, count, stride])
    columns = tf.transpose(columns, [3, 0, 1, 4, 2])  # (count, batch, S / LANES, stride, LANES)
    v = tf.reshape(v, [count, stride])

    def add_stride(k, total):
        row, column, weight = rows[:, :, k, :, None, None], columns[k][:, None], v[k]
        terms = [term(weight[h], row[:, :, h], column[:, :, :, h]) for h in range(stride)]
        return k + 1, total + _total(terms, joined)

    start = tf.zeros([batch, tf.shape(rows)[1], width // LANES, LANES], rows.dtype)
    total = tf.while_loop(lambda k, _: k < count, add_stride, (0, start))[1]
    return tf.reshape(total, [batch, -1, width])


def _sum_over_tokens(rows, columns, weight, term, joined):
    """`sum_j term(weight_ij, *rows_ih, *columns_jh)`, in the memory of `rows`."""
    batch, width, units = tf.unstack(tf.shape(columns[0]))
    count = width // STRIDE
    columns = [tf.reshape(each, [batch, count, STRIDE, units]) for each in columns]
    columns = [tf.transpose(each, [1, 0, 2, 3]) for each in columns]
    weight = tf.reshape(weight, [batch, tf.shape(rows[0])[1], count, STRIDE])
    weight = tf.transpose(weight, [2, 3, 0, 1])

    def add_stride(k, total):
        column, scale = [each[k][:, None] for each in columns], weight[k][..., None]
        terms = [term(scale[j], *rows, *(x[:, :, j] for x in column)) for j in range(STRIDE)]
        return k + 1, total + _total(terms, joined)

    return tf.while_loop(lambda k, _: k < count, add_stride, (0, tf.zeros_like(rows[0])))[1]


def _total(terms, joined):
    """The sum of all terms. So many fractions get one denominator, and so one division."""
    numbers, *fractions = zip(*terms, strict=True)
    fractions = list(zip(*fractions, strict=True))
    while joined > 1:
        pairs = zip(fractions[::2], fractions[1::2], strict=True)
        fractions = [(a[0] * b[1] + b[0] * a[1], a[1] * b[1]) for a, b in pairs]
        joined //= 2
    return sum(numbers) + tf.add_n([top / down for top, down in fractions])


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
