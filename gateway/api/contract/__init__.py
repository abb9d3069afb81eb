"""What goes over the wire: calls, bodies, answers, problems, headers, cursors."""
