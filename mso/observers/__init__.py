"""What follows from a Change, each in a module of its own. An observer is a callable that neither blocks nor raises.

One that needs I/O puts what it has to do into a queue, and has a loop of its own that the service runs: so a slow
broker or a slow log can never hold up the inventory. A new one is one module here and one line in mso/service.py.
"""
