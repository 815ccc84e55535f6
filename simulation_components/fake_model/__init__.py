"""A model as an energy researcher would write one: it speaks MQTT, prints what it does, and at times it crashes.

It knows the protocol and nothing of the Model Services Orchestrator; how it behaves is told by environment variables.
"""
