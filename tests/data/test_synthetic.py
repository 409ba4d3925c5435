"""The synthetic tasks are what they say: properties measured with scikit-learn."""

import itertools
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from mmzoo.data import synthetic
from mmzoo.data.synthetic import SHAPES, TASKS, draw, expected, posterior

SPLITS = ("train", "validation", "test")
SEED = 3
ERRORS = 4  # standard deviations of a share


def flat(features, names=tuple(SHAPES)):
    return np.concatenate([features[name].reshape(len(features[name]), -1) for name in names], 1)


def probed(make, task="xor", target=None, samples=4000, seed=SEED):
    """Test accuracy of logistic regression on what `make` makes of the features."""
    (train, train_labels), (test, test_labels) = (
        draw(task, split, samples, seed) for split in ("train", "test")
    )
    if target is not None:
        train_labels, test_labels = target(train), target(test)
    model = LogisticRegression(C=0.01, max_iter=1000).fit(make(train), train_labels)
    return model.score(make(test), test_labels)


def hidden(name, task="xor", seed=SEED):
    """Function of features to the class that their loudest token along a prototype shows."""
    prototypes = synthetic._prototypes(task, seed)[name]
    return lambda features: (features[name] @ prototypes.T).max(1).argmax(-1)


def error(share, samples=4000):
    return ERRORS * np.sqrt(share * (1 - share) / samples)


@pytest.mark.parametrize("task", TASKS)
def test_shapes_and_types(task):
    features, labels = draw(task, "train", 7, 0)
    assert {name: tokens.shape for name, tokens in features.items()} == {
        name: (7, *shape) for name, shape in SHAPES.items()
    }
    assert {tokens.dtype for tokens in features.values()} == {np.dtype("float32")}
    assert labels.shape == (7,) and labels.dtype == np.int32


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("seed", [0, 7])
def test_the_best_accuracy_is_what_is_expected(task, seed):
    answer = expected(task)
    features, labels = draw(task, "test", 40_000, seed)
    probabilities = posterior(task, features, seed)
    assert probabilities.shape == (40_000, answer["classes"])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-9)
    reached = (probabilities.argmax(1) == labels).mean()
    assert abs(reached - answer["bayes"]) <= 0.001 + error(answer["bayes"], 40_000)
    shares = np.bincount(labels, minlength=answer["classes"]) / len(labels)
    assert np.abs(shares - answer["chance"]).max() < error(answer["chance"], 40_000)


@pytest.mark.parametrize("task", TASKS)
def test_the_posterior_is_that_of_the_densities(task):
    """Bayes' rule as it stands: the mean over the places of the density of all tokens."""
    features, _ = draw(task, "test", 5, SEED)
    classes = expected(task)["classes"]
    own = {}
    for name in expected(task)["informative"]:
        prototypes = synthetic._prototypes(task, SEED)[name]
        tokens = len(features[name][0])
        density = np.zeros((5, classes))
        for k, place in itertools.product(range(classes), range(tokens)):
            mean = np.eye(tokens)[place][:, None] * prototypes[k]
            density[:, k] += norm.pdf(features[name], mean).prod((1, 2)) / tokens
        own[name] = density / density.sum(1, keepdims=True)
    probabilities = np.zeros((5, classes))
    for each in itertools.product(range(classes), repeat=len(own)):
        share = np.prod([p[:, k] for p, k in zip(own.values(), each, strict=True)], axis=0)
        probabilities[:, sum(each) % classes] += share
    np.testing.assert_allclose(
        posterior(task, features, SEED), probabilities, rtol=1e-6, atol=1e-12
    )


@pytest.mark.parametrize("task", TASKS)
def test_the_posterior_is_calibrated(task):
    """Only the true probabilities are: of what it calls 70 % sure, 70 % are so."""
    features, labels = draw(task, "test", 40_000, SEED)
    said = posterior(task, features, SEED).ravel()
    true = np.eye(expected(task)["classes"])[labels].ravel()
    assert said.mean() == pytest.approx(true.mean())
    bins = np.digitize(said, [0.1, 0.3, 0.5, 0.7, 0.9])
    checked = 0
    for each in range(6):
        chosen = bins == each
        if chosen.sum() > 200:
            share = said[chosen].mean()
            assert abs(true[chosen].mean() - share) < error(share, chosen.sum()) + 1e-4
            checked += 1
    assert checked >= (2 if task == "xor" else 6)


@pytest.mark.parametrize("task", TASKS)
def test_a_label_is_not_in_what_is_not_informative(task):
    answer = expected(task)
    others = [name for name in SHAPES if answer["alone"][name] == answer["chance"]]
    assert others
    for name in others:
        reached = probed(lambda features, name=name: flat(features, [name]), task)
        assert abs(reached - answer["chance"]) < error(answer["chance"])


@pytest.mark.parametrize(("task", "name"), [("noise", "image"), ("single", "text")])
def test_the_informative_modality_is_enough(task, name):
    answer = expected(task)
    assert answer["informative"] == (name,) and answer["alone"][name] == answer["bayes"]
    own = probed(lambda features: flat(features, [name]), task)
    assert 0.6 < own < answer["bayes"]
    assert probed(flat, task) == pytest.approx(own, abs=0.03)


@pytest.mark.parametrize("name", list(SHAPES))
def test_a_linear_probe_finds_the_bit_of_a_modality(name):
    assert probed(lambda features: flat(features, [name]), target=hidden(name)) > 0.98


def test_nothing_linear_solves_xor_and_the_product_does():
    """A sum of experts is linear in what each says, so it stays at chance."""
    assert abs(probed(flat) - 0.5) < error(0.5)
    prototypes = synthetic._prototypes("xor", SEED)

    def bits(features):
        return np.stack([features[m].sum(1) @ prototypes[m][1] for m in SHAPES], 1)

    assert abs(probed(bits) - 0.5) < error(0.5)
    assert probed(lambda features: bits(features).prod(1, keepdims=True)) > 0.98


def test_an_outer_product_of_pooled_tokens_learns_xor():
    def outer(features):
        image, text = (features[m].mean(1) for m in ("image", "text"))
        return (image[:, :, None] * text[:, None, :]).reshape(len(image), -1)

    assert probed(outer) > 0.95


def test_the_bits_of_xor_are_independent_of_each_other_and_of_the_label():
    features, labels = draw("xor", "train", 40_000, SEED)
    image, text = (hidden(m)(features) for m in ("image", "text"))
    for one, other in ((image, text), (image, labels), (text, labels)):
        joint = np.histogram2d(one, other, bins=2)[0] / len(labels)
        assert np.abs(joint - 0.25).max() < error(0.25, 40_000)
    assert ((image ^ text) == labels).mean() > 0.999


def test_noise_is_as_loud_as_the_image_and_has_no_structure():
    features, _ = draw("noise", "train", 40_000, SEED)
    image, text = features["image"], features["text"]
    assert (text**2).mean() == pytest.approx((image**2).mean(), rel=0.01)
    assert abs(text.mean()) < 0.01
    covariance = np.cov(flat(features, ["text"]).T)
    assert np.abs(covariance - np.eye(72) * (text**2).mean()).max() < 0.05


def test_the_nuisance_of_single_is_clear_and_independent_of_the_label():
    features, labels = draw("single", "train", 40_000, SEED)
    nuisance = hidden("image", "single")(features)
    assert probed(lambda x: flat(x, ["image"]), "single", hidden("image", "single")) > 0.9
    joint = np.histogram2d(nuisance, labels, bins=4)[0] / len(labels)
    assert np.abs(joint - 1 / 16).max() < error(1 / 16, 40_000)


@pytest.mark.parametrize("task", TASKS)
def test_splits_are_disjoint_and_share_their_prototypes(task):
    drawn = [flat(draw(task, split, 500, SEED)[0]) for split in SPLITS]
    assert len(np.unique(np.concatenate(drawn), axis=0)) == 1500
    means = [np.abs(x).mean() for x in drawn]
    assert np.ptp(means) < 0.02
    for split in SPLITS:
        features, labels = draw(task, split, 5000, SEED)
        assert (posterior(task, features, SEED).argmax(1) == labels).mean() > 0.95


@pytest.mark.parametrize("task", TASKS)
def test_seeds_differ_in_their_samples_and_prototypes(task):
    features, labels = draw(task, "test", 4000, 0)
    other, _ = draw(task, "test", 4000, 1)
    assert not (features["image"] == other["image"]).any()
    right = posterior(task, features, 1).argmax(1) == labels  # with the other seed's prototypes
    assert right.mean() < 0.8


@pytest.mark.parametrize("task", TASKS)
def test_a_draw_is_a_pure_function_of_its_arguments(task):
    features, labels = draw(task, "train", 20, 5)
    again, labels_again = draw(task, "train", 20, 5)
    np.testing.assert_array_equal(flat(features), flat(again))
    np.testing.assert_array_equal(labels, labels_again)


def test_a_draw_is_the_same_in_another_process():
    code = (
        "from mmzoo.data.synthetic import draw; features, labels = draw('xor', 'test', 50, 11);"
        "print(features['image'].tobytes().hex()[:400], labels.tolist())"
    )
    features, labels = draw("xor", "test", 50, 11)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == f"{features['image'].tobytes().hex()[:400]} {labels.tolist()}"


def test_errors():
    for task in ("and", None):
        with pytest.raises(ValueError, match=r"`task` must be one of \('xor', .*Received: task="):
            draw(task, "train", 1, 0)
        with pytest.raises(ValueError, match=r"`task` must be one of .*Received: task="):
            expected(task)
    with pytest.raises(ValueError, match=r"`split` must be one of .*Received: split='dev'"):
        draw("xor", "dev", 1, 0)
    for samples in (0, -1, 1.5, True):
        with pytest.raises(ValueError, match=r"`samples` must be a positive int. Received: sam"):
            draw("xor", "train", samples, 0)
    for seed in (-1, 0.5, None, True):
        with pytest.raises(ValueError, match=r"`seed` must be an int, 0 or more. Received: seed="):
            draw("xor", "train", 1, seed)
