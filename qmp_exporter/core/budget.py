"""An amount that many share -> what each may have: some of its own, and more as long as there is any left."""


class Budget:
    """What all have together, beyond what each has for itself."""

    def __init__(self, size: int) -> None:
        self.left = size


class Share:
    """What one of them has of it."""

    __slots__ = ("_budget", "_own", "_taken")

    def __init__(self, budget: Budget, own: int) -> None:
        """`own`: as much it may have whatever the others do."""
        self._budget = budget
        self._own = own
        self._taken = 0

    def resize(self, amount: int) -> bool:
        """It has so much from now on; False, and nothing changes, where too little is left."""
        more = max(amount - self._own, 0) - self._taken
        if more > self._budget.left:
            return False
        self._taken += more
        self._budget.left -= more
        return True

    def move(self, budget: Budget) -> None:
        """It is a share of another budget from now on, of which it has nothing yet."""
        self.resize(0)
        self._budget = budget
