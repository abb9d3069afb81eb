"""What a trial stands on: the running system, its buyers, its history and what the logs say."""
