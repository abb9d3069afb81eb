"""The duties, one file each, and the directory of partitions they work on."""
