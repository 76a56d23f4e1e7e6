"""Small tokenizers of many kinds: each notes spaces, word ends and bytes in another way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import CTRLTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.models.bert.tokenization_bert_legacy import BertTokenizerLegacy

CORPUS = ["the film was good and the acting is great", "a sad dull film, that we hate!", "é ü 漢字 . it's a film"] * 6
SPECIAL = ["<unk>", "<s>", "</s>"]
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "film",
    "play",
    "##ing",
    "##ed",
    "was",
    "good",
    "bad",
    "!",
    ",",
    ".",
    "我",
    "爱",
    "电",
    "影",
    "it",
    "s",
    "'",
]


def fast(backend: Tokenizer, **names: Any) -> PreTrainedTokenizerFast:
    """A tokenizer of transformers around one of tokenizers."""
    names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", **names}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **names)


def wordpiece(words: list[str] = WORDS, cleanup: bool = True, **names: Any) -> PreTrainedTokenizerFast:
    """WordPiece in lower case such as BERT's and the Chinese GPT-2's: [CLS] before a text, [SEP] after it."""
    vocabulary = {word: i for i, word in enumerate(words)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=cleanup)
    ends = [(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")]
    backend.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP] [SEP]", special_tokens=ends)
    roles = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]", **roles, **names)


def wordlevel(split: Any = None, **names: Any) -> PreTrainedTokenizerFast:
    """Whole words, without a decoder: they are joined by spaces."""
    backend = Tokenizer(models.WordLevel(unk_token="<unk>"))
    backend.pre_tokenizer = split or pre_tokenizers.Whitespace()
    backend.train_from_iterator(CORPUS, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    return fast(backend, **names)


def bpe_suffix() -> PreTrainedTokenizerFast:
    """BPE that marks the ends of words, such as GPT-1's."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=SPECIAL, end_of_word_suffix="</w>", show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    return fast(backend)


def unigram(
    scheme: str = "always", space: str = "▁", decoder: Any = None, more: list[str] | None = None
) -> PreTrainedTokenizerFast:
    """Unigram with a mark before words, such as T5's and XLNet's. `more`: texts to learn from."""
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement=space, prepend_scheme=scheme)
    backend.decoder = decoder or decoders.Metaspace(replacement=space, prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False)
    backend.train_from_iterator([*CORPUS, *(more or [])], trainer)
    return fast(backend)


def ctc() -> PreTrainedTokenizerFast:
    """Letters whose repetitions are one, such as a speech recogniser's."""
    vocabulary = {letter: i for i, letter in enumerate([*SPECIAL, "|", *"abcdefghijklmnopqrstuvwxyz"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    backend.decoder = decoders.CTC(pad_token="<s>", word_delimiter_token="|")
    return fast(backend)


def collapsing() -> PreTrainedTokenizerFast:
    """Unigram whose decoder makes one space of several, across tokens."""
    return unigram(decoder=decoders.Sequence([decoders.Fuse(), decoders.Replace(Regex("▁+"), " ")]))


def with_added(hf: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """With added tokens that swallow the spaces around them, or stand only where a word does."""
    hf.add_tokens(
        [
            AddedToken("<strip>", lstrip=True, rstrip=True, normalized=False, special=False),
            AddedToken("<word>", single_word=True, special=False),
            AddedToken("two words", special=False),
        ]
    )
    return hf


def slow_bert(folder: Path, **names: Any) -> PreTrainedTokenizerBase:
    """BERT's tokenizer in pure Python."""
    (folder / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    return BertTokenizerLegacy(str(folder / "vocab.txt"), **names)


def slow_ctrl(folder: Path) -> PreTrainedTokenizerBase:
    """CTRL's, in pure Python: what is no end of a word has a mark."""
    letters = sorted(set("thefilmwasgood"))
    merges = ["t h", "th e</w>", "f i", "fi l", "fil m</w>", "w a", "wa s</w>"]
    pieces = ["<unk>", *letters, *(f"{letter}@@" for letter in letters), "th@@", "the", "fi@@", "fil@@", "film", "was"]
    (folder / "vocab.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version\n" + "\n".join(merges) + "\n")
    return CTRLTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
