"""A small zoo of real checkpoints and labelled data, made from packages that pip alone brings."""
