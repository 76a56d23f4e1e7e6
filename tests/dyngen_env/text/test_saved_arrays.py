"""Files of arrays, and everything that may stand under their names instead."""

import numpy as np
import pytest

from dyngen_env.lm.rater import LMRater
from dyngen_env.scoring.human_rating import LinearRating
from dyngen_env.scoring.rating_process import RatingProcess
from dyngen_env.text.saved_arrays import saved_arrays


def read(path):
    return saved_arrays(path, ["x"], "model", "`make` writes one")


def test_all_arrays_are_read(tmp_path):
    np.savez(tmp_path / "m.npz", x=np.arange(3), more="text")
    found = read(tmp_path / "m.npz")
    assert found["x"].tolist() == [0, 1, 2] and str(found["more"]) == "text"


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "m.npz"
    np.savez(path, x=np.arange(1000))
    whole = path.read_bytes()
    path.write_bytes(whole[:2000] + bytes(100) + whole[2100:])
    with pytest.raises(ValueError, match=r"m\.npz is no model, or a damaged one \(.*\): `make` writes one"):
        read(path)
    np.savez(path, x=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"m\.npz is no model, or a damaged one"):
        read(path)


@pytest.mark.parametrize("model", [LinearRating, LMRater, RatingProcess])
def test_what_is_no_file_of_a_model_is_named_with_what_writes_one(model, tmp_path):
    (tmp_path / "feedback.db").write_text("SQLite format 3 and so on")
    np.savez(tmp_path / "other.npz", x=1)
    with pytest.raises(ValueError, match=r"feedback\.db is no .*: `python -m dyngen_agents\."):
        model.load(tmp_path / "feedback.db")
    with pytest.raises(ValueError, match=r"other\.npz has no .*: `python -m dyngen_agents\."):
        model.load(tmp_path / "other.npz")
    with pytest.raises(FileNotFoundError, match=r"none\.npz': `python -m dyngen_agents\."):
        model.load(tmp_path / "none.npz")
