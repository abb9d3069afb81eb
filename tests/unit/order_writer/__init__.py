"""The order writer's plan and fold, which need no server."""
