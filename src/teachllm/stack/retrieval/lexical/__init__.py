"""Search by words: analyzers, TF-IDF and BM25, and an inverted index that changes while it is searched;
BM25F for documents with fields."""

from teachllm.stack.retrieval.lexical.analysis import Analyzer, TextAnalyzer
from teachllm.stack.retrieval.lexical.bm25 import BM25
from teachllm.stack.retrieval.lexical.fields import Field, FieldedIndex
from teachllm.stack.retrieval.lexical.index import LexicalIndex
from teachllm.stack.retrieval.lexical.tf_idf import TfIdf

__all__ = ["BM25", "Analyzer", "Field", "FieldedIndex", "LexicalIndex", "TextAnalyzer", "TfIdf"]
