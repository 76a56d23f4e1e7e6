"""How the picture file is made: what a picture shows, what it is called, which colours it has."""

import io
import json
import tarfile

import numpy as np
import pytest
from PIL import Image

from dyngen_agents.pretraining.make_pictures import (
    base_of,
    colours_of,
    join_look_alikes,
    names_of,
    on_white,
    read_archive,
    sheet_of,
)


@pytest.mark.parametrize(
    ("code", "base"),
    [
        ("1F436", "1f436"),
        ("1F3C3-1F3FF-200D-2640-FE0F-200D-27A1-FE0F", "1f3c3"),
        ("1F469-1F3FB-200D-1F680", "1f9d1-1f680"),
        ("1F9D1-200D-1F680", "1f9d1-1f680"),
        ("1F468-200D-1F469-200D-1F466", "family"),
        ("1F467", "1f9d2"),  # a girl alone is no family
        ("1F469-200D-2764-FE0F-200D-1F48B-200D-1F468", "kiss"),
        ("1F48B", "1f48b"),  # the mark of a kiss is no couple
        ("1F468-1F3FB-200D-2764-FE0F-200D-1F468-1F3FF", "couple"),
        ("2764-FE0F", "2764"),
        ("1F3FB", "1f3fb"),  # a tone by itself, and the sign of a gender
        ("2640-FE0F", "2640"),
        ("1FAF1-1F3FB-200D-1FAF2-1F3FC", "1f91d"),
    ],
)
def test_the_base_of_a_picture(code, base):
    assert base_of(code) == base


def test_names_lose_small_words_codes_and_repetitions():
    runner = {"name": "RUNNER", "short_names": ["runner", "running"], "category": "People & Body"}
    assert names_of(runner) == ("runner", "running")
    flag = {"name": "Bolivia Flag", "short_names": ["flag-bo"], "category": "Flags"}
    assert names_of(flag) == ("bolivia flag",)
    clock = {"name": "CLOCK FACE THREE-THIRTY", "short_names": ["clock330"], "category": "Travel & Places"}
    assert names_of(clock) == ("clock face three thirty",)
    soap = {"name": "BAR OF SOAP", "short_names": ["soap"], "category": "Objects"}
    assert names_of(soap) == ("soap", "bar soap")


def test_colours_are_those_of_the_visible_surface():
    pixels = np.zeros((10, 10, 4), dtype=np.uint8)
    assert pixels[..., 3].max() == 0
    pixels[:5] = (220, 40, 60, 255)  # 50 points red
    pixels[5:7] = (60, 130, 200, 255)  # 20 blue, which is 20 of 80
    pixels[7:8] = (255, 255, 255, 255)  # 10 white: too few
    pixels[8:] = (90, 170, 60, 0)  # green, but transparent
    assert colours_of(pixels) == ("red", "blue")


def test_transparent_points_become_paper():
    pixels = np.zeros((64, 64, 4), dtype=np.uint8)
    pixels[:, :32] = (200, 0, 0, 255)
    small = on_white(pixels)
    assert small.shape == (32, 32, 3)
    assert (small[:, :16] == (200, 0, 0)).all() and (small[:, 16:] == 255).all()


def test_pictures_that_look_the_same_are_one_thing_through_any_chain():
    shades = np.array([10, 14, 18, 200, 201, 90], dtype=np.uint8)  # neighbours within 5
    pictures = np.broadcast_to(shades[:, None, None, None], (6, 32, 32, 3))
    assert join_look_alikes(["c", "a", "b", "e", "d", "f"], pictures, blocks=4) == ["a", "a", "a", "d", "d", "f"]


def test_the_sheet_has_a_tile_for_each_picture_in_order():
    pictures = np.zeros((64, 32, 32, 3), dtype=np.uint8)
    pictures[:, :, :, 0] = np.arange(64)[:, None, None] * 4
    sheet = np.asarray(sheet_of(pictures).convert("RGB"))
    assert sheet.shape == (64, 62 * 32, 3)
    assert abs(int(sheet[5, 3 * 32 + 5, 0]) - 12) <= 4 and abs(int(sheet[40, 40, 0]) - 63 * 4) <= 4


def test_a_foreign_archive_is_refused(tmp_path):
    path = tmp_path / "other.tgz"
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("package/readme")
        archive.addfile(member, io.BytesIO())
    with pytest.raises(ValueError, match=r"other\.tgz has no package/emoji\.json: expected the archive of emoji-data"):
        read_archive(path)


def test_the_archive_gives_a_picture_for_each_skin_tone(tmp_path):
    drawn = [{"unified": "1F44D", "image": "a.png"}, {"unified": "1F44D-1F3FB", "image": "b.png"}]
    words = {"name": "THUMBS UP SIGN", "short_names": ["+1", "thumbsup"], "category": "People & Body"}
    record = drawn[0] | words | {"subcategory": "hand-fingers-closed", "skin_variations": {"1F3FB": drawn[1]}}
    picture = io.BytesIO()
    Image.new("RGBA", (64, 64), "yellow").save(picture, "PNG")
    files = {"emoji.json": json.dumps([record]).encode()}
    files |= {f"img/twitter/64/{d['image']}": picture.getvalue() for d in drawn}
    path = tmp_path / "emoji.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    one, two = read_archive(path)
    assert (one.id, two.id, one.base, two.base) == ("1f44d", "1f44d-1f3fb", "1f44d", "1f44d")
    assert two.line().split("\t")[2:] == ["people body", "hand fingers closed", "thumbsup|thumbs up", "yellow"]
