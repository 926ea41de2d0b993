"""Prompts to token ids and token ids to queries, the same for every backend.

Multilingual translation models (NLLB, M2M100, mBART) are told by a token which language to write.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import NAMES
from pyserini_xqg.generate.checkpoints import Checkpoint
from pyserini_xqg.generate.sampling import Candidate, Prompt, Sampling

FLORES: dict[str, str] = dict(
    re.findall(
        r"(\w+)=(\w+)",
        """
    af=afr_Latn ak=aka_Latn am=amh_Ethi ar=arb_Arab as=asm_Beng ay=ayr_Latn az=azj_Latn ba=bak_Cyrl be=bel_Cyrl
    bg=bul_Cyrl bm=bam_Latn bn=ben_Beng bo=bod_Tibt bs=bos_Latn ca=cat_Latn cs=ces_Latn cy=cym_Latn da=dan_Latn
    de=deu_Latn dz=dzo_Tibt ee=ewe_Latn el=ell_Grek en=eng_Latn eo=epo_Latn es=spa_Latn et=est_Latn eu=eus_Latn
    fa=pes_Arab ff=fuv_Latn fi=fin_Latn fj=fij_Latn fo=fao_Latn fr=fra_Latn ga=gle_Latn gd=gla_Latn gl=glg_Latn
    gn=grn_Latn gu=guj_Gujr ha=hau_Latn he=heb_Hebr hi=hin_Deva hr=hrv_Latn ht=hat_Latn hu=hun_Latn hy=hye_Armn
    id=ind_Latn ig=ibo_Latn is=isl_Latn it=ita_Latn ja=jpn_Jpan jv=jav_Latn ka=kat_Geor ki=kik_Latn kk=kaz_Cyrl
    km=khm_Khmr kn=kan_Knda ko=kor_Hang ks=kas_Arab ku=kmr_Latn ky=kir_Cyrl lb=ltz_Latn lg=lug_Latn li=lim_Latn
    ln=lin_Latn lo=lao_Laoo lt=lit_Latn lv=lvs_Latn mg=plt_Latn mi=mri_Latn mk=mkd_Cyrl ml=mal_Mlym mn=khk_Cyrl
    mr=mar_Deva ms=zsm_Latn mt=mlt_Latn my=mya_Mymr nb=nob_Latn ne=npi_Deva nl=nld_Latn nn=nno_Latn no=nob_Latn
    ny=nya_Latn oc=oci_Latn om=gaz_Latn or=ory_Orya pa=pan_Guru pl=pol_Latn ps=pbt_Arab pt=por_Latn qu=quy_Latn
    rn=run_Latn ro=ron_Latn ru=rus_Cyrl rw=kin_Latn sa=san_Deva sc=srd_Latn sd=snd_Arab sg=sag_Latn si=sin_Sinh
    sk=slk_Latn sl=slv_Latn sm=smo_Latn sn=sna_Latn so=som_Latn sq=als_Latn sr=srp_Cyrl ss=ssw_Latn st=sot_Latn
    su=sun_Latn sv=swe_Latn sw=swh_Latn ta=tam_Taml te=tel_Telu tg=tgk_Cyrl th=tha_Thai ti=tir_Ethi tk=tuk_Latn
    tl=tgl_Latn tn=tsn_Latn tr=tur_Latn ts=tso_Latn tt=tat_Cyrl tw=twi_Latn ug=uig_Arab uk=ukr_Cyrl ur=urd_Arab
    uz=uzn_Latn vi=vie_Latn wo=wol_Latn xh=xho_Latn yi=ydd_Hebr yo=yor_Latn zh=zho_Hans zu=zul_Latn
""",
    )
)
"""ISO 639-1 code to FLORES-200 code, as NLLB's tokens are called; the standard variety where there are several."""

_ANY_LANGUAGE = re.compile(r"[a-z]{2}_[A-Z]{2}|[a-z]{3}_[A-Z][a-z]{3}|__[a-z]{2,3}__")


