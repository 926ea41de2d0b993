"""Language codes (ISO 639-1) and the English names that prompts and tables use."""

from __future__ import annotations

from collections.abc import Iterable

from pyserini_xqg.core.errors import XqgError

XOR_TYDI_LANGUAGES: tuple[str, ...] = ("ar", "bn", "fi", "ja", "ko", "ru", "te")
"""The seven query languages of XOR-TyDi, in the order of the paper's tables."""

NAMES: dict[str, str] = {
    "aa": "Afar", "ab": "Abkhazian", "af": "Afrikaans", "ak": "Akan", "am": "Amharic", "an": "Aragonese",
    "ar": "Arabic", "as": "Assamese", "av": "Avaric", "ay": "Aymara", "az": "Azerbaijani", "ba": "Bashkir",
    "be": "Belarusian", "bg": "Bulgarian", "bi": "Bislama", "bm": "Bambara", "bn": "Bengali", "bo": "Tibetan",
    "br": "Breton", "bs": "Bosnian", "ca": "Catalan", "ce": "Chechen", "co": "Corsican", "cs": "Czech",
    "cv": "Chuvash", "cy": "Welsh", "da": "Danish", "de": "German", "dv": "Divehi", "dz": "Dzongkha",
    "ee": "Ewe", "el": "Greek", "en": "English", "eo": "Esperanto", "es": "Spanish", "et": "Estonian",
    "eu": "Basque", "fa": "Persian", "ff": "Fulah", "fi": "Finnish", "fj": "Fijian", "fo": "Faroese",
    "fr": "French", "fy": "Western Frisian", "ga": "Irish", "gd": "Scottish Gaelic", "gl": "Galician",
    "gn": "Guarani", "gu": "Gujarati", "gv": "Manx", "ha": "Hausa", "he": "Hebrew", "hi": "Hindi",
    "hr": "Croatian", "ht": "Haitian Creole", "hu": "Hungarian", "hy": "Armenian", "ia": "Interlingua",
    "id": "Indonesian", "ig": "Igbo", "is": "Icelandic", "it": "Italian", "iu": "Inuktitut", "ja": "Japanese",
    "jv": "Javanese", "ka": "Georgian", "ki": "Kikuyu", "kk": "Kazakh", "kl": "Kalaallisut", "km": "Khmer",
    "kn": "Kannada", "ko": "Korean", "ks": "Kashmiri", "ku": "Kurdish", "kw": "Cornish", "ky": "Kyrgyz",
    "la": "Latin", "lb": "Luxembourgish", "lg": "Ganda", "li": "Limburgish", "ln": "Lingala", "lo": "Lao",
    "lt": "Lithuanian", "lv": "Latvian", "mg": "Malagasy", "mi": "Maori", "mk": "Macedonian",
    "ml": "Malayalam", "mn": "Mongolian", "mr": "Marathi", "ms": "Malay", "mt": "Maltese", "my": "Burmese",
    "nb": "Norwegian Bokmål", "nd": "North Ndebele", "ne": "Nepali", "nl": "Dutch", "nn": "Norwegian Nynorsk",
    "no": "Norwegian", "nr": "South Ndebele", "ny": "Chichewa", "oc": "Occitan", "om": "Oromo", "or": "Odia",
    "os": "Ossetian", "pa": "Punjabi", "pl": "Polish", "ps": "Pashto", "pt": "Portuguese", "qu": "Quechua",
    "rm": "Romansh", "rn": "Rundi", "ro": "Romanian", "ru": "Russian", "rw": "Kinyarwanda", "sa": "Sanskrit",
    "sc": "Sardinian", "sd": "Sindhi", "se": "Northern Sami", "sg": "Sango", "si": "Sinhala", "sk": "Slovak",
    "sl": "Slovenian", "sm": "Samoan", "sn": "Shona", "so": "Somali", "sq": "Albanian", "sr": "Serbian",
    "ss": "Swati", "st": "Southern Sotho", "su": "Sundanese", "sv": "Swedish", "sw": "Swahili", "ta": "Tamil",
    "te": "Telugu", "tg": "Tajik", "th": "Thai", "ti": "Tigrinya", "tk": "Turkmen", "tl": "Tagalog",
    "tn": "Tswana", "to": "Tongan", "tr": "Turkish", "ts": "Tsonga", "tt": "Tatar", "tw": "Twi",
    "ug": "Uyghur", "uk": "Ukrainian", "ur": "Urdu", "uz": "Uzbek", "ve": "Venda", "vi": "Vietnamese",
    "wo": "Wolof", "xh": "Xhosa", "yi": "Yiddish", "yo": "Yoruba", "za": "Zhuang", "zh": "Chinese",
    "zu": "Zulu",
}  # fmt: skip
"""ISO 639-1 code to English name, as used in the paper's prompt (``Generate a {language} question …``)."""


def check_language(code: str, where: str = "") -> str:
    """Return ``code`` if it is a known ISO 639-1 code; raise :class:`XqgError` otherwise.

    ``where`` (a file and line, an option) opens the message.

    >>> check_language("te")
    'te'
    """
    if isinstance(code, str) and code in NAMES:
        return code
    hint = ""
    by_name = {name.lower(): known for known, name in NAMES.items()}
    if isinstance(code, str) and (known := (NAMES.get(code.lower()) and code.lower()) or by_name.get(code.lower())):
        hint = f" Did you mean {known!r}?"
    raise XqgError(
        f"{where + ': ' if where else ''}unknown language code {code!r}.{hint} "
        "Use two-letter ISO 639-1 codes such as ar, bn, fi, ja, ko, ru, te."
    )


def parse_languages(value: str | Iterable[str], where: str = "") -> list[str]:
    """Split ``ar,bn,fi`` (or take a list), check each code, refuse repeats, keep the order.

    >>> parse_languages("ar,bn")
    ['ar', 'bn']
    """
    codes = [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)
    begin = f"{where}: " if where else ""
    if not any(codes):
        raise XqgError(f"{begin}no language given. Use codes such as ar,bn,fi.")
    for code in codes:
        check_language(code, where)
    if repeated := sorted({code for code in codes if codes.count(code) > 1}):
        raise XqgError(f"{begin}{', '.join(repeated)} given more than once. Name each language once.")
    return codes
