"""Mochi 1 (Genmo): text to video, from its published folder."""