class LanguageTokens:
    """The language tokens of a tokenizer, if it has any.

    style : ``nllb`` (``fin_Latn``), ``m2m100`` (``__fi__``), ``mbart`` (``fi_FI``), or None for none.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        english = {"nllb": "eng_Latn", "m2m100": "__en__", "mbart": "en_XX"}
        self.style = next((style for style, token in english.items() if self._id(token) is not None), None)
        if self.style and hasattr(tokenizer, "src_lang"):  # prompts and passages are English
            tokenizer.src_lang = "en" if self.style == "m2m100" else english[self.style]
        self._mbart: dict[str, str] = {}
        if self.style == "mbart":
            names = filter(re.compile(r"[a-z]{2}_[A-Z]{2}").fullmatch, tokenizer.get_vocab())
            self._mbart = {name[:2]: name for name in sorted(names)}

    def token_id(self, language: str, model: str) -> int | None:
        """The id of a language's token, None where the tokenizer has no language tokens at all.

        Raises :class:`XqgError`, naming ``model``, if it has them but none for this language.
        """
        if self.style is None:
            return None
        tokens = {"nllb": FLORES.get(language), "m2m100": f"__{language}__", "mbart": self._mbart.get(language)}
        token = tokens[self.style]
        number = self._id(token) if token else None
        if number is None:
            raise XqgError(
                f"{model}: no language token for {NAMES.get(language, language)} ({language}), so it cannot be told to "
                "write it. Leave the language out of --languages, or use another --model."
            )
        return number

    def is_language(self, token_id: int | None) -> bool:
        """True if a token names a language."""
        token = None if token_id is None else self._tokenizer.convert_ids_to_tokens(token_id)
        return self.style is not None and token is not None and _ANY_LANGUAGE.fullmatch(token) is not None

    def _id(self, token: str) -> int | None:
        number = self._tokenizer.convert_tokens_to_ids(token)
        return None if number is None or number == self._tokenizer.unk_token_id else number


_UNLIMITED = 1_000_000  # tokenizers without a limit of their own report about 1e30
_UNSTATED_LIMIT = 512  # what mT5 was trained with; its relative positions have no limit


class PromptTokens:
    """A checkpoint's tokenizer with all that stands around a prompt: chat template, language tokens, limits.

    max_input_length : tokens kept of a prompt, special tokens and chat template included.
    end_ids : tokens that end a query. line_end_ids : of a causal model, tokens that hold a line break: its answer's
    first line is the query.

    Raises :class:`XqgError` if the model's positions do not hold the prompt and the new tokens.
    """

    def __init__(self, checkpoint: Checkpoint, sampling: Sampling) -> None:
        self._model = checkpoint.name
        self._tokenizer = checkpoint.tokenizer
        self._causal = checkpoint.kind == "causal"
        self._chat = self._causal and bool(getattr(self._tokenizer, "chat_template", None))
        self._languages = LanguageTokens(self._tokenizer) if not self._causal else None
        special = checkpoint.generation_config
        ends = special.eos_token_id if isinstance(special.eos_token_id, list) else [special.eos_token_id]
        self.end_ids = sorted({int(end) for end in [*ends, self._tokenizer.eos_token_id] if end is not None})
        self.pad_id: int = special.pad_token_id
        self.line_end_ids = self._line_ends() if self._causal else []
        self._start = checkpoint.decoder_start_id
        self._forced = getattr(special, "forced_bos_token_id", None)
        self.max_input_length = self._limit(checkpoint, sampling)

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of each prompt, cut to :attr:`max_input_length`."""
        rows = self._tokenize([prompt.text for prompt in prompts])
        return [
            ids if len(ids) <= self.max_input_length else self._cut(prompt)
            for prompt, ids in zip(prompts, rows, strict=True)
        ]

    def lengths(self, prompts: Sequence[Prompt]) -> list[int]:
        """Tokens of each prompt before it is cut."""
        return [len(ids) for ids in self._tokenize([prompt.text for prompt in prompts])]

    def decoder_prefix(self, language: str) -> list[int]:
        """What a seq2seq model's decoder starts from: its start token, and the language's token where it has them."""
        if self._languages is None:
            return []
        language_id = self._languages.token_id(language, self._model)
        start = [] if self._start is None or self._languages.is_language(self._start) else [self._start]
        if language_id is not None:  # mBART-25 starts from the language's token itself
            return [*start, language_id]
        if not start:
            raise XqgError(
                f"{self._model}: config.json names no decoder_start_token_id, so decoding cannot begin. Add it there."
            )
        return start if self._forced is None else [*start, self._forced]

    def candidate(self, ids: Sequence[int], finished: bool, log_probability: float | None = None) -> Candidate:
        """A query from its tokens: special tokens dropped, of a causal model the first line, white space made even."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        if self._causal:
            text, line_break, _ = text.lstrip().partition("\n")
            finished = finished or bool(line_break)
        return Candidate(" ".join(text.split()), finished, log_probability)

    def ends_line(self, ids: Sequence[int]) -> bool:
        """True if a first line that is not blank is complete."""
        text = self._tokenizer.decode(list(ids), skip_special_tokens=True)
        return "\n" in text.lstrip()

    def describe(self) -> dict[str, Any]:
        """What decides the tokens of a prompt, beside the tokenizer itself."""
        style = self._languages.style if self._languages else None
        return {"max_input_length": self.max_input_length, "chat_template": self._chat, "language_tokens": style}

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:
            return []
        if self._chat:
            texts = [self._conversation(text) for text in texts]
        rows = self._tokenizer(
            list(texts),
            add_special_tokens=not self._chat,  # the template has written them
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        if self._causal:  # an end token would end the answer before it begins
            rows = [ids[:-1] if len(ids) > 1 and ids[-1] in self.end_ids and not self._chat else ids for ids in rows]
        return rows

    def _conversation(self, text: str) -> str:
        try:
            return self._tokenizer.apply_chat_template(
                [{"role": "user", "content": text}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=False,  # read by the templates of models that think aloud, ignored by others
            )
        except Exception as error:  # Jinja's own, and whatever a template raises
            raise XqgError(
                f"{self._model}: its chat template fails on a single message of the user ({error}). Mend the template, "
                "or remove it to have the prompt continued as plain text."
            ) from error

    def _cut(self, prompt: Prompt) -> list[int]:
        """The first tokens of a prompt; around a tail or a chat template, those of the longest text that fits."""
        if not (self._chat or prompt.tail or self._causal):
            settings = {"truncation": True, "max_length": self.max_input_length}
            return self._tokenizer(prompt.text, return_attention_mask=False, **settings)["input_ids"]
        text = prompt.text[: len(prompt.text) - prompt.tail]
        tail = prompt.text[len(text) :]
        fits, low, high = None, 0, len(text) - 1
        while low <= high:
            middle = (low + high) // 2
            (ids,) = self._tokenize([text[:middle].rstrip() + tail])
            if len(ids) <= self.max_input_length:
                fits, low = ids, middle + 1
            else:
                high = middle - 1
        if fits is None:
            raise XqgError(
                f"--max-input-length {self.max_input_length}: the prompt alone is longer. Allow more tokens, or "
                "shorten --prompt."
            )
        return fits

    def _line_ends(self) -> list[int]:
        """Tokens with a line break in them, as byte-level, byte-fallback and plain vocabularies write it."""
        breaks = ("\n", "Ċ", "<0x0A>")
        return sorted(
            number
            for token, number in self._tokenizer.get_vocab().items()
            if any(line_break in token for line_break in breaks)
        )

    def _limit(self, checkpoint: Checkpoint, sampling: Sampling) -> int:
        config = checkpoint.config
        positions = getattr(config, "max_position_embeddings", None)
        own = positions if isinstance(positions, int) and positions > 0 else None
        if own is not None and self._causal:
            own -= sampling.max_new_tokens
        if own is not None and (own < 1 or (not self._causal and sampling.max_new_tokens >= positions)):
            raise XqgError(
                f"--max-new-tokens {sampling.max_new_tokens}: the model has positions for {positions} tokens. Ask for "
                "fewer."
            )
        stated = [self._tokenizer.model_max_length] if self._tokenizer.model_max_length < _UNLIMITED else []
        limits = [limit for limit in (*stated, own) if limit is not None]
        if sampling.max_input_length is not None:
            return min([sampling.max_input_length, *([own] if own is not None else [])])
        return min(limits) if limits else getattr(config, "n_positions", None) or _UNSTATED_LIMIT
