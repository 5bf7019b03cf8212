"""``teachllm serve``: the local model behind OpenAI's interface."""

from __future__ import annotations

import contextlib
import math
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from teachllm.stack.data.assets import AssetError
from teachllm.stack.inference.command import DEFAULT_MODEL, Lang, Weights, Words, terminal_language

if TYPE_CHECKING:
    from teachllm.stack.inference.engine.config import EngineConfig
    from teachllm.stack.inference.engine.service import EngineService
    from teachllm.stack.inference.language_model import LanguageModel
    from teachllm.stack.inference.server import ServerLimits

PORT = 8000
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
    max_open: int = 2048,
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
        Tokens whose keys and values are kept, of all requests together. By default as many as take 512 MiB.
    max_open
        Requests that run or wait; more are refused.
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
    with listener:
        try:
            with words.loading():
                language_model, service = _load(model, weights, config)
        except (ValueError, OSError, AssetError) as problem:
            words.fail(problem)
        with contextlib.closing(service):
            names = tuple(dict.fromkeys((Path(model).name, model, language_model.name)))
            _serve(language_model, service, listener, names, api_key, limits, words)
    words.tell("服务停了。", "The server has stopped.")


def _load(model: str, weights: Weights, config: EngineConfig) -> tuple[LanguageModel, EngineService]:
    from teachllm.stack.inference.engine.engine import Engine
    from teachllm.stack.inference.engine.service import EngineService
    from teachllm.stack.inference.language_model import load_language_model

    language_model = load_language_model(model, weights=weights)
    return language_model, EngineService(Engine(language_model, config))


def _serve(
    language_model: LanguageModel,
    service: EngineService,
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
    app = create_app(language_model, service, names=names, api_key=api_key, limits=limits)
    # The way to it on this machine, also where it listens on every address.
    shown = f"[{host}]" if ":" in host else "127.0.0.1" if host == "0.0.0.0" else host
    address = f"http://{shown}:{port}"

    def ready() -> None:
        _tell_about(language_model, service, words)
        _tell_how_to_call(address, names[0], api_key is not None, words)
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


def _tell_about(language_model: LanguageModel, service: EngineService, words: Words) -> None:
    """Where the model runs, in which numbers and why, and what the cache holds."""
    from teachllm.stack.nn.device import choose_device

    n_parameters = sum(weights.numel() for weights in language_model.model.parameters())
    numbers = str(language_model.dtype).removeprefix("torch.")
    why = words.choose(choose_device().reason_zh, choose_device().reason)
    about = [
        language_model.name,
        f"{n_parameters / 1e6:.0f} M",
        str(language_model.device),
        f"{numbers} ({why})",
    ]
    if steps := words.choose(language_model.decoding_zh, language_model.decoding):
        about.append(steps)
    words.note(escape(" · ".join(about)))
    now = service.snapshot()
    sizes = language_model.model.config
    tokens = len(now.blocks) * now.block_size
    bytes_of_token = 2 * sizes.n_layers * sizes.n_kv_heads * sizes.head_dim * language_model.dtype.itemsize
    megabytes = tokens * bytes_of_token / 2**20
    words.tell(
        f"KV 缓存：{tokens:,} 个 token（{len(now.blocks):,} 块，{megabytes:,.0f} MiB）· "
        f"一次对话最长 {sizes.context_length:,} 个 token",
        f"KV cache: {tokens:,} tokens ({len(now.blocks):,} blocks, {megabytes:,.0f} MiB) · "
        f"one conversation has at most {sizes.context_length:,}",
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
