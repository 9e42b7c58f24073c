"""The model process and how to call it: wire format, client and server; the forward pass is not here."""
