"""The token by which multilingual translation models are told which language to write: NLLB, M2M100, mBART."""

from __future__ import annotations

import re
from typing import Any

from pyserini_xqg.core.errors import XqgError
from pyserini_xqg.core.languages import NAMES

FLORES: dict[str, str] = {
    "af": "afr_Latn", "ak": "aka_Latn", "am": "amh_Ethi", "ar": "arb_Arab", "as": "asm_Beng", "ay": "ayr_Latn",
    "az": "azj_Latn", "ba": "bak_Cyrl", "be": "bel_Cyrl", "bg": "bul_Cyrl", "bm": "bam_Latn", "bn": "ben_Beng",
    "bo": "bod_Tibt", "bs": "bos_Latn", "ca": "cat_Latn", "cs": "ces_Latn", "cy": "cym_Latn", "da": "dan_Latn",
    "de": "deu_Latn", "dz": "dzo_Tibt", "ee": "ewe_Latn", "el": "ell_Grek", "en": "eng_Latn", "eo": "epo_Latn",
    "es": "spa_Latn", "et": "est_Latn", "eu": "eus_Latn", "fa": "pes_Arab", "ff": "fuv_Latn", "fi": "fin_Latn",
    "fj": "fij_Latn", "fo": "fao_Latn", "fr": "fra_Latn", "ga": "gle_Latn", "gd": "gla_Latn", "gl": "glg_Latn",
    "gn": "grn_Latn", "gu": "guj_Gujr", "ha": "hau_Latn", "he": "heb_Hebr", "hi": "hin_Deva", "hr": "hrv_Latn",
    "ht": "hat_Latn", "hu": "hun_Latn", "hy": "hye_Armn", "id": "ind_Latn", "ig": "ibo_Latn", "is": "isl_Latn",
    "it": "ita_Latn", "ja": "jpn_Jpan", "jv": "jav_Latn", "ka": "kat_Geor", "ki": "kik_Latn", "kk": "kaz_Cyrl",
    "km": "khm_Khmr", "kn": "kan_Knda", "ko": "kor_Hang", "ks": "kas_Arab", "ku": "kmr_Latn", "ky": "kir_Cyrl",
    "lb": "ltz_Latn", "lg": "lug_Latn", "li": "lim_Latn", "ln": "lin_Latn", "lo": "lao_Laoo", "lt": "lit_Latn",
    "lv": "lvs_Latn", "mg": "plt_Latn", "mi": "mri_Latn", "mk": "mkd_Cyrl", "ml": "mal_Mlym", "mn": "khk_Cyrl",
    "mr": "mar_Deva", "ms": "zsm_Latn", "mt": "mlt_Latn", "my": "mya_Mymr", "nb": "nob_Latn", "ne": "npi_Deva",
    "nl": "nld_Latn", "nn": "nno_Latn", "no": "nob_Latn", "ny": "nya_Latn", "oc": "oci_Latn", "om": "gaz_Latn",
    "or": "ory_Orya", "pa": "pan_Guru", "pl": "pol_Latn", "ps": "pbt_Arab", "pt": "por_Latn", "qu": "quy_Latn",
    "rn": "run_Latn", "ro": "ron_Latn", "ru": "rus_Cyrl", "rw": "kin_Latn", "sa": "san_Deva", "sc": "srd_Latn",
    "sd": "snd_Arab", "sg": "sag_Latn", "si": "sin_Sinh", "sk": "slk_Latn", "sl": "slv_Latn", "sm": "smo_Latn",
    "sn": "sna_Latn", "so": "som_Latn", "sq": "als_Latn", "sr": "srp_Cyrl", "ss": "ssw_Latn", "st": "sot_Latn",
    "su": "sun_Latn", "sv": "swe_Latn", "sw": "swh_Latn", "ta": "tam_Taml", "te": "tel_Telu", "tg": "tgk_Cyrl",
    "th": "tha_Thai", "ti": "tir_Ethi", "tk": "tuk_Latn", "tl": "tgl_Latn", "tn": "tsn_Latn", "tr": "tur_Latn",
    "ts": "tso_Latn", "tt": "tat_Cyrl", "tw": "twi_Latn", "ug": "uig_Arab", "uk": "ukr_Cyrl", "ur": "urd_Arab",
    "uz": "uzn_Latn", "vi": "vie_Latn", "wo": "wol_Latn", "xh": "xho_Latn", "yi": "ydd_Hebr", "yo": "yor_Latn",
    "zh": "zho_Hans", "zu": "zul_Latn",
}  # fmt: skip
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
