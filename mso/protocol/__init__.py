"""The wire: topics and protobuf payloads to and from the types of mso.model. Pure; docs/protocol.md is the law.

Version 1 is frozen byte for byte; version 2 only adds. Generated code lives in `messages/` and is never edited.
"""

MIN_VERSION = 1
MAX_VERSION = 2
