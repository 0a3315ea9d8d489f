"""The table of the Huffman code of HPACK (RFC 7541 appendix B).

The code is canonical: the lengths of all codes, in the order of length and symbol, are the whole table.
"""

from __future__ import annotations

from typing import Final

EOS: Final = 256

# Symbols by the length of their codes, as in appendix B.
_BY_LENGTH: Final = {
    5: b"012aceiost",
    6: b" %-./3456789=A_bdfghlmnpru",
    7: b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz",
    8: b"&*,;XZ",
    10: b'!"()?',
    11: b"'+|",
    12: b"#>",
    13: b"\0$@[]~",
    14: b"^}",
    15: b"<`{",
    19: bytes((92, 195, 208)),
    20: bytes((128, 130, 131, 162, 184, 194, 224, 226)),
    21: bytes((153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230)),
    22: b"\x81\x84\x85\x86\x88\x92\x9a\x9c\xa0\xa3\xa4\xa9\xaa\xad\xb2\xb5\xb9\xba\xbb\xbd\xbe\xc4\xc6\xe4\xe8\xe9",
    23: bytes((1, 135, *range(137, 142), 143, 147, *range(149, 153), 155, 157, 158, 165, 166, 168, 174))
    + b"\xaf\xb4\xb6\xb7\xbc\xbf\xc5\xe7\xef",
    24: bytes((9, 142, 144, 145, 148, 159, 171, 206, 215, 225, 236, 237)),
    25: bytes((199, 207, 234, 235)),
    26: bytes((192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242, 243, 255)),
    27: bytes((203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254)),
    28: bytes((*range(2, 9), 11, 12, *range(14, 22), *range(23, 32), 127, 220, 249)),
    30: bytes((10, 13, 22)),  # and EOS
}


def _codes() -> list[str]:
    """The code of each symbol, EOS included, as a text of bits."""
    codes = [""] * 257
    code = 0
    former = 0
    for length, symbols in _BY_LENGTH.items():
        code <<= length - former
        former = length
        for symbol in symbols:
            codes[symbol] = f"{code:0{length}b}"
            code += 1
    codes[EOS] = f"{code:030b}"
    return codes


CODES: Final = _codes()
"""The code of each symbol as a text of bits, that of EOS last."""


class BadCode(Exception):
    """EOS in a string, or padding that is not the beginning of EOS in less than 8 bits (RFC 7541 section 5.2)."""
