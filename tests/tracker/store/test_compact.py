"""Sharing what pydantic keeps of each model must change nothing that anybody sees."""

from tracker.store.compact import compact
from tracker.trial import MethodSpec


def test_alike_models_share_their_set_of_fields(make_record) -> None:
    result = make_record().result
    one, other = (type(result).model_validate_json(result.model_dump_json()) for _ in range(2))
    compact(one)
    compact(other)
    assert one == result
    assert one.model_dump_json() == result.model_dump_json()
    assert one.spec.train.__pydantic_fields_set__ is other.spec.train.__pydantic_fields_set__
    assert one.tasks[0].__pydantic_fields_set__ is other.tasks[0].__pydantic_fields_set__
    assert one.model_dump(exclude_unset=True) == one.model_dump()


def test_a_copy_has_its_own_and_what_was_not_given_stays_so() -> None:
    whole = MethodSpec.model_validate(MethodSpec(name="full").model_dump())
    part = MethodSpec(name="lora", rank=8)
    compact(whole)
    compact(part)
    assert part.model_fields_set == {"name", "rank"}
    assert whole.model_copy().__pydantic_fields_set__ is not whole.__pydantic_fields_set__
