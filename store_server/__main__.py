"""`python -m store_server` is `engram-store`."""

import sys

from store_server.entry_point import main

if __name__ == "__main__":
    sys.exit(main())
