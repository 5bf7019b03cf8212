"""``teachllm serve``: the local model behind OpenAI's interface."""

from __future__ import annotations

import contextlib
import math
import os
import pkgutil
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from teachllm.stack.data.assets import AssetError
from teachllm.stack.inference.command import (
    DEFAULT_MODEL,
    Lang,
    Weights,
    Words,
    about_model,
    terminal_language,
)

if TYPE_CHECKING:
    from teachllm.stack.inference.engine.config import EngineConfig
    from teachllm.stack.inference.engine.service import EngineService, Service
    from teachllm.stack.inference.language_model import LanguageModel
    from teachllm.stack.inference.server import ServerLimits
    from teachllm.stack.inference.server.embeddings import Embedder

PORT = 8000
EMBEDDER_LOADER = "teachllm.stack.retrieval.embedding:load_embedding_model"
SHARE_OF_GPU = 0.9  # a server has it to itself; the rest is for activations
LOOPBACK = ("127.0.0.1", "::1")
SHORTEST_KEY = 8


def serve(
    model: str = DEFAULT_MODEL,
    *,
    weights: Weights = "auto",
    host: str = "127.0.0.1",
    port: int = PORT,
    api_key_env: str | None = None,
    api_key_file: Path | None = None,
    max_running: int = 256,
    max_batch_tokens: int = 512,
    cache_tokens: int | None = None,
    memory_share: float | None = None,
    batch_invariant: bool = False,
    max_open: int = 2048,
    prefill_workers: int = 0,
    decode_workers: int = 0,
    embedding_model: str | None = None,
    lang: Lang | None = None,
) -> None:
    """Serve a model: OpenAI's chat completions and completions, many requests at once. Ctrl-C ends it.

    Parameters
    ----------
    model
        An asset, a GGUF file, or a folder of safetensors.
    weights
        In which numbers decoding reads the weights: auto, bf16, int8 or int4. Fewer bits are faster and less
        exact; auto takes them as the file has them.
    host
        Address to listen on; 127.0.0.1 is reached from this computer only, 0.0.0.0 from everywhere.
    port
        0 is any free one.
    api_key_env
        Name of the environment variable that holds the key which clients must send.
    api_key_file
        File that holds the key.
    max_running
        Texts that are written at the same time; more wait.
    max_batch_tokens
        Tokens that one step computes: more for more throughput, less for steadier answers.
    cache_tokens
        Tokens whose keys and values are kept, of all requests together.
    memory_share
        Instead of it: how much of the memory of the GPU, or of the computer, may be in use when the cache is
        there. With neither, 0.9 on a GPU; elsewhere the cache has 512 MiB.
    batch_invariant
        A request gets the same numbers, bit for bit, whatever else is being answered: with a seed, the same
        text also in bfloat16. What it costs is said at the start.
    max_open
        Requests that run or wait; more are refused.
    prefill_workers
        Processes that only read prompts, each with the whole model; with them goes at least one of
        --decode-workers. 0 for one engine that does both.
    decode_workers
        Processes that only write, from the keys and values that the others hand over.
    embedding_model
        An asset or a folder: a model whose embeddings are served at /v1/embeddings beside it.
    lang
        Language of the messages: zh or en. By default that of the terminal.
    """
    from teachllm.stack.inference.engine.config import EngineConfig
    from teachllm.stack.inference.server import ServerLimits
    from teachllm.stack.inference.server.listening import PortTaken, listen

    words = Words(lang or terminal_language())
    try:
        api_key = _api_key(api_key_env, api_key_file)
        limits = ServerLimits(most_open=max_open)
        block_size = EngineConfig().block_size
        config = EngineConfig(
            max_running=max_running,
            max_batch_tokens=max_batch_tokens,
            n_blocks=None if cache_tokens is None else math.ceil(cache_tokens / block_size),
            memory_share=memory_share,
            batch_invariant=batch_invariant,
        )
        listener = listen(host, port)
    except PortTaken:
        words.fail(
            words.choose(
                f"端口 {port} 用不了，多半是别的程序占着。换一个：teachllm serve --port {port + 1}，"
                "或者 --port 0 任选一个空的。",
                f"Port {port} cannot be used; another program probably has it. Choose another: "
                f"teachllm serve --port {port + 1}, or --port 0 for any free one.",
            )
        )
    except (ValueError, OSError) as problem:
        words.fail(problem)
    with listener, contextlib.ExitStack() as stack:
        try:
            with words.loading():
                if prefill_workers or decode_workers:
                    from teachllm.stack.inference.disaggregation.starting import disaggregated

                    workers = {"n_prefill": prefill_workers, "n_decode": decode_workers}
                    started = disaggregated(model, config, weights=weights, **workers)
                else:
                    started = _one_engine(model, weights, config)
                language_model, service = stack.enter_context(started)
                embedder = None if embedding_model is None else _load_embedder(embedding_model)
        except (ValueError, OSError, AssetError) as problem:
            words.fail(problem)
        names = tuple(dict.fromkeys((Path(model).name, model, language_model.name)))
        _serve(language_model, service, embedder, config, listener, names, api_key, limits, words)
    words.tell("服务停了。", "The server has stopped.")


