"""Tiny real generators of each architecture, with tokenizers of their own: the same in every process."""

from collections.abc import Sequence
from pathlib import Path

from helpers import _WORDS

PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
PROMPT_WORDS = "Generate a Arabic Finnish Japanese question for this passage:"


def pieces() -> list[str]:
    """Words of the tiny corpora in four languages, each also in two halves, and every letter."""
    words = sorted({word for text in [*_WORDS.values(), PROMPT_WORDS] for word in text.split()})
    letters = sorted(set("".join(words)) | set(":.?!0123456789"))
    return list(dict.fromkeys([*(f"▁{word}" for word in words[::2]), *words[1::2], "▁", *letters]))


def build_tiny_tokenizer(special: Sequence[str] = (PAD, EOS, UNKNOWN), add_eos: bool = True, **settings):
    """A Unigram tokenizer as mT5's; ``special`` gives the first ids."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    scores = [(piece, 0.0) for piece in special] + [(piece, -1.0 - 0.01 * row) for row, piece in enumerate(pieces())]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=list(special).index(UNKNOWN)))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    if add_eos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"$A {EOS}", special_tokens=[(EOS, list(special).index(EOS))]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=EOS, unk_token=UNKNOWN, **settings
    )


def build_tiny_t5(directory: str | Path, seed: int = 3, **changes) -> str:
    """A real mT5 of two layers and 32 dimensions with random weights; returns the directory.

    Its queries are words of all four languages in no order. About one token in ten ends the query.
    """
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    tokenizer = build_tiny_tokenizer(model_max_length=512)
    settings = {
        "vocab_size": len(tokenizer) + 3,  # padded, as mT5's is
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = MT5ForConditionalGeneration(MT5Config(**(settings | changes)))
        # transformers 5 ties a new mT5's output to its input; the published ones are not tied.
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.ndim == 2:  # wide enough that the input moves the output
                    weight.normal_(0, 1.0 if "shared" in name or "relative" in name else 0.25)
            _let_queries_end(model)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def _let_queries_end(model, logit: float = 5.0) -> None:
    """Give the end token about half this logit after any words, and padding and surplus tokens none that is drawn.

    The first dimension is kept constant through the decoder, so that it works as the bias that mT5's output lacks.
    """
    model.shared.weight[:, 0] = 3.0
    for name, weight in model.decoder.named_parameters():
        if name.endswith(("o.weight", "wo.weight")):
            weight[0] = 0.0
    never = [0, 2, *range(model.config.vocab_size - 3, model.config.vocab_size)]
    model.lm_head.weight[:, 0] = 0.0
    model.lm_head.weight[1] = 0.0
    model.lm_head.weight[1, 0] = logit
    model.lm_head.weight[never, 0] = -30.0


CHAT_TEMPLATE = (
    "{% for message in messages %}<user> {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}<answer> {% endif %}"
)


def build_tiny_causal(directory: str | Path, chat: bool = False, seed: int = 5) -> str:
    """A real Llama of two layers and 32 dimensions with random weights; about one token in ten is a line break.

    With ``chat``, its tokenizer has a chat template that puts <user> and <answer> around the prompt.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = build_tiny_tokenizer((PAD, EOS, UNKNOWN, "<user>", "<answer>", "\n"), add_eos=False)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<user>", "<answer>"]})
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=1,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if weight.ndim == 2:
                    weight.normal_(0, 1.0 if "embed" in name else 0.25)
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    weight[0] = 0.0
            model.model.embed_tokens.weight[:, 0] = 3.0
            model.lm_head.weight[:, 0] = 0.0
            model.lm_head.weight[5] = 0.0
            model.lm_head.weight[5, 0] = 3.0
            model.lm_head.weight[[0, 2, 3, 4], 0] = -30.0
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def build_tiny_translator(directory: str | Path, style: str, seed: int = 9) -> str:
    """A real mBART or M2M100 of one layer and 32 dimensions that is told its language by a token.

    style : ``mbart50`` and ``nllb`` (the language's token behind the start token), ``mbart25`` (in its place).
    """
    import torch
    from transformers import (
        M2M100Config,
        M2M100ForConditionalGeneration,
        MBart50Tokenizer,
        MBartConfig,
        MBartForConditionalGeneration,
        MBartTokenizer,
        NllbTokenizer,
    )

    words = pieces()
    if style == "nllb":
        letters = sorted(set("".join(words)) | {"▁"})
        vocabulary = {token: row for row, token in enumerate(["<s>", PAD, EOS, UNKNOWN, *letters])}
        tokenizer = NllbTokenizer(vocab=vocabulary, merges=[], src_lang="eng_Latn")
    else:
        kind = MBart50Tokenizer if style == "mbart50" else MBartTokenizer
        # As in SentencePiece's files: the three special tokens come first and are replaced.
        vocabulary = [
            (UNKNOWN, 0.0),
            ("<s>", 0.0),
            (EOS, 0.0),
            *((word, -1.0 - 0.01 * row) for row, word in enumerate(words)),
        ]
        tokenizer = kind(vocab=vocabulary, src_lang="en_XX")
    settings = {
        "vocab_size": len(tokenizer),
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "max_position_embeddings": 128,
        "pad_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "decoder_start_token_id": tokenizer.convert_tokens_to_ids("ro_RO") if style == "mbart25" else 2,
        "init_std": 0.3,
        "scale_embedding": True,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        if style == "nllb":
            model = M2M100ForConditionalGeneration(M2M100Config(**settings))
        else:
            model = MBartForConditionalGeneration(MBartConfig(**settings))
    with torch.no_grad():  # seldom a language's name among the words of a query
        languages = [row for token, row in tokenizer.get_vocab().items() if "_" in token]
        model.get_input_embeddings().weight[languages] *= 0.3
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)
