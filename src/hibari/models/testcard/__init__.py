"""Colour bars with the prompt and the frame number: a model for everything that is not about pictures."""
