"""What the kernel says of a sidecar's sockets, and what leads traffic to them."""
