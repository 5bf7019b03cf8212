"""What a learner chose: language, theme, how many cards a day."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from teachllm.school.language import LANGUAGES, Both
from teachllm.school.progress import tables
from teachllm.school.progress.database import Database, put
from teachllm.school.progress.errors import SettingError

DEFAULTS: dict[str, Any] = {
    "lang": None,
    "theme": "auto",
    "welcomed": False,
    "new_cards_per_day": 20,
    "reviews_per_day": 200,
    "leech_lapses": 8,
    "leech_action": "suspend",
}
"""``lang``: zh, en, or ``None`` for what the browser or the terminal asks for.
``leech_lapses``: a card forgotten that often is a leech; 0 switches that off."""

_CHOICES: dict[str, tuple[Any, ...]] = {
    "lang": (*LANGUAGES, None),
    "theme": ("light", "dark", "auto"),
    "welcomed": (True, False),
    "leech_action": ("suspend", "keep"),
}
_MOST = {"new_cards_per_day": 999, "reviews_per_day": 9999, "leech_lapses": 99}


class Settings:
    database: Database

    def settings(self) -> dict[str, Any]:
        """Every setting by name."""
        with self.database.reading() as connection:
            return self.settings_in(connection)

    def settings_in(self, connection: Connection) -> dict[str, Any]:
        """The same within a transaction."""
        rows = connection.execute(select(tables.settings.c.name, tables.settings.c.value))
        return DEFAULTS | {name: value for name, value in rows if name in DEFAULTS}

    def setting(self, name: str) -> Any:
        """Raises :class:`SettingError` if there is no such setting."""
        _check_name(name)
        statement = select(tables.settings.c.value).where(tables.settings.c.name == name)
        with self.database.reading() as connection:
            row = connection.execute(statement).first()
        return DEFAULTS[name] if row is None else row[0]

    def set_setting(self, name: str, value: Any) -> None:
        self.save_settings(**{name: value})

    def save_settings(self, **values: Any) -> None:
        """All or none: raises :class:`SettingError` for an unknown name or a value that it does not take."""
        for name, value in values.items():
            check_setting(name, value)
        with self.database.writing() as connection:
            for name, value in values.items():
                put(connection, tables.settings, name=name, value=value)


def _check_name(name: str) -> None:
    if name not in DEFAULTS:
        known = ", ".join(DEFAULTS)
        raise SettingError(
            Both(f"没有设置 {name!r}，有的是：{known}", f"There is no setting {name!r}; there are: {known}")
        )


def check_setting(name: str, value: Any) -> None:
    """Raises :class:`SettingError`."""
    _check_name(name)
    if name in _CHOICES:
        # 1 == True: the type counts too
        if not any(value == one and type(value) is type(one) for one in _CHOICES[name]):
            options = ", ".join(str(one) for one in _CHOICES[name])
            raise SettingError(
                Both(
                    f"{name} 不能是 {value!r}，可以是：{options}",
                    f"{name} cannot be {value!r}; it can be: {options}",
                )
            )
    elif type(value) is not int or not 0 <= value <= _MOST[name]:
        most = _MOST[name]
        raise SettingError(
            Both(
                f"{name} 要是 0 到 {most} 的整数，得到 {value!r}",
                f"{name} must be a whole number from 0 to {most}; it was {value!r}",
            )
        )
