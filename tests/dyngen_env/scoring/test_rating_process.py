"""Gaussian process regression on texts, against Bayesian linear regression and against refitting."""

import numpy as np
import pytest

from dyngen_env.scoring.linear_fit import text_matrix
from dyngen_env.scoring.rating_process import RatingProcess, fitted
from dyngen_env.scoring.text_features import SIZE, features

TEXTS = ["a good film", "a bad film", "good, good acting", "the plot is bad", "no plot", "fine"]
RATINGS = [3.0, -3.0, 3.5, -2.0, -1.0, 1.0]


@pytest.fixture(scope="module")
def model():
    return fitted(TEXTS, RATINGS)


def weight_space(model, text):
    """Mean and deviation of a Bayesian linear regression, w ~ N(0, s² I), over the places of these texts alone."""
    rows = [features(each, model.idf) for each in (*TEXTS, text)]
    used = np.unique(np.concatenate([places for places, _ in rows]))
    x = np.zeros((len(rows), len(used)))
    for i, (places, values) in enumerate(rows):
        x[i, np.searchsorted(used, places)] = values
    x, new = x[:-1], x[-1]
    precision = x.T @ x / model.noise + np.eye(len(used)) / model.scale
    mean = np.linalg.solve(precision, x.T @ (np.array(RATINGS) - model.bias)) / model.noise
    return model.bias + new @ mean, np.sqrt(new @ np.linalg.solve(precision, new))


@pytest.mark.parametrize("text", ["a good plot", "zzz 漢字", "a bad film", ""])
def test_it_predicts_as_bayesian_linear_regression_does(model, text):
    assert model.predict(text) == pytest.approx(weight_space(model, text), abs=1e-9)


def test_it_is_surer_of_what_it_has_seen(model):
    assert model.predict("a good film").std < model.predict("a good plot").std < model.predict("qwerty uiop").std
    assert model.predict("a good film").mean > 0 > model.predict("a bad film").mean


def test_each_text_predicted_from_the_others_is_what_a_process_without_it_predicts(model):
    means, spreads = model.left_out()
    for i, text in enumerate(TEXTS):
        others = [each for j, each in enumerate(TEXTS) if j != i]
        x, y = text_matrix(others, model.idf, SIZE), np.delete(np.array(RATINGS), i)
        settings = dict(bias=model.bias, scale=model.scale, noise=model.noise)
        assert RatingProcess(x, y, model.idf, **settings).predict(text) == pytest.approx(
            (means[i], spreads[i]), abs=1e-9
        )


def test_a_share_of_the_texts_exceeds_a_spread(model):
    _, spreads = model.left_out()
    assert (spreads >= model.spread_exceeded_by(0.5)).sum() == 3
    assert model.spread_exceeded_by(0) == np.inf and model.spread_exceeded_by(1) == 0


def test_a_file_predicts_the_same(model, tmp_path):
    model.save(tmp_path / "m.npz")
    loaded = RatingProcess.load(tmp_path / "m.npz")
    for text in ("a good plot", "zzz 漢字"):
        assert loaded.predict(text) == pytest.approx(model.predict(text), abs=1e-6)
    np.savez(tmp_path / "other.npz", x=1)
    with pytest.raises(ValueError, match=r"other.npz has no idf, numbers, places"):
        RatingProcess.load(tmp_path / "other.npz")
    (tmp_path / "text.npz").write_text("no zip")
    with pytest.raises(ValueError, match=r"text.npz is no model of ratings: `python -m"):
        RatingProcess.load(tmp_path / "text.npz")
    with pytest.raises(ValueError, match="1 rated texts: expected at least two"):
        fitted(["a"], [1.0])


def test_the_likeliest_scales_are_chosen():
    """Against the density of a multivariate normal distribution, on a grid."""
    model = fitted(TEXTS, RATINGS)
    y = np.array(RATINGS) - np.mean(RATINGS)
    rows = np.zeros((len(TEXTS), SIZE))
    for i, text in enumerate(TEXTS):
        places, values = features(text, model.idf)
        rows[i, places] = values
    products = rows @ rows.T

    def likelihood(scale, noise):
        covariance = scale * products + noise * np.eye(len(y))
        return -0.5 * (np.linalg.slogdet(covariance)[1] + y @ np.linalg.solve(covariance, y))

    best = likelihood(model.scale, model.noise)
    assert all(likelihood(model.scale * f, model.noise * f) <= best for f in (0.8, 1.25))
    assert all(likelihood(s, s * r) <= best for s in (0.1, 0.3, 1, 3, 10, 30) for r in (0.1, 0.3, 1, 3, 10, 30))
