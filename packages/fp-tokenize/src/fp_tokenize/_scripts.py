"""The script of a character: Latin, Cyrillic, Han…, from the tables of `regex`, which does not list their names."""

from functools import lru_cache

import regex

LISTED = """
Latin Cyrillic Greek Han Hiragana Katakana Hangul Arabic Hebrew Devanagari Thai Bengali Tamil Telugu Armenian Georgian
Adlam Ahom Anatolian_Hieroglyphs Avestan Balinese Bamum Bassa_Vah Batak Bhaiksuki Bopomofo Brahmi Braille Buginese
Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Coptic Cuneiform Cypriot
Cypro_Minoan Deseret Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Ethiopic Glagolitic Gothic
Grantha Gujarati Gunjala_Gondi Gurmukhi Hanifi_Rohingya Hanunoo Hatran Imperial_Aramaic Inscriptional_Pahlavi
Inscriptional_Parthian Javanese Kaithi Kannada Kawi Kayah_Li Kharoshthi Khitan_Small_Script Khmer Khojki Khudawadi Lao
Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Malayalam Mandaic Manichaean Marchen Masaram_Gondi
Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive Meroitic_Hieroglyphs Miao Modi Mongolian Mro Multani Myanmar
Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Old_Hungarian
Old_Italic Old_North_Arabian Old_Permic Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Oriya Osage
Osmanya Pahawh_Hmong Palmyrene Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra
Sharada Shavian Siddham SignWriting Sinhala Sogdian Sora_Sompeng Soyombo Sundanese Syloti_Nagri Syriac Tagalog
Tagbanwa Tai_Le Tai_Tham Tai_Viet Takri Tangsa Tangut Thaana Tibetan Tifinagh Tirhuta Toto Ugaritic Vai Vithkuqi
Wancho Warang_Citi Yezidi Yi Zanabazar_Square Garay Gurung_Khema Kirat_Rai Ol_Onal Sunuwar Todhri Tulu_Tigalari
Beria_Erfe Sidetic Tai_Yo Tolong_Siki Seal Jurchen Proto_Cuneiform
"""
NAMES = LISTED.split()

# Japanese mixes three scripts within a word; the long-vowel mark belongs to the second
TOGETHER = {"Hiragana": "Han", "Katakana": "Han"}


def scripts(characters: str) -> list[str]:
    """
    The script of each character: "Common" for digits, signs and the like, "Inherited" for combining marks.

    >>> scripts("aß1.ж語かカー\u0301")
    ['Latin', 'Latin', 'Common', 'Common', 'Cyrillic', 'Han', 'Han', 'Han', 'Han', 'Inherited']
    """
    found = {c: "Latin" for c in characters if c.isascii() and c.isalpha()} | {"ー": "Han"}
    rest = "".join({c for c in characters if not c.isascii()} - {"ー"})
    for name in ["Common", "Inherited", *NAMES]:
        if not rest:
            break
        pattern = _of(name)
        found.update(dict.fromkeys(pattern.findall(rest), TOGETHER.get(name, name)))
        rest = pattern.sub("", rest)
    return [found.get(c, "Common") for c in characters]


@lru_cache(None)
def _of(name: str) -> "regex.Pattern[str]":
    try:
        return regex.compile(rf"\p{{Script={name}}}")
    except regex.error:  # a script that came into Unicode after this version of regex: no character has it
        return regex.compile("(?!)")
