"""The temporal JEPA: from a timeline to latents at several horizons, and what is read from them.

May import the timeline and prediction rooms, torch, jaxtyping and safetensors. Does not know
storage, the wire, FHIR or who asks; never sets process-wide state (threads, global seeds).
"""
