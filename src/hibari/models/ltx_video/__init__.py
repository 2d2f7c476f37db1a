"""LTX-Video (Lightricks): text, picture and clip to video, from its published folders."""
