"""Media as files: what is written comes back by its number, and what is not there or damaged is one line."""

import numpy as np
import pytest

from dyngen_env.text.media.folder import load, save
from tests.support.media import picture, tone


def test_what_is_written_comes_back_by_its_number(tmp_path):
    shown, heard = picture(5), tone(5)
    save(tmp_path / "media", [shown, heard])
    assert load(tmp_path / "media", shown.number) is shown and load(tmp_path / "media", heard.number) is heard
    assert sorted(file.stem for file in (tmp_path / "media").iterdir()) == sorted(
        map(str, (shown.number, heard.number))
    )


def test_what_cannot_be_read(tmp_path):
    shown, other = picture(6), picture(7)
    with pytest.raises(ValueError, match=r"that is not there.*copy media/ with the episodes"):
        load(tmp_path, shown.number)
    (tmp_path / f"{shown.number}.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(ValueError, match="is damaged"):
        load(tmp_path, shown.number)
    np.save(tmp_path / f"{shown.number}.npy", other.pixels)
    with pytest.raises(ValueError, match="holds another picture or sound"):
        load(tmp_path, shown.number)
