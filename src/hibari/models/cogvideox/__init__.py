"""CogVideoX (Zhipu): text and picture to video, from its published folders."""
