"""The sidecar proxy: reactor, codecs, routing, pools."""
