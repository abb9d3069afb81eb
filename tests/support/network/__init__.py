"""What lies between a caller and a gateway: nginx, a proxy that breaks connections, raw HTTP."""
