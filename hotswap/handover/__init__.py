"""The handover: how a source gives everything it serves to a destination, under one atomic commit."""
