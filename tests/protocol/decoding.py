"""A DeployModels read at one go."""

from mso.model import Capabilities
from mso.protocol.lifecycle import Decoded, decoding
from mso.protocol.topics import DeployModels


def decode_deploy_models(
    address: DeployModels, payload: bytes, *, redelivered: bool, capabilities: Capabilities
) -> Decoded:
    """All slices of it, one after the other."""
    slices = decoding(address, payload, redelivered=redelivered, capabilities=capabilities)
    while True:
        try:
            next(slices)
        except StopIteration as done:
            decoded: Decoded = done.value
            return decoded
