"""Price of device time: money per second, as a fact of a sweep and back, as text."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tracker.numbers import money
from tracker.price import Price, no_price, with_price


def test_money_follows_the_device_hours() -> None:
    price = Price(per_device_hour=2.5, currency="EUR")
    assert price.of(7200) == 5.0
    assert price.text(7200) == "5.00 EUR"
    assert with_price("2 h 0 min", price, 7200) == "2 h 0 min (5.00 EUR)"
    assert with_price("2 h 0 min", None, 7200) == "2 h 0 min"


def test_a_small_amount_is_never_nothing() -> None:
    assert money(0.0004, "CNY") == "less than 0.01 CNY"
    assert money(0.0, "CNY") == "0.00 CNY"
    assert money(12_345.6, "CNY") == "12,346 CNY"


def test_a_price_is_a_fact_of_its_sweep_and_can_be_taken_back() -> None:
    price = Price(per_device_hour=0.99, currency="USD")
    assert Price.of_facts({**price.as_fact()}) == price
    assert Price.of_facts({**price.as_fact(), **no_price()}) is None
    assert Price.of_facts({}) is None
    assert Price.of_facts({"price": "of another version"}) is None


@pytest.mark.parametrize("wrong", [{"currency": "€"}, {"per_device_hour": 0}, {"currency": "euro"}])
def test_a_price_is_above_zero_and_names_a_currency(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Price(**{"per_device_hour": 2.5, "currency": "EUR", **wrong})