@contextlib.contextmanager
def _one_engine(
    model: str, weights: Weights, config: EngineConfig
) -> Iterator[tuple[LanguageModel, EngineService]]:
    from teachllm.stack.inference.engine.engine import Engine
    from teachllm.stack.inference.engine.service import EngineService
    from teachllm.stack.inference.language_model import load_language_model

    language_model = load_language_model(model, weights=weights)
    if language_model.device.type == "cuda" and config.n_blocks is None and config.memory_share is None:
        config = replace(config, memory_share=SHARE_OF_GPU)
    with EngineService(Engine(language_model, config)) as service:
        yield language_model, service


def _load_embedder(source: str) -> Embedder:
    """By name: the room that the model stands in is above this one, which knows it as an `Embedder` only."""
    return pkgutil.resolve_name(EMBEDDER_LOADER)(source)


def _serve(
    language_model: LanguageModel,
    service: Service,
    embedder: Embedder | None,
    config: EngineConfig,
    listener: socket.socket,
    names: tuple[str, ...],
    api_key: str | None,
    limits: ServerLimits,
    words: Words,
) -> None:
    from teachllm.stack.chat.running_servers import RunningServer, announced
    from teachllm.stack.inference.server import create_app
    from teachllm.stack.inference.server.listening import DrainingServer

    host, port = listener.getsockname()[:2]
    app = create_app(language_model, service, names=names, api_key=api_key, limits=limits, embedder=embedder)
    # The way to it on this machine, also where it listens on every address.
    shown = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host
    address = f"http://{shown}:{port}"

    def ready() -> None:
        _tell_about(language_model, service, config, words)
        _tell_how_to_call(address, names[0], api_key is not None, words)
        if embedder is not None:
            words.tell(
                f"嵌入：{embedder.name}，{embedder.dimension} 维，一段最多 {embedder.max_tokens} 个 token · "
                f"{address}/v1/embeddings",
                f"embeddings: {embedder.name}, {embedder.dimension} dimensions, at most "
                f"{embedder.max_tokens} tokens a text · {address}/v1/embeddings",
            )
        if host not in LOOPBACK and api_key is None:
            words.problem(
                words.choose(
                    f"注意：{host} 上谁都能连进来用这个模型，而且没有设密钥。"
                    "加上 --api-key-env 变量名，或者去掉 --host。",
                    f"Careful: anybody who reaches {host} can use this model, and there is no key. "
                    "Give --api-key-env NAME, or leave --host out.",
                )
            )

    server = DrainingServer(app, ready)
    note = RunningServer.this(f"http://127.0.0.1:{port}", names[0], app.state.serving.view_key)
    with announced(note):
        server.run(sockets=[listener])


