"""Resending a ModelsReady that was withheld: an operator's word that it did not go out.

It is sent once: what is taken from the ledger to be sent is not there to be taken again.
"""

import asyncio

from mso.broker import Broker, ConnectionLost
from mso.ledger import Ledger

CONNECT_SECONDS = 15.0
ACKNOWLEDGE_SECONDS = 15.0


class NotResentError(Exception):
    """It was not sent, or nobody knows: why, and what can be done."""


async def resend_ready(ledger: Ledger, broker: Broker, simulation: str) -> None:
    """Send the ModelsReady of the simulation's last run. Raises NotResentError, and LedgerError."""
    if await ledger.withheld(simulation) is None:
        raise NotResentError(f"no ModelsReady of {simulation} is withheld: its last run has ended, or needs none")
    async with broker:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await broker.connected()
        except TimeoutError:
            raise NotResentError(f"the broker cannot be reached within {CONNECT_SECONDS:.0f} s: try again") from None
        row = await ledger.take_withheld(simulation)
        if row is None:
            raise NotResentError(f"somebody else has just sent the ModelsReady of {simulation}")
        try:
            async with asyncio.timeout(ACKNOWLEDGE_SECONDS):
                await broker.publish(row.topic, row.payload)
        except (ConnectionLost, TimeoutError):
            raise NotResentError(
                "the connection broke before the broker acknowledged: nobody knows whether it went out. Look whether "
                "the simulation begins; if it does not, stop it and ask for it again"
            ) from None
