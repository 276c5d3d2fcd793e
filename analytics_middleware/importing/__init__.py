"""What is in files, as records for the store: our own exports, access logs, exports of Plausible and Umami.

Nothing in a file is believed: a line that is wrong is counted with its reason and passed over, one without an end is
cut off, and what unpacks into far more than it was is given up.
"""

from typing import Final

from analytics_middleware import exporting

FORMATS: Final = (*exporting.FORMATS, "access-log", "plausible", "umami")
"""The formats that can be read."""
