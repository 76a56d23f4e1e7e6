"""A byte-level BPE tokenizer for the reviews, with the control tokens of dialogues and ratings."""

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

BOS, EOS, PAD = "<|bos|>", "<|eos|>", "<|pad|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
RATINGS = tuple(f"<|rating:{value:+d}|>" if value else "<|rating:0|>" for value in range(-4, 5))
CONTROL_TOKENS = (BOS, EOS, PAD, *ROLES, *RATINGS)


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_length: int) -> PreTrainedTokenizerFast:
    """Byte-pair encoding (Sennrich et al. 2016) over bytes (Radford et al. 2019) with `vocab_size` entries in all.

    All 256 bytes are in the alphabet, so every text can be written and comes back unchanged. BOS is put in front
    unless `add_special_tokens=False`; EOS never. The control tokens have the first ids, in the order of
    `CONTROL_TOKENS`. `max_length` is the model's window in tokens. Raises ValueError if the texts hold too few
    pairs for so many entries.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=[AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if bpe.get_vocab_size() != vocab_size:
        raise ValueError(f"the texts give {bpe.get_vocab_size()} entries, not {vocab_size}: ask for fewer")
    bpe.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, bpe.token_to_id(BOS))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        additional_special_tokens=[*ROLES, *RATINGS],
        model_max_length=max_length,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
