# The parser of heads in C behaves as its twin in Python, where it is documented: its functions have the twin's types.

from typing import Final

from proxy.http1.head import find_end as find_end
from proxy.http1.head import parse_request as parse_request
from proxy.http1.head import parse_response as parse_response

FORMAT: Final[int]
