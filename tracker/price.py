"""Price of device time: what an hour on a device costs, and the money that seconds on it come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, StringConstraints, ValidationError

from tracker.frozen import Frozen
from tracker.numbers import money

#: Of a sweep's facts in the store (:class:`tracker.store.runs.SweepInfo`).
_FACT = "price"


class Price(Frozen):
    """Price of device time; without one, costs are in hours alone."""

    per_device_hour: float = Field(gt=0, le=1e6, description="Price of one hour on a device.")
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = Field(
        description="Its currency as three capital letters, such as EUR or CNY."
    )

    def of(self, seconds: float) -> float:
        """Money that so many device seconds cost, in ``currency``."""
        return seconds / 3600 * self.per_device_hour

    def text(self, seconds: float) -> str:
        """Money that so many device seconds cost: ``2.50 EUR``."""
        return money(self.of(seconds), self.currency)

    def as_fact(self) -> dict[str, str]:
        """Price as a fact of a sweep in the store."""
        return {_FACT: self.model_dump_json()}

    @staticmethod
    def of_facts(facts: Mapping[str, str]) -> Price | None:
        """Price among a sweep's facts; ``None`` where its file has none."""
        try:
            return Price.model_validate_json(facts[_FACT]) if facts.get(_FACT) else None
        except ValidationError:  # of another version
            return None

    def as_json(self, seconds: float) -> dict[str, Any]:
        """Money that so many device seconds cost, as plain values."""
        return {"amount": round(self.of(seconds), 6), "currency": self.currency}


def no_price() -> dict[str, str]:
    """The fact of a sweep without a price, which may have had one before."""
    return {_FACT: ""}


def with_price(words: str, price: Price | None, seconds: float) -> str:
    """*words* on a duration with the money that *seconds* cost, where there is a price."""
    return words if price is None else f"{words} ({price.text(seconds)})"
