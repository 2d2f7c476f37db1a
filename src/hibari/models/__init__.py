"""Video models: the protocol, shared layers, and one folder a family. Families never import each other."""
