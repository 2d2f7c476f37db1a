"""The studio: the page where videos are made, watched and kept. Its source is `web/`; `scripts/build-studio` builds it.

This room serves the built files and knows nothing of the API: the page uses that as any other client does.
"""

from hibari.studio.page import PAGES, install

__all__ = ["PAGES", "install"]
