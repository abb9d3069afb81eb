"""Connections to Redis: pipelined, fenced by run id, as durable as the settings say."""
