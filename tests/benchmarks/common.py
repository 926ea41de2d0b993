"""What the benchmarks share: real questions, an mBERT-shaped encoder, rounds in turn, tables."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

DATA = Path(os.environ.get("PYSERINI_XQG_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def xor_tydi_questions(split: str = "dev") -> list[str]:
    """The published questions, all languages, in the order of the file."""
    names = {"dev": "xor_dev_retrieve_eng_span_v1_1.jsonl", "train": "xor_train_retrieve_eng_span.jsonl"}
    path = DATA / "xor-tydi" / names[split]
    if not path.exists():
        raise SystemExit(f"{path} is missing: set PYSERINI_XQG_DATA to the directory that holds xor-tydi/")
    return [json.loads(line)["question"] for line in path.read_text(encoding="utf-8").splitlines()]


def build_mbert_shape(directory: Path, texts: Sequence[str], layers: int = 12, width: int = 768) -> str:
    """A BERT of mBERT's shape with random weights, and word pieces trained on ``texts``; returns the directory."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # 8,000 pieces cut the questions about as finely as mBERT's 119,547 pieces do, which serve 104 languages.
    trainer = trainers.WordPieceTrainer(vocab_size=8000, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=512,
    ).save_pretrained(directory)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        intermediate_size=4 * width,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(directory)
    return str(directory)


def rounds_in_turn(
    systems: Mapping[str, Callable[[list[str]], object]],
    texts: list[str],
    rounds: int,
    report: Callable[[str], None] = print,
) -> dict[str, list[float]]:
    """Seconds of each system on ``texts``, ``rounds`` times one after the other, after a warm-up on the first 64."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for system in systems.values():
        system(texts[:64])
    for number in range(1, rounds + 1):
        for name, system in systems.items():
            started = time.perf_counter()
            system(texts)
            seconds[name].append(time.perf_counter() - started)
        report(f"round {number}: " + ", ".join(f"{name} {values[-1]:.2f} s" for name, values in seconds.items()))
    return seconds


def ratio(seconds: Mapping[str, Sequence[float]], slow: str, fast: str) -> float:
    """Median over rounds of how many times faster ``fast`` was than ``slow`` in the same round."""
    return statistics.median(one / other for one, other in zip(seconds[slow], seconds[fast], strict=True))


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def machine() -> str:
    """CPU, its units for low precision, threads, and the package versions that decide the numbers."""
    import torch
    import transformers

    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = next((line.split(":")[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")), "?")
    units = [unit for unit in ("avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8") if unit in cpuinfo]
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA")
    return (
        f"{model} ({', '.join(units)}{f'; limited to {limit}' if limit else ''}), {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )
