"""One table of every call, and thin handlers: parse, make one domain call, render."""
