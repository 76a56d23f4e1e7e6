"""Encoders: what they make of a medium depends on it alone, learns, and is the same after a save."""

import json

import pytest
import torch
from transformers import SiglipVisionConfig, SiglipVisionModel, WhisperConfig, WhisperModel

from dyngen_env.lm.modalities import MediaEncoder, load_encoder, save_encoder, small_encoder
from dyngen_env.lm.modalities.parts import pretrained_encoder
from dyngen_env.lm.modalities.picture import PictureConvnet
from dyngen_env.lm.modalities.places import places_of
from dyngen_env.lm.modalities.sound import SoundConvnet, means_of_parts
from tests.support.media import picture, tone
from tests.support.tiny_models import tiny_model

MEDIA = [picture(0), tone(0, 0.3), picture(1), tone(1, 1.0), picture(2)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Tiny random encoders of transformers."""
    folder, sizes = tmp_path_factory.mktemp("encoders"), dict(num_attention_heads=2, num_hidden_layers=1)
    seeing = SiglipVisionConfig(hidden_size=16, intermediate_size=16, image_size=24, patch_size=6, **sizes)
    hearing = WhisperConfig(
        vocab_size=20, num_mel_bins=80, d_model=16, encoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16, max_source_positions=100, dropout=0.1,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    SiglipVisionModel(seeing).save_pretrained(folder / "seeing")
    WhisperModel(hearing).save_pretrained(folder / "hearing")
    return {"pictures": str(folder / "seeing"), "sounds": str(folder / "hearing")}


@pytest.fixture(scope="module", params=["small", "pretrained", "pretrained and trained"])
def encoder(request, folders) -> MediaEncoder:
    lm = tiny_model("gpt2")
    if request.param == "small":
        return small_encoder(lm, pictures=(32, 32), sounds=2.0)
    return pretrained_encoder(lm, **folders, frozen=request.param == "pretrained").eval()


def test_vectors_depend_on_the_medium_alone(encoder):
    together = encoder(MEDIA)
    assert together.shape == (5, 16, 32)  # as many places as a sound has
    for vectors, medium in zip(together, MEDIA, strict=True):
        alone = encoder([medium])[0]
        torch.testing.assert_close(vectors[: len(alone)], alone, atol=1e-6, rtol=1e-5)
        assert not vectors[len(alone) :].any()
    assert (together[0] - together[2]).abs().max() > 1e-3 and (together[1] - together[3]).abs().max() > 1e-3


def test_gradients_reach_what_is_to_learn(encoder):
    encoder.zero_grad()
    encoder(MEDIA).square().sum().backward()
    for name, parameter in encoder.named_parameters():
        used = not name.endswith(("probe",)) and ".head." not in name and "pooler" not in name
        assert (parameter.grad is not None) == (parameter.requires_grad and used), name


def test_a_saved_encoder_is_the_same(encoder, tmp_path):
    save_encoder(encoder, tmp_path)
    assert torch.equal(load_encoder(tmp_path)(MEDIA), encoder(MEDIA))
    learns = [p.requires_grad for p in load_encoder(tmp_path).parameters()]
    assert learns == [p.requires_grad for p in encoder.parameters()]


def test_damaged_files_are_told(tmp_path):
    save_encoder(small_encoder(tiny_model("gpt2"), pictures=(32, 32)), tmp_path)
    record = json.loads((tmp_path / "encoder.json").read_text())
    for change, message in (
        ({"format": 9}, "has format 9"),
        ({"parts": {"picture": {"part": "Eye", "places": 4}}}, "a part 'Eye'"),
        ({"parts": {"picture": {"part": "PictureConvnet", "places": 4}}}, "cannot be made"),
        ({"parts": 3}, "is damaged"),
    ):
        (tmp_path / "encoder.json").write_text(json.dumps(record | change))
        with pytest.raises(ValueError, match=message):
            load_encoder(tmp_path)
    (tmp_path / "encoder.json").write_text(json.dumps(record))
    (tmp_path / "encoder.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged, or not of the encoder"):
        load_encoder(tmp_path)
    (tmp_path / "encoder.json").unlink()
    with pytest.raises(FileNotFoundError, match="holds no encoder"):
        load_encoder(tmp_path)


def test_media_that_an_encoder_cannot_read_are_one_clear_error():
    only_pictures = MediaEncoder({"picture": PictureConvnet(8)})
    for media, message in (
        ([tone(0)], "reads pictures, and a sound is shown"),
        ([picture(0, (16, 16))], r"has \(16, 16\) pixels, and the encoder reads \(32, 32\)"),
    ):
        with pytest.raises(ValueError, match=message):
            only_pictures(media)
    with pytest.raises(ValueError, match=r"has 0\.30 s, and the encoder hears 0\.2 s"):
        SoundConvnet(8, seconds=0.2)([tone(0, 0.3)])
    with pytest.raises(ValueError, match="a square number"):
        PictureConvnet(8, places=5)


def test_an_encoder_of_media_that_there_cannot_be():
    lm = tiny_model("gpt2")
    for media, message in (
        ({}, "an encoder that reads neither"),
        ({"pictures": (0, 0)}, r"pictures=\(0, 0\): expected \(H, W\), from 1 to 1024"),
        ({"sounds": 0.0}, "sounds=0.0: expected seconds, above 0"),
        ({"sounds": -1.0}, "sounds=-1.0: expected seconds, above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            small_encoder(lm, **media)


def test_means_of_parts_are_adaptive_pooling():
    frames, lengths = torch.randn(3, 12, 5, generator=torch.Generator().manual_seed(0)), [12, 7, 2]
    theirs = [
        torch.nn.functional.adaptive_avg_pool1d(frame[:length].T[None], 4)[0].T
        for frame, length in zip(frames, lengths, strict=True)
    ]
    torch.testing.assert_close(means_of_parts(frames, torch.tensor(lengths), 4), torch.stack(theirs))


def test_places_are_those_of_the_models_encoder(tmp_path):
    assert places_of(None) == places_of("reviews-lm") == {"picture": 4, "sound": 16}
    lm = tiny_model("gpt2")
    lm.save_pretrained(tmp_path)
    save_encoder(small_encoder(lm, pictures=(32, 32), places={"picture": 9}), tmp_path)
    assert places_of(str(tmp_path)) == {"picture": 9, "sound": 16}
