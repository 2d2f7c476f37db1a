"""hibari-mini: our own small text-to-video model."""
