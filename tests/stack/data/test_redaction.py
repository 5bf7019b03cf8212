"""Personal data with a form is found in English and Chinese; numbers that are nobody's stay."""

from __future__ import annotations

from random import Random

import pytest

from teachllm.stack.data.redaction import MARKS, is_chinese_id, luhn_holds, redact


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to Ann.B+x@mail.example.co.uk.", "Write to <EMAIL>."),
        ("邮箱是li_lei@example.com，谢谢", "邮箱是<EMAIL>，谢谢"),
        ("a@b.cc, d@e.ff", "<EMAIL>, <EMAIL>"),
        ("@decorator and 3 @ 5 and user@localhost", None),
        ("电话13812345678，或138 1234 5678、138-1234-5678", "电话<PHONE>，或<PHONE>、<PHONE>"),
        ("138 1234 5678 13912345678", "<PHONE> <PHONE>"),
        ("座机：010-62781234，(0755) 26001234", "座机：<PHONE>，<PHONE>"),
        ("(415) 555-2671 or 415-555-2671", "<PHONE> or <PHONE>"),
        ("+86 138-1234-5678, +1 (415) 555-2671, +44 20 7946 0958", "<PHONE>, <PHONE>, <PHONE>"),
        ("身份证11010519491231002X。", "身份证<ID_NUMBER>。"),
        ("110105194912310021 has a wrong check digit", None),
        ("4111 1111 1111 1111, 4111111111111111, 3782 822463 10005", "<CARD>, <CARD>, <CARD>"),
        ("4111 1111 1111 1112", None),
        ("卡号6222 0212 3456 7890 128", "卡号<CARD>"),
        ("ping 8.8.8.8, not 127.0.0.1 or 192.168.0.1", "ping <IP>, not 127.0.0.1 or 192.168.0.1"),
        ("2001:4860:4860::8888 but not ::1 or fe80::1", "<IP> but not ::1 or fe80::1"),
        ("version 1.2.3.4.5, v8.8.8.8, std::vector<a::b>, at 12:30:45", None),
        ("2024-11-24 12:30:45, 1,000,000,000,000, 3.14159265358979", None),
        ("3.14159 26535 89793 23846, 20231115093012, +3.140000", None),
        ("ISBN 978-7-111-54742-6, 1949-10-01 2024-10-01", None),
        ("sk-" + "a1" * 12 + " and AKIA" + "A1" * 8, "<KEY> and <KEY>"),
        ("a risk-averse-and-very-careful-person", None),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----\nrest", "<KEY>\nrest"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefghijkl", "<KEY>"),
    ],
)
def test_what_is_found(text: str, expected: str | None) -> None:
    redacted, counts = redact(text)
    assert redacted == (expected or text)
    assert sum(counts.values()) == sum(redacted.count(mark) for mark in MARKS.values())


def test_kinds_are_counted() -> None:
    _, counts = redact("a@b.cc d@e.ff 13812345678")
    assert counts == {"e-mail": 2, "phone": 1}


def test_luhn_finds_every_wrong_digit() -> None:
    number = "4539148803436467"
    assert luhn_holds(number)
    for place in range(len(number)):
        for digit in set("0123456789") - {number[place]}:
            assert not luhn_holds(number[:place] + digit + number[place + 1 :])
    assert not luhn_holds("4539 1488")


def test_id_numbers_have_one_check_digit() -> None:
    random = Random(0)
    for _ in range(50):
        year, month, day = random.randint(10, 99), random.randint(1, 9), random.randint(10, 19)
        body = f"11010519{year}0{month}{day}{random.randint(0, 999):03}"
        assert sum(is_chinese_id(body + check) for check in "0123456789X") == 1
    assert not is_chinese_id("110105194913310028"), "there is no month 13"
