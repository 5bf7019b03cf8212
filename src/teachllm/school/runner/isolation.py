"""What learner code is held back by on this machine, in words, for ``teachllm doctor`` and the studio."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from teachllm.school.language import Both, Lang

Level = Literal["full", "partial", "limits"]

_KEPT = {
    "namespaces": Both(
        "命名空间：看不到别的进程、网络和学习数据",
        "namespaces: no other process, no network, no learning data in sight",
    ),
    "capabilities": Both("特权：全部放弃，不能再获得", "privileges: all given up, none can be gained"),
    "landlock": Both(
        "Landlock：只能读 Python 和自己的文件夹，只能写自己的文件夹",
        "Landlock: reads only Python and its own folder, writes only its own folder",
    ),
    "seccomp": Both(
        "seccomp：不能开 socket、不能启动进程、不能向别的进程发信号",
        "seccomp: no sockets, no new processes, no signals to others",
    ),
    "limits": Both("限额：时间、内存、CPU、文件大小、输出", "limits: time, memory, CPU, file size, output"),
}
_ADVICE = {
    "namespaces": Both(
        "系统不允许普通用户建命名空间。Ubuntu：sysctl kernel.apparmor_restrict_unprivileged_userns=0；"
        "Debian：sysctl kernel.unprivileged_userns_clone=1；RHEL：sysctl user.max_user_namespaces=15000；"
        "容器：加 --security-opt seccomp=unconfined",
        "the system forbids user namespaces. Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0; "
        "Debian: sysctl kernel.unprivileged_userns_clone=1; RHEL: sysctl user.max_user_namespaces=15000; "
        "containers: --security-opt seccomp=unconfined",
    ),
    "landlock": Both(
        "需要 5.13 以上的内核并启用 Landlock（启动参数 lsm=landlock,…）",
        "needs Linux 5.13 or later with Landlock enabled (boot parameter lsm=landlock,…)",
    ),
    "seccomp": Both(
        "需要 x86_64 或 aarch64 上启用 seccomp 的内核", "needs a kernel with seccomp on x86_64 or aarch64"
    ),
    "capabilities": Both("请不要以 root 身份运行", "do not run as root"),
    "limits": Both(
        "这个系统不能限制内存和 CPU；时间限制仍然有效，只运行你自己写的代码",
        "this system limits neither memory nor CPU; the time limit holds. Run only code that you wrote",
    ),
}


@dataclass(frozen=True)
class Isolation:
    """``level``: ``full`` (every layer), ``partial`` (some) or ``limits`` (time and resources only).

    ``details`` has a line for each layer; ``advice`` says what to do to get the missing ones.
    """

    level: Level
    details: tuple[Both, ...]
    advice: tuple[Both, ...]
    layers: dict[str, str | None]

    def to_json(self, lang: Lang) -> dict[str, Any]:
        return {
            "level": self.level,
            "details": [text.get(lang) for text in self.details],
            "advice": [text.get(lang) for text in self.advice],
            "layers": self.layers,
        }


def isolation_of(layers: dict[str, str | None]) -> Isolation:
    """From each layer's state: ``None`` if it is in place, else the system's reason why not."""
    present = [layer for layer in _KEPT if layers.get(layer, "not tried") is None]
    missing = [layer for layer in _KEPT if layer not in present]
    details = [
        Both(f"✓ {text.zh}", f"✓ {text.en}")
        if layer in present
        else Both(f"✗ {text.zh}（{layers.get(layer)}）", f"✗ {text.en} ({layers.get(layer)})")
        for layer, text in _KEPT.items()
    ]
    level: Level = "full" if not missing else "limits" if set(present) <= {"limits"} else "partial"
    return Isolation(level, tuple(details), tuple(_ADVICE[layer] for layer in missing), layers)
