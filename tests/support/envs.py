"""Small environments, users and tokenizers for the tests of `dyngen_env`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from dyngen_env import Feedback, TextGenEnv, TextGenVectorEnv

PROMPTS = ["A", "the film", "I am", "xyz é", "a longer prompt"]
SMALL: dict[str, Any] = dict(
    tokenizer="bytes", prompts=PROMPTS, reward="length(3) - 0.5*repetition(1)", max_new_tokens=5, max_context_tokens=24
)
END, EOS, BOS, USER = 258, 257, 256, 259  # of the byte tokenizer


def single(**kwargs: Any) -> TextGenEnv:
    return TextGenEnv(**{**SMALL, **kwargs})


def batch(num_envs: int, **kwargs: Any) -> TextGenVectorEnv:
    return TextGenVectorEnv(num_envs, **{**SMALL, **kwargs})


def write(env: TextGenEnv, text: str | bytes, *more: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    """Step through the bytes of `text` and then through the tokens `more`; the last step's return."""
    last = None
    for token in [*(text.encode() if isinstance(text, str) else text), *more]:
        last = env.step(token)
    assert last is not None
    return last


def random_actions(rng: np.random.Generator, rows: int, vocabulary: int = 260) -> np.ndarray:
    """Mostly letters, sometimes a token that ends the turn, seldom one that is not legal."""
    letters = rng.integers(97, 123, size=rows)
    kind = rng.random(rows)
    return np.where(kind < 0.12, rng.integers(257, 259, size=rows), np.where(kind < 0.15, BOS, letters))


def random_user_words(rng: np.random.Generator) -> str:
    return "".join(chr(c) for c in rng.integers(97, 123, size=rng.integers(0, 4)))


@dataclass
class Talker:
    """A user by recipe: `replies[i]` answers turn i; after the last it repeats. Random words where it says "?"."""

    replies: tuple[Feedback, ...] = (Feedback("ok"),)
    answers: bool = True
    asked: list[Any] = field(default_factory=list)

    def begin(self, examples, rngs):
        return [int(rng.integers(1000)) for rng in rngs]

    def reply(self, dialogues, rngs):
        self.asked.append(dialogues)
        out = []
        for dialogue, rng in zip(dialogues, rngs, strict=True):
            answer = self.replies[min(len(dialogue.completions), len(self.replies)) - 1]
            if answer.text == "?":
                answer = Feedback(random_user_words(rng), ends=bool(rng.random() < 0.2))
            out.append(answer)
        return out


class Somebody:
    """A user who draws a number as their persona, and says it at each turn with another that they draw there."""

    answers = True

    def begin(self, examples, rngs):
        return [int(rng.integers(10)) for rng in rngs]

    def reply(self, dialogues, rngs):
        words = [f"{dialogue.persona}{rng.integers(10)}" for dialogue, rng in zip(dialogues, rngs, strict=True)]
        return [Feedback(said, rating=float(said[0])) for said in words]


SMALL_IDS: dict[str, dict[str, Any]] = {
    "small/Write-v0": dict(prompts=PROMPTS, reward="length(3) - 0.5*repetition(1)", max_new_tokens=5),
    "small/Talk-v0": dict(
        prompts=["hello", "hi"],
        user=Somebody(),
        reward="rating + 0.1*length(3) - 2*illegal",
        max_turns=2,
        max_new_tokens=3,
    ),
}
for _name, _keywords in SMALL_IDS.items():
    if _name not in gym.registry:
        gym.register(
            _name,
            entry_point="dyngen_env.envs.env:TextGenEnv",
            vector_entry_point="dyngen_env.envs.vector_env:TextGenVectorEnv",
            kwargs=_keywords,
        )
MIXED: dict[str, Any] = dict(
    tokenizer="bytes", tasks={"small/Write-v0": 2, "small/Talk-v0": 1}, max_context_tokens=40,
    **dict.fromkeys(("prompts", "reward", "max_new_tokens")),  # those of SMALL, which a mixture has not
)  # fmt: skip

CORPUS = ["the film is good and the story is great", "a sad dull film that we hate", "é ü 漢字 \n end of line"] * 3
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FORGETFUL_CHAT = CHAT.replace("in messages", "in messages[-3:]")  # drops turns from the third on
REWRITING_CHAT = CHAT.replace("m['content']", "(m['content'] if loop.last or m['role'] == 'user' else '...')")


def byte_level(special: tuple[str, ...] = ("<s>", "</s>", "<pad>"), plain: tuple[str, ...] = (), ends=False, **names):
    """A byte-level BPE tokenizer such as GPT-2's. `ends`: it appends EOS by itself. `plain`: added, not special."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    if ends:
        backend.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[(t, backend.token_to_id(t)) for t in ("<s>", "</s>")]
        )
    hf = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    hf.add_tokens([AddedToken(token, special=False, normalized=False) for token in plain])
    return hf


def sentence_piece(**names):
    """A BPE tokenizer in SentencePiece's notation, with byte fallback, such as Llama 2's."""
    space = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = space
    learner.train_from_iterator(CORPUS[:2] * 3, trainers.BpeTrainer(vocab_size=90, show_progress=False))
    learnt = json.loads(learner.to_str())["model"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), *learnt["vocab"]]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in learnt["merges"]]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    backend = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    backend.pre_tokenizer = space
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", **names
    )
