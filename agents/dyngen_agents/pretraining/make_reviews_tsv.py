"""Makes `reviews.tsv.xz` from the published human ratings: repairs typography, keeps each text once.

    python -m dyngen_agents.pretraining.make_reviews_tsv --source FOLDER

FOLDER holds `movie-reviews.tsv` and `product-reviews.tsv` with the columns id, mean, ratings, text (`README.md`
here says where they come from). Only the texts are touched; ids, means and ratings are copied.
"""

import argparse
import html
import logging
import lzma
import re
from pathlib import Path

from dyngen_env.assets.reviews import PATH, normalised

SOURCES = {"film": "movie-reviews.tsv", "product": "product-reviews.tsv"}
COLUMNS = "kind\tid\tmean\tratings\ttext"
QUOTES = "'\""

log = logging.getLogger(__name__)


def clean(text: str) -> str:
    """`text` with the damage of its scraping undone; words, case and spelling stay."""
    text = html.unescape(html.unescape(text))  # some entities were escaped twice: "&amp;#38;"
    text = text.replace("''", '"').replace("`", "'").replace("’", "'")
    text = re.sub(r'(?<!\d)(?<!\S)" ([^"]*[^"\s]) "(?!\S{3})', r'"\1"', text)  # " clunky " -> "clunky"; not 6 " or 7 "
    text = re.sub(r"\( +", "(", re.sub(r"\[ +", "[", text))
    text = re.sub(r" +([)\]])", r"\1", text)
    text = re.sub(r" +([,;:!?]|\.(?!\.))", r"\1", text)
    text = re.sub(r"(\w)& ", r"\1 & ", text)  # "at& t", "PB& J"
    text = re.sub(r"^[-+*>=)\]/\s]+", "", text)  # list marks and ends of the previous sentence
    return " ".join(_without_outer_quotes(text).split())


def _without_outer_quotes(text: str) -> str:
    """Drop quotes around a whole snippet, and an opening one that nothing closes."""
    first = text[:1]
    if not first or first not in QUOTES:
        return text
    inner = text[1:]
    closings = [m.start() for m in re.finditer(re.escape(first) + r"(?!\w)", inner)]
    if not closings:
        return inner
    return inner[:-1] if closings == [len(inner) - 1] else text


def read_source(folder: Path) -> list[tuple[str, str, str, str, str]]:
    """Rows (kind, id, mean, ratings, text), texts cleaned, in the order of the files; the first of equal texts stays.

    Equal means equal after `normalised`, over both kinds, so that no text can be on two sides of a split.
    Raises FileNotFoundError if a file of `SOURCES` is missing.
    """
    rows, seen = [], {""}
    for kind, name in SOURCES.items():
        for line in (folder / name).read_text(encoding="utf-8").splitlines()[1:]:
            number, mean, ratings, raw = line.split("\t")
            text = clean(raw)
            if normalised(text) not in seen:
                seen.add(normalised(text))
                rows.append((kind, number, mean, ratings, text))
    return rows


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder with the two published files")
    parser.add_argument("--out", type=Path, default=PATH, help="file to write (default: the packaged one)")
    args = parser.parse_args()
    rows = read_source(args.source)
    table = "\n".join([COLUMNS, *("\t".join(row) for row in rows)]) + "\n"
    args.out.write_bytes(lzma.compress(table.encode("utf-8"), preset=9 | lzma.PRESET_EXTREME))
    log.info("%s: %d texts, %d bytes", args.out.name, len(rows), args.out.stat().st_size)


if __name__ == "__main__":
    main()