def _tell_about(language_model: LanguageModel, service: Service, config: EngineConfig, words: Words) -> None:
    """Where the model runs, in which numbers and why, and what the cache holds."""
    from teachllm.stack.inference.engine.capacity import max_concurrent
    from teachllm.stack.inference.engine.paged_kv import block_bytes

    words.note(escape(about_model(language_model, service.attention, words)))
    if config.batch_invariant and not language_model.elsewhere:
        _tell_cost(language_model, config, words)
    now = service.snapshot()
    if now.workers:
        roles = [one.role for one in now.workers]
        n_prefill, n_decode = roles.count("prefill"), roles.count("decode")
        words.tell(
            f"读提示的进程 {n_prefill} 个，写回答的进程 {n_decode} 个",
            f"processes: {n_prefill} for prefill and {n_decode} for decoding",
        )
    sizes = language_model.model.config
    n_blocks = sum(one.n_blocks for one in now.workers if one.role == "decode") or len(now.blocks)
    tokens = n_blocks * now.block_size
    token_bytes = block_bytes(sizes, 1, language_model.dtype.itemsize)
    at_once = max_concurrent(
        [sizes.context_length] * config.max_running,
        memory=tokens * token_bytes,
        taken=0,
        token_bytes=token_bytes,
        share=1.0,
        block_size=now.block_size,
        max_running=config.max_running,
    )
    megabytes = tokens * token_bytes / 2**20
    words.tell(
        f"KV 缓存：{tokens:,} 个 token（{n_blocks:,} 块，{megabytes:,.0f} MiB）· "
        f"一次对话最长 {sizes.context_length:,} 个 token，这样长的能同时进行 {at_once} 个",
        f"KV cache: {tokens:,} tokens ({n_blocks:,} blocks, {megabytes:,.0f} MiB) · "
        f"one conversation has at most {sizes.context_length:,}, and {at_once} that long fit at once",
    )


def _tell_cost(language_model: LanguageModel, config: EngineConfig, words: Words) -> None:
    """What `batch_invariant` costs on this machine."""
    from teachllm.stack.inference.engine.row_counts import RowCounts, row_counts, step_seconds

    counts = row_counts(language_model, config)
    texts = [n for n in (1, 8, 32) if n <= config.max_running and n <= counts.counts[-1]]
    usual, fixed = (
        [1e3 * step_seconds(language_model, rows, n) for n in texts] for rows in (RowCounts(), counts)
    )
    figures = list(zip(texts, fixed, usual, strict=True))
    cost_zh = "，".join(f"{n} 段文本一步 {a:.1f} ms（不开是 {b:.1f} ms）" for n, a, b in figures)
    cost = ", ".join(f"a step of {n} takes {a:.1f} ms ({b:.1f} without)" for n, a, b in figures)
    words.tell(
        f"不管同一批里还有谁，算出的数都一样。代价：{cost_zh}",
        f"Texts get the same numbers in any company. The cost: {cost}",
    )


def _tell_how_to_call(address: str, name: str, has_key: bool, words: Words) -> None:
    question = '{"model": "%s", "messages": [{"role": "user", "content": "Hello!"}]}' % name  # noqa: UP031
    key = "$OPENAI_API_KEY" if has_key else "none"
    words.show(f"\n{address}/v1\n\n")
    authorization = f' -H "Authorization: Bearer {key}"' if has_key else ""
    words.show(
        f"  curl {address}/v1/chat/completions -H 'Content-Type: application/json'{authorization} "
        f"-d '{question}'\n\n"
    )
    given_key = "" if has_key else ', api_key="none"'
    words.show(
        f'  client = openai.OpenAI(base_url="{address}/v1"{given_key})\n'
        f'  client.chat.completions.create(model="{name}", '
        'messages=[{"role": "user", "content": "Hello!"}])\n\n'
    )
    words.tell(
        "teachllm start 的“引擎”页看得到它怎么工作。Ctrl-C 停止：正在写的回答先写完，再按一次马上停。",
        "The page Engine of teachllm start shows it at work. Ctrl-C ends it once the answers that are being "
        "written are done; a second one ends it at once.",
    )


def _api_key(variable: str | None, file: Path | None) -> str | None:
    """Raises ValueError if there is none where it should be; the key itself is in no message."""
    if variable is not None and file is not None:
        raise ValueError("--api-key-env and --api-key-file are two places for one key; give one of them")
    if variable is None and file is None:
        return None
    if variable is not None:
        key, where = os.environ.get(variable, ""), f"the environment variable {variable}"
    else:
        assert file is not None
        key, where = file.read_text("utf-8"), str(file)
    key = key.strip()
    if not key:
        raise ValueError(f"{where} holds no key; put one there, or leave the option out")
    if not (key.isascii() and key.isprintable() and len(key) >= SHORTEST_KEY and " " not in key):
        raise ValueError(
            f"{where} holds no usable key; it needs at least {SHORTEST_KEY} ASCII characters without spaces"
        )
    return key
