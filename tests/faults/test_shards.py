"""Writing a corpus that is killed, or that finds the disk full, leaves nothing that looks whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from teachllm.stack.data.shards import ShardError, ShardWriter, TokenShards
from teachllm.stack.tokenizer import Tokenizer

pytestmark = pytest.mark.faults

WRITE = """
import sys
from pathlib import Path
from teachllm.stack.data.shards import ShardWriter
from teachllm.stack.tokenizer import Tokenizer

tokenizer = Tokenizer.from_merges([], special_tokens=["<|endoftext|>"])
with ShardWriter(Path(sys.argv[1]), tokenizer, shard_tokens=1000) as writer:
    for number in range(int(sys.argv[2])):
        writer.add([number % 256] * 300, n_bytes=300)
        print(number, flush=True)
"""


@pytest.fixture
def tokenizer() -> Tokenizer:
    return Tokenizer.from_merges([], special_tokens=["<|endoftext|>"])


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a POSIX signal")
def test_a_killed_writer_leaves_no_corpus(tmp_path: Path) -> None:
    generator = random.Random(0)
    endless = str(10**9)
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        with subprocess.Popen(
            [sys.executable, "-c", WRITE, str(folder), endless], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            for _ in range(generator.randrange(5, 200)):
                process.stdout.readline()
            time.sleep(generator.random() / 100)
            process.send_signal(signal.SIGKILL)
        assert list(folder.glob("tokens-*.bin"))
        with pytest.raises(ShardError, match="writing it was not finished"):
            TokenShards(folder)
        subprocess.run(
            [sys.executable, "-c", WRITE, str(folder), "20"], check=True, stdout=subprocess.DEVNULL
        )
        shards = TokenShards(folder)  # the next writer is not disturbed by what lies there
        shards.verify()
        assert (shards.n_documents, shards.n_tokens) == (20, 20 * 301)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="/dev/full is Linux's disk that is always full")
@pytest.mark.parametrize("name", ["tokens-00000.bin", "documents.bin", ".index.json"])
def test_a_full_disk_is_said_and_leaves_no_corpus(tokenizer: Tokenizer, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("/dev/full")

    def write() -> None:
        with ShardWriter(tmp_path, tokenizer, shard_tokens=1000) as writer:
            for _ in range(100):
                writer.add([1] * 300, n_bytes=300)

    with pytest.raises(ShardError, match=r"no room is left.*Make room"):
        write()
    with pytest.raises(ShardError, match="writing it was not finished"):
        TokenShards(tmp_path)


def test_a_folder_that_cannot_be_made_is_said(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ShardError, match="give a folder that can be written"):
        ShardWriter(tmp_path / "file" / "corpus", tokenizer)
