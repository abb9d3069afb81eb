"""The duties, one file each; the partitions they work on; their rows in the audit log."""
