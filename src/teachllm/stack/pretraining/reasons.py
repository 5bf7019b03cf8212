"""Why a cleaning step dropped or changed a document, in Chinese: the steps themselves speak English."""

from __future__ import annotations

CHINESE = {
    "changed": "改动",
    "too short": "太短",
    "too long": "太长",
    "broken characters": "乱码太多",
    "too many symbols": "符号太多",
    "too few words": "词太少",
    "too many words": "词太多",
    "odd word lengths": "词的长度反常",
    "symbols instead of words": "符号多过词",
    "a list": "整篇是列表",
    "teasers": "行尾多是省略号",
    "too few letters": "带字母的词太少",
    "no sentences": "不成句子",
    "repeated lines": "重复的行",
    "repeated paragraphs": "重复的段落",
    "one phrase too often": "同一个短语太多",
    "repeated phrases": "重复的短语",
    "low quality": "质量分太低",
    "in the test set": "出现在测试集里",
    "repeats an earlier text": "和前面的一篇相同",
    "resembles an earlier text": "和前面的一篇相似",
    "composed": "字符合成",
    "line ends": "换行符",
    "line tails": "行尾空格",
    "empty lines": "多余的空行",
    "blank ends": "首尾空白",
    "spaces": "特殊空格",
    "invisible characters": "看不见的字符",
    "e-mail": "邮箱",
    "phone": "电话",
    "ID number": "身份证号",
    "card": "卡号",
    "IP address": "IP 地址",
    "key": "密钥",
    "language: zh": "语言：中文",
    "language: en": "语言：英文",
    "language: code": "语言：代码",
    "language: other": "语言：其他",
    "language: none": "语言：没有文字",
}


def reason_zh(reason: str) -> str:
    """The reason in Chinese; one that is not known stays as it is."""
    return CHINESE.get(reason, reason)
