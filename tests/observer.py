"""An observer that remembers."""

from mso.changes import Change, ModelChanged
from mso.inventory import Inventory
from mso.model import State


class Told(list[Change]):
    """What an observer of the inventory heard."""

    def __init__(self, inventory: Inventory) -> None:
        super().__init__()
        inventory.subscribe(self.append)

    def of(self, *kinds: type[Change]) -> list[Change]:
        return [change for change in self if isinstance(change, kinds)]

    @property
    def kinds(self) -> list[str]:
        return [type(change).__name__ for change in self]

    @property
    def ends(self) -> list[tuple[str, State]]:
        """The models whose end was told, in order."""
        return [
            (change.model.key.model, change.model.state)
            for change in self
            if isinstance(change, ModelChanged) and change.model.state.terminal
        ]
