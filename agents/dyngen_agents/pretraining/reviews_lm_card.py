"""The text of the model card of `reviews-lm`, with a place for each figure that its training measures."""

CARD = """---
license: mit
language: en
library_name: transformers
---
# reviews-lm

A causal language model of {parameters} million parameters (GPT-2 layout, window {window}, byte-level BPE with {vocab}
entries, weights in float16) that writes snippets of film and product reviews. It is the default model of `dyngen`:
small enough to train with reinforcement learning on a laptop. `load_model("reviews-lm")`, or
`AutoModelForCausalLM.from_pretrained` on this folder.

A text is `<|bos|>` text `<|eos|>`; the tokenizer writes BOS itself. The tokens of roles (`<|system|>`, `<|user|>`,
`<|assistant|>`, `<|end|>`) and ratings (`<|rating:-4|>` to `<|rating:+4|>`, zero is `<|rating:0|>`) are in the
vocabulary but were not trained.

## Perplexity on the eval split

Per token, EOS included, the same tokens for all three. The n-grams are counted on the train split, their smoothing is
chosen on the tune split (`ngrams.py`).

| texts | number | tokens | unigram | interpolated bigram | reviews-lm |
|---|---|---|---|---|---|
{rows}

## Samples

The first 8 at temperature 1, from BOS alone. Of 200, {ended}% ended by themselves within 96 tokens.

{samples}

## Training

    python -m dyngen_agents.pretraining.make_reviews_lm --seed {seed} --epochs {epochs} --threads {threads} --out FOLDER

{train} texts ({train_tokens} tokens), {minutes} minutes on {threads} threads of a shared CPU, torch {torch}.
The weights are those after epoch {epoch}, the best on the tune split.

| setting | value |
|---|---|
{recipe}

## Limits, licence, citation

It has seen a quarter of a million words: it has the style of reviews and little of their sense, makes up names, and
knows only English. The texts are from the data published with VADER (MIT licence, copyright C.J. Hutto); this model
is under the MIT licence too.

Hutto, C.J. and Gilbert, E.E. (2014). VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media
Text. Eighth International Conference on Weblogs and Social Media (ICWSM-14).
"""
