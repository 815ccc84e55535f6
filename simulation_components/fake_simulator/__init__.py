"""A simulation orchestrator that knows the protocol and nothing else: it asks, plays, and judges what it hears.

Pure: scenario, scenario_file, wire, judge, steps. I/O: connection, the narrators. play joins them.
"""
