"""Cards from and for elsewhere: Anki packages and tables."""

from teachllm.school.cards.exchange.bring_in import Brought, Incoming, bring_in
from teachllm.school.cards.exchange.from_anki import cards_of_package, media_folder
from teachllm.school.cards.exchange.package import UnreadablePackage, read_package
from teachllm.school.cards.exchange.table import UnreadableTable, cards_of_table, table_of
from teachllm.school.cards.exchange.to_anki import anki_package

__all__ = [
    "Brought",
    "Incoming",
    "UnreadablePackage",
    "UnreadableTable",
    "anki_package",
    "bring_in",
    "cards_of_package",
    "cards_of_table",
    "media_folder",
    "read_package",
    "table_of",
]
