"""The emoji pictures: whole, small, and split so that nothing shown in one split is shown in another."""

import numpy as np
import pytest

from dyngen_env.assets.pictures import PATH, SPLITS, load_pictures


def test_the_file_holds_every_published_picture_and_is_small():
    pictures = load_pictures()
    assert len(pictures) == len({picture.id for picture in pictures}) == 3786  # as counted in the npm package
    assert PATH.stat().st_size < 3_000_000
    for picture in pictures:
        assert picture.pixels.shape == (32, 32, 3) and not picture.pixels.flags.writeable
        assert picture.category and picture.kind and all(picture.names) and 1 <= len(picture.colours) <= 3


@pytest.mark.parametrize(
    ("id_", "category", "kind", "name", "colour"),
    [
        ("1f697", "travel places", "transport ground", "car", "red"),
        ("1f433", "animals nature", "animal marine", "whale", "blue"),
        ("1f49a", "smileys emotion", "heart", "green heart", "green"),
        ("1f1eb-1f1f7", "flags", "country flag", "france flag", "blue"),
    ],
)
def test_pictures_that_everybody_knows(id_, category, kind, name, colour):
    [picture] = [picture for picture in load_pictures() if picture.id == id_]
    assert (picture.category, picture.kind) == (category, kind)
    assert name in picture.names and colour in picture.colours


def test_a_red_car_is_red_where_it_is_and_white_beside():
    [car] = [picture for picture in load_pictures() if picture.id == "1f697"]
    assert (car.pixels[0, 0] == 255).all(), "the paper"
    red = (car.pixels[..., 0] > 180) & (car.pixels[..., 1] < 90) & (car.pixels[..., 2] < 110)
    assert red.mean() > 0.15


def test_skin_tones_genders_and_directions_are_one_thing():
    base = {picture.id: picture.base for picture in load_pictures()}
    runners = ["1f3c3", "1f3c3-1f3fd", "1f3c3-200d-2640-fe0f", "1f3c3-1f3ff-200d-2642-fe0f-200d-27a1-fe0f"]
    farmers = ["1f468-200d-1f33e", "1f469-1f3fb-200d-1f33e", "1f9d1-200d-1f33e"]
    families = ["1f46a", "1f468-200d-1f467", "1f469-200d-1f469-200d-1f466-200d-1f466", "1f9d1-200d-1f9d2"]
    couples = ["1f491", "1f468-200d-2764-fe0f-200d-1f468", "1f491-1f3fb"]
    kisses = ["1f48f", "1f469-200d-2764-fe0f-200d-1f48b-200d-1f468"]
    people = ["1f468", "1f469-1f3fd", "1f9d1"]
    groups = [{base[id_] for id_ in ids} for ids in (runners, farmers, families, couples, kisses, people)]
    assert [len(group) for group in groups] == [1] * 6
    assert len(set.union(*groups)) == 6


def test_splits_have_the_shares_that_they_should_and_no_thing_in_common():
    things = {split: {picture.base for picture in load_pictures(split)} for split in SPLITS}
    total = sum(map(len, things.values()))
    assert total == len({picture.base for picture in load_pictures()})
    assert len(things["train"]) / total == pytest.approx(0.7, abs=0.03)
    assert len(things["eval"]) / total == pytest.approx(0.2, abs=0.03)


def test_no_picture_looks_like_one_of_another_split():
    """The nearest picture of another split differs by more than 5 of 255, root mean square.

    Means of 4 x 4 pixels differ by at most as much as the pixels: pictures are compared only where those are near.
    """
    whole = {split: np.stack([p.pixels for p in load_pictures(split)]).astype(np.float32) for split in SPLITS}
    coarse = {s: p.reshape(len(p), 8, 4, 8, 4, 3).mean((2, 4)).reshape(len(p), -1) for s, p in whole.items()}
    compared = 0
    for one, other in (("eval", "train"), ("tune", "train"), ("eval", "tune")):
        a, b = coarse[one], coarse[other]
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
        for i, j in zip(*np.nonzero(squared < a.shape[1] * 5.5**2), strict=True):  # .5 for rounding
            compared += 1
            assert np.sqrt(((whole[one][i] - whole[other][j]) ** 2).mean()) > 5.0
    assert compared


def test_another_split_is_an_error():
    with pytest.raises(ValueError, match="unknown split 'test': expected one of 'train', 'tune', 'eval'"):
        load_pictures("test")
