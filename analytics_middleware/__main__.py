"""``python -m analytics_middleware``."""

import sys

from analytics_middleware.cli import main

if __name__ == "__main__":
    sys.exit(main())
