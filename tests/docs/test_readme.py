"""What README says can be done, done."""

import re
from datetime import timedelta
from pathlib import Path

from analytics_middleware import Analytics

README = Path(__file__).parents[2] / "README.md"


def block_under(heading):
    """Return the first Python block under *heading*."""
    return re.search(rf"^## {heading}$.*?^```python$(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)[1]


def test_the_questions_can_be_asked():
    analytics = Analytics([], enabled=True)
    exec(block_under("Asking questions"), {"analytics": analytics, "timedelta": timedelta})
    analytics.close()
