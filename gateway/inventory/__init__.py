"""The small domain that all processes share: words, keys, events, the store over the scripts."""
