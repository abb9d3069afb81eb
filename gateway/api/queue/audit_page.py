"""The page at /queue/audit: one file, which recomputes a draw in the reader's browser."""

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

from gateway.api.contract.problems import Answer

_PAGE = Path(__file__).with_name("audit_page.html").read_bytes()
_PART = re.compile(rb"<(script|style)>(.*?)</\1>", re.DOTALL)


def _hashes(kind: bytes) -> str:
    """Hashes for the policy: the browser runs exactly the file's parts and nothing else."""
    return " ".join(
        f"'sha256-{b64encode(sha256(part).digest()).decode()}'"
        for name, part in _PART.findall(_PAGE)
        if name == kind
    )


_POLICY = (
    f"default-src 'none'; script-src {_hashes(b'script')}; style-src {_hashes(b'style')}; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
AUDIT_PAGE = Answer(200, _PAGE, (("Content-Security-Policy", _POLICY),), "text/html; charset=utf-8")
