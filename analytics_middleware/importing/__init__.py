"""Reads files into records for the store: our own exports, access logs, exports of Plausible and Umami.

Files are not trusted: wrong or overlong lines are skipped and counted by reason, and reading stops in files that unpack
into far more than their size.
"""

from typing import Final

from analytics_middleware import exporting

FORMATS: Final = (*exporting.FORMATS, "access-log", "plausible", "umami")
"""The formats that can be read."""
