"""What all sections of the settings have in common."""

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Section(BaseModel):
    """A table of a configuration file: unknown keys and values of other types are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_switch(cls, value: object, field: ValidationInfo) -> object:
        # Else `true` would count as the number 1.
        if isinstance(value, bool) and cls.model_fields[field.field_name or ""].annotation is not bool:
            raise ValueError("must not be true or false")
        return value
